"""The chains against CALVIN's own code where it is there, and the player with a stand-in for the simulator."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import planar
import pytest
import torch

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.json_files import JsonLog, read_lines
from ript.simulators.calvin.chain import Chain, evaluation_chains, fnv_32, follows, kind
from ript.simulators.calvin.chain_player import ChainPlayer, Played
from ript.simulators.calvin.chains import keep_protocol, parse_arguments, play_missing, summarize
from ript.simulators.calvin.changes import initial_states
from ript.simulators.calvin.env import STATE
from ript.simulators.calvin.tasks import INSTRUCTIONS


def test_the_hash_is_pyhashs() -> None:
    assert fnv_32("hello world") == 2805756500  # of pyhash's own documentation
    assert fnv_32("") == 0


def test_a_chain_has_five_tasks_of_different_kinds_each_of_which_can_follow() -> None:
    chains = evaluation_chains(192)
    assert len({str(chain.state) for chain in chains}) == 192
    for chain in chains:
        assert follows(chain.state, chain.tasks)
        assert len({kind(task) for task in chain.tasks}) == 5
    assert len({kind(task) for task in INSTRUCTIONS}) == 11
    state = next(state for state in initial_states() if state["drawer"] == "closed")
    assert not follows(state, ("close_drawer",)) and follows(state, ("open_drawer",))
    assert not follows(state, ("open_drawer", "close_drawer"))


def calvins_own() -> tuple[ModuleType, Any]:
    """CALVIN's code of chains and of their starts, without the packages that only its policies need."""
    found = importlib.util.find_spec("calvin_env")
    folder = found and Path(str(found.origin)).parents[2] / "calvin_models/calvin_agent/evaluation"
    if not folder or not folder.is_dir():
        pytest.skip("calvin_env does not lie in a clone of CALVIN")

    @contextmanager
    def temp_seed(seed: int) -> Any:
        state = np.random.get_state()
        np.random.seed(seed)
        yield
        np.random.set_state(state)

    utils = ModuleType("calvin_agent.evaluation.utils")
    utils.temp_seed = temp_seed  # type: ignore[attr-defined]
    for name in ("calvin_agent", "calvin_agent.evaluation"):
        sys.modules[name] = ModuleType(name)
    sys.modules[utils.__name__] = utils
    spec = importlib.util.spec_from_file_location("multistep_sequences", folder / "multistep_sequences.py")
    assert spec and spec.loader
    module = sys.modules["multistep_sequences"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tree = ast.parse((folder / "utils.py").read_text())
    name = "get_env_state_for_initial_condition"
    wanted = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    given: dict[str, Any] = {"np": np, "pi": np.pi, "temp_seed": temp_seed, "hasher": fnv_32}
    exec(compile(ast.Module(wanted, []), "utils.py", "exec"), given)
    return module, given[name]


@pytest.mark.slow
def test_chains_of_every_state_and_their_starts_are_calvins() -> None:
    module, start_of = calvins_own()
    assert list(module.tasks) == list(INSTRUCTIONS)
    expected = module.get_sequences(200, num_workers=1)  # CALVIN's own code needs many minutes for all 1,000
    chains = evaluation_chains(200)
    assert [(dict(state), tuple(tasks)) for state, tasks in expected] == [
        (dict(chain.state), chain.tasks) for chain in chains
    ]
    for state, chain in zip(initial_states(), chains, strict=False):
        np.testing.assert_array_equal(np.concatenate(start_of(dict(state))), Chain(state, chain.tasks).start)


class StandInPool:
    """Environments in which a task takes so many steps as its number in the row says, or forever."""

    num_envs = 2

    def __init__(self, hopeless: str) -> None:
        self.hopeless = hopeless
        self.tasks, self.steps = [""] * 2, [0] * 2
        self.told: Counter[str] = Counter()

    def reset(self, starts: list[Any]) -> list[Any]:
        return [None if start is None else SimpleNamespace(observation={STATE: np.zeros(7)}) for start in starts]

    def call(self, method: str, requests: list[Any]) -> list[Any]:
        assert method == "go_on"
        for slot, request in enumerate(requests):
            if request is not None:
                self.tasks[slot], self.steps[slot] = list(INSTRUCTIONS)[request[0]], 0
                self.told[self.tasks[slot]] += 1
        return [None if request is None else {STATE: np.zeros(7)} for request in requests]

    def step_chunk(self, chunks: list[Any]) -> list[Any]:
        return [None if chunk is None else self._step(slot, len(chunk.actions)) for slot, chunk in enumerate(chunks)]

    def _step(self, slot: int, count: int) -> Any:
        needed = 10**6 if self.tasks[slot] == self.hopeless else 7
        executed = min(count, needed - self.steps[slot])
        self.steps[slot] += executed
        success = self.steps[slot] == needed
        seen = {} if success else {executed: {STATE: np.zeros(7)}}
        return SimpleNamespace(executed=executed, success=success, observations=seen)


STATE_0 = initial_states()[0]
GOOD = ("open_drawer", "turn_on_led", "move_slider_left", "lift_red_block_table", "place_in_drawer")
CHAINS = [Chain(STATE_0, GOOD), Chain(STATE_0, ("turn_on_led", "stack_block", *GOOD[:3])), Chain(STATE_0, GOOD)]
PLAYED = [Played(0, 5, 35), Played(1, 1, 27), Played(2, 5, 35)]


def stand_in_player(prompts: Counter[str]) -> ChainPlayer:
    """Whose environments never stack a block; it counts what the policy is told."""

    def observe(raw: Any, prompt: str) -> dict[str, Any]:
        prompts[prompt] += 1
        return {"image": {}, "state": raw[STATE], "prompt": prompt}

    adapter = SimpleNamespace(observe=observe, raw_state=lambda raw: raw[STATE], to_env=lambda chunk, state: chunk)
    policy = SimpleNamespace(
        chunk_size=6, act=lambda seen, noise, generators: SimpleNamespace(actions=torch.zeros(len(noise), 6, 7))
    )
    return ChainPlayer(StandInPool("stack_block"), policy, adapter, max_steps=20, open_loop=5, seed=0)  # type: ignore[arg-type]


def test_a_chain_ends_with_its_first_task_that_runs_out_of_steps() -> None:
    prompts: Counter[str] = Counter()
    played = sorted(stand_in_player(prompts).play(list(enumerate(CHAINS))))
    assert played == PLAYED
    assert prompts[INSTRUCTIONS["stack_block"]] == 4 and prompts[INSTRUCTIONS["open_drawer"]] == 4
    assert summarize({one.number: one.solved for one in played}) == {
        "chains": 3,
        "average_length": 11 / 3,
        "in_a_row": [3, 2, 2, 2, 2],
    }


def test_a_killed_evaluation_plays_the_chains_that_its_log_lacks(tmp_path: Path) -> None:
    """Killed in the middle of a line: that chain is played again, and the line after it is whole."""
    path, counts = tmp_path / "chains.jsonl", []

    @contextmanager
    def players(count: int) -> Iterator[ChainPlayer]:
        counts.append(count)
        yield stand_in_player(Counter())

    with closing(JsonLog(path)) as log:
        whole = play_missing(CHAINS, log, players)
    path.write_bytes(path.read_bytes()[:-5])
    for _ in range(2):
        with closing(JsonLog(path)) as log:
            assert play_missing(CHAINS, log, players) == whole
    assert counts == [3, 1]
    assert sorted(Played(**line) for line in read_lines(path)) == PLAYED
    with closing(JsonLog(path)) as log:
        assert set(play_missing(CHAINS[:2], log, players)) == {0, 1}


def test_a_folder_of_other_weights_at_the_same_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    options = parse_arguments(["--policy", str(tmp_path / "policy"), "--out", str(tmp_path / "out")])
    for seed, refused in ((0, False), (0, False), (1, True)):
        torch.manual_seed(seed)
        policy = PI0_OFT_Policy(pretrained_path=str(planar.write_tiny_policy(tmp_path / "policy")))
        with pytest.raises(ValueError, match="results of another sha256") if refused else nullcontext():
            keep_protocol(options, policy, 5)
