from typing import Any

import numpy as np
import pytest
import sawyer

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.contexts import LAYOUT_SEED, ContextLoader
from ript.demonstrations.perturbation import DEMONSTRATION_SEED
from ript.env_runner.vec_env import task_ids
from ript.models.pi0.preprocess import prepare_prompts
from ript.simulators.metaworld.benchmark import EVALUATION_SEED, EVALUATION_STARTS, MetaWorldBenchmark
from ript.simulators.metaworld.tasks import INSTRUCTIONS, TASKS

sawyer.need_metaworld()


def test_the_suites_are_metaworlds_own_in_their_order() -> None:
    from metaworld.env_dict import MT10_V3, MT50_V3

    assert TASKS["metaworld_mt50"] == tuple(MT50_V3)
    assert TASKS["metaworld_mt10"] == tuple(MT10_V3)


def test_every_task_has_a_sentence_that_fits_into_the_prompt(policy: PI0_OFT_Policy) -> None:
    assert all(sentence[0].isupper() and " " in sentence for sentence in INSTRUCTIONS.values())
    prepare_prompts(list(INSTRUCTIONS.values()), policy.tokenizer, max_length=48)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("drawer-opn-v3", r"task='drawer-opn-v3' is not valid; did you mean drawer-open-v3\? Valid: assembly-v3, "),
        ("Reach-V3", r"did you mean reach-v3\?"),
        (50, r"task id 50 of metaworld_mt50 is not in 0\.\.49"),
    ],
)
def test_a_task_that_there_is_not_is_refused_in_one_line_with_the_nearest(wanted: str | int, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        task_ids(MetaWorldBenchmark("metaworld_mt50"), wanted)
    assert "\n" not in str(caught.value)


def test_evaluation_starts_are_fixed_and_no_training_or_demonstration_draws_their_seeds(blind: Any) -> None:
    benchmark = MetaWorldBenchmark("metaworld_mt50")
    task = benchmark.get_task_id("drawer-open-v3")
    starts = benchmark.get_task_init_states(task)
    assert starts.shape == (EVALUATION_STARTS, 3)
    assert len(np.unique(starts, axis=0)) == EVALUATION_STARTS
    blind.load_task(task)
    np.testing.assert_array_equal(starts[7], blind.scene.draw(EVALUATION_SEED + 7))

    seeds = range(EVALUATION_SEED, EVALUATION_SEED + EVALUATION_STARTS)
    loader = ContextLoader([task], batch_size=1, seed=3)
    contexts = [loader.context(number) for number in range(60)]
    assert seeds.stop <= LAYOUT_SEED <= min(context.scene_seed for context in contexts)
    assert seeds.stop <= DEMONSTRATION_SEED
    trained = np.stack([blind.scene.draw(context.scene_seed) for context in contexts])
    assert not (trained[:, None] == starts[None]).all(axis=2).any()
