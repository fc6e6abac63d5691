"""Makes the tokenizer and the statistics of the small default π0 (`ript/assets/small_pi0`).

    python scripts/make_default_assets.py

The tokenizer is a byte-level BPE of LIBERO's 130 instructions, with PaliGemma's ids for padding, end and begin. The
statistics are those of the arm driven at random from the start of each task of `libero_spatial`; actions are LIBERO's
OSC commands, whose range is [-1, 1]. About a minute on one core; the same files every time.
"""

import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm

from ript.algos.policies.pi0_oft_policy import DEFAULT_FOLDER
from ript.data.compute_norm_stats import summarize
from ript.data.norm_stats import ACTION_DIM
from ript.env_runner.libero_benchmark import LiberoBenchmark
from ript.env_runner.libero_env import LiberoEnv
from ript.env_runner.pi0_runner_utils import raw_state

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")
VOCABULARY = 512
STEPS = 100


def make_tokenizer() -> Tokenizer:
    """Byte-level BPE: any text can be encoded, LIBERO's words mostly as one token each."""
    instructions = [suite.get_language(i) for suite in map(LiberoBenchmark, SUITES) for i in range(suite.n_tasks)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<eos>", "<bos>", "\n"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(instructions, trainer)
    return tokenizer


def random_states(seed: int = 0) -> np.ndarray:
    """Proprioception (N, 8) along slowly varying random commands: one new direction every ten steps."""
    rng = np.random.default_rng(seed)
    states = []
    for task_id in tqdm(range(LiberoBenchmark("libero_spatial").n_tasks), desc="tasks"):
        env = LiberoEnv("libero_spatial", task_id, render_images=False)
        states.append(raw_state(env.reset(seed).observation))
        commands = np.repeat(rng.uniform(-1, 1, (STEPS // 10, ACTION_DIM)), 10, axis=0)
        commands[:, 3:6] *= 0.2  # the wrist turns little in these tasks
        seen = env.step_chunk(commands, observe_every=1).observations
        states += [raw_state(observation) for observation in seen.values()]
        env.close()
    return np.stack(states)


def main(folder: Path = DEFAULT_FOLDER) -> None:
    """Writes both files."""
    folder.mkdir(parents=True, exist_ok=True)
    make_tokenizer().save(str(folder / "tokenizer.json"))
    ones = [1.0] * ACTION_DIM
    actions = {"mean": [0.0] * ACTION_DIM, "std": [0.5] * ACTION_DIM, "q01": [-x for x in ones], "q99": ones}
    stats = {"norm_stats": {"state": summarize(random_states()), "actions": actions}}
    (folder / "norm_stats.json").write_text(json.dumps(stats, indent=2) + "\n")


if __name__ == "__main__":
    main()
