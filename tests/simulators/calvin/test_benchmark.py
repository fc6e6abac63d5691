import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import table

from ript.algos.rl_optimizers.contexts import LAYOUT_SEED, ContextLoader
from ript.demonstrations import collect
from ript.env_runner.vec_env import task_ids
from ript.simulators import calvin
from ript.simulators.calvin.benchmark import CalvinBenchmark
from ript.simulators.calvin.changes import Change, changes, initial_states, states_before
from ript.simulators.calvin.scene import check_start
from ript.simulators.calvin.simulator import CalvinSimulator
from ript.simulators.calvin.starts import DRAWER, HAND, START_DIM, TABLE, draw, place
from ript.simulators.calvin.tasks import INSTRUCTIONS
from ript.simulators.named_tasks import EVALUATION_SEED, EVALUATION_STARTS
from ript.simulators.registry import make_simulator


def test_evaluation_starts_are_of_seeds_that_training_never_draws() -> None:
    starts = CalvinBenchmark().get_task_init_states(14)
    assert starts.shape == (EVALUATION_STARTS, START_DIM) and starts.dtype == np.float64
    np.testing.assert_array_equal(starts[7], draw("open_drawer", EVALUATION_SEED + 7))
    loader = ContextLoader([14], batch_size=1, seed=3)
    trained = {loader.context(number).scene_seed for number in range(200)}
    assert EVALUATION_SEED + EVALUATION_STARTS <= LAYOUT_SEED <= min(trained)
    drawn = {draw("open_drawer", seed).tobytes() for seed in trained}
    assert len(drawn) == len(trained) and drawn.isdisjoint(start.tobytes() for start in starts)


@pytest.mark.parametrize("task", INSTRUCTIONS)
def test_a_start_is_one_in_which_the_task_can_begin(task: str) -> None:
    assert states_before(task)
    for state in states_before(task):
        assert any(change.holds_in(state) for change in changes(task))
    for seed in range(20):
        start = draw(task, seed)
        check_start(start)
        blocks = start[15 + 6 :].reshape(3, 6)[:, :3]
        distances = np.linalg.norm(blocks[:, None] - blocks[None], axis=2)[np.triu_indices(3, 1)]
        assert distances.min() > 0.039
    slider, drawer, _, switch, bulb, led = draw(task, 0)[15:21]
    assert (switch > 0) == (bulb == 1) and led in (0, 1)
    wanted = {"move_slider_left": slider == 0, "open_drawer": drawer == 0, "turn_on_led": led == 0}
    assert wanted.get(task, True)


def test_the_evaluation_begins_in_192_states_with_one_or_two_blocks_on_the_table() -> None:
    states = initial_states()
    assert len(states) == len({str(state) for state in states}) == 192
    for state in states:
        places = Counter(state[f"{color}_block"] for color in ("red", "blue", "pink"))
        assert places["table"] in (1, 2) and max(places["slider_left"], places["slider_right"]) <= 1


def test_what_only_comes_later_is_put_where_the_task_needs_it() -> None:
    held = draw("place_in_drawer", 0)
    blocks = held[21:].reshape(3, 6)
    assert (blocks[:, :3] == HAND[:3]).all(axis=1).sum() == 1 and held[14] == -1 and held[6] == 0.04
    assert held[16] == 0.22
    np.testing.assert_array_equal(draw("lift_pink_block_drawer", 1)[33:36], DRAWER)
    stacked = draw("unstack_block", 2)[21:].reshape(3, 6)[:, :3]
    top = int(np.argmax(stacked[:, 2]))
    assert any(np.allclose(stacked[top] - [0, 0, 0.04], spot) for spot in TABLE)


def test_a_change_holds_where_all_that_it_needs_does() -> None:
    change = Change({"drawer": "open", "red_block": ("slider_left", "slider_right")}, {})
    assert change.holds_in({"drawer": "open", "red_block": "slider_left"})
    assert not change.holds_in({"drawer": "open", "red_block": "table"})
    assert not change.holds_in({"drawer": "closed", "red_block": "slider_left"})


def test_the_same_random_numbers_place_the_same_blocks() -> None:
    state = initial_states()[5]
    one, other = (place(state, np.random.RandomState(4)) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_a_task_that_there_is_not_is_refused_in_one_line_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"task='open_drawers' is not valid; did you mean open_drawer\? Valid: rotate"):
        task_ids(CalvinBenchmark(), "open_drawers")
    with pytest.raises(ValueError, match=r"task id 34 of calvin is not in 0\.\.33"):
        CalvinBenchmark().get_task_init_states(34)


def test_without_calvin_env_one_line_names_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calvin, "find_spec", lambda name: None)
    with pytest.raises(ValueError) as caught:
        make_simulator("calvin")
    assert str(caught.value) == (
        "suite='calvin' needs calvin_env and pybullet, which is not installed: "
        "git clone https://github.com/mees/calvin_env CALVIN/calvin_env && "
        "pip install -c scripts/constraints.txt pybullet==3.2.7 -e CALVIN/calvin_env"
    )


def test_collecting_says_that_there_is_no_expert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "make_simulator", CalvinSimulator)
    options: argparse.Namespace = collect.parse_arguments(["--suite", table.SUITE, "--out", str(tmp_path)])
    with pytest.raises(ValueError, match="suite='calvin' is not valid: its simulator has no expert"):
        collect.collect(options)
