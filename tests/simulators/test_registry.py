import argparse
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import planar
import plates
import pytest

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.demonstrations import collect
from ript.doctor.packages import installed
from ript.env_runner.runner import Runner
from ript.simulators import metaworld
from ript.simulators.registry import make_simulator, simulators, suites
from ript.simulators.suite_runner import SuiteRunner


def test_listing_the_suites_imports_no_simulator() -> None:
    code = (
        "import sys; from ript.simulators.registry import suites; assert 'libero_goal' in suites(); "
        "print([m for m in ('mujoco', 'robosuite', 'libero', 'metaworld', 'mani_skill', 'sapien') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_suite_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLINF_HOME", str(plates.write_checkout(tmp_path)))
    monkeypatch.setenv("MS_ASSET_DIR", str(tmp_path / "ManiSkill"))
    assert len(set(suites())) == len(suites())
    usable = [folder for folder in simulators().values() if all(map(installed, folder.PACKAGES))]
    assert usable
    for suite in (suite for folder in usable for suite in folder.SUITES):
        assert make_simulator(suite).benchmark.name == suite


def test_every_suites_environments_are_made_where_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLINF_HOME", str(plates.write_checkout(tmp_path)))
    monkeypatch.setenv("MS_ASSET_DIR", str(tmp_path / "ManiSkill"))
    usable = [folder for folder in simulators().values() if all(map(installed, folder.PACKAGES))]
    for suite in (suite for folder in usable for suite in folder.SUITES):
        made: Any = make_simulator(suite).make_vec_env(0, 3, 64, make_pool=lambda *arguments: arguments)
        make_env, num_envs = made
        assert num_envs == 3 and pickle.loads(pickle.dumps(make_env)).args[:3] == (suite, 0, 64)


@pytest.mark.parametrize("wrong", ["LIBERO_OBJECT", "libero_objekt", "Libero_Object"])
def test_an_unknown_suite_is_refused_with_the_nearest_whatever_its_case(wrong: str) -> None:
    with pytest.raises(ValueError, match=rf"suite='{wrong}' is not valid; did you mean libero_object\? Valid: "):
        make_simulator(wrong)


def test_a_runner_takes_the_suite_and_its_own_arguments() -> None:
    runner = SuiteRunner("libero_goal", rollouts_per_env=3)
    assert (runner.benchmark.name, runner.rollouts_per_env, runner.max_episode_length) == ("libero_goal", 3, 300)


def test_a_simulator_without_an_expert_demonstrates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "make_simulator", lambda suite: planar.PlanarSimulator())
    options: argparse.Namespace = collect.parse_arguments(["--suite", "planar", "--out", str(tmp_path)])
    with pytest.raises(ValueError, match="suite='planar' is not valid: its simulator has no expert"):
        collect.collect(options)


def test_a_policy_that_looks_through_a_camera_that_is_not_there_is_refused(tiny_policy: PI0_OFT_Policy) -> None:
    class OneEyed(planar.PlanarSimulator):
        def make_adapter(self, *args: object) -> planar.PlanarAdapter:
            adapter = super().make_adapter(*args)
            adapter.cameras = ("base_0_rgb",)
            return adapter

    with pytest.raises(ValueError, match=r"planar has no camera for the policy's left_wrist_0_rgb; .*: base_0_rgb"):
        Runner(OneEyed()).check_policy(tiny_policy)


def test_a_simulator_that_is_not_installed_names_the_command_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metaworld, "find_spec", lambda name: None if name == "metaworld" else find_spec("json"))
    with pytest.raises(
        ValueError, match=r"suite='metaworld_mt10' needs MetaWorld.*: pip install -e '\.\[metaworld\]'$"
    ):
        make_simulator("metaworld_mt10")


def test_a_policy_of_another_robot_is_refused(tiny_policy: PI0_OFT_Policy) -> None:
    class Narrow(planar.PlanarSimulator):
        def make_adapter(self, *args: object) -> planar.PlanarAdapter:
            adapter = super().make_adapter(*args)
            adapter.state_dim, adapter.action_dim = 4, 4
            return adapter

    message = r"planar has a state of 4 and actions of 4 numbers, .* of 8 and 7; set norm_stats"
    with pytest.raises(ValueError, match=message):
        Runner(Narrow()).check_policy(tiny_policy)
