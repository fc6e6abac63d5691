from types import SimpleNamespace

import numpy as np
import planar
import pytest

from ript.doctor import simulation
from ript.doctor.options import Options
from ript.env_runner.vec_env import Chunk, ChunkResult
from ript.simulators.registry import simulators

LOOK_ONLY = Options(start_simulators=False)


class Clock:
    """An environment that takes 2 ms per step and 30 ms per image of its two cameras, by a clock of its own."""

    now = 0.0

    def step_chunk(self, chunks: list[Chunk]) -> list[ChunkResult]:
        (chunk,) = chunks
        number = len(chunk.actions)
        observed = (number - 1 if chunk.observe_every == 1 else 0) + chunk.observe_last
        self.now += 0.002 * number + 2 * 0.030 * observed
        return [ChunkResult(np.zeros(number), number, False, {}, [])]


def test_the_time_of_a_step_and_of_an_image_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(simulation.time, "perf_counter", lambda: clock.now)
    assert simulation.speed(clock, np.zeros((10, 7)), cameras=2) == pytest.approx((0.002, 0.030))  # type: ignore[arg-type]


def test_a_simulator_is_looked_through_and_timed() -> None:
    found = simulation.measure(planar.PlanarSimulator())
    assert found.cameras == 2 and found.step_ms > 0 and found.start_s > 0


def test_a_blank_image_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind(planar.PlanarSimulator):
        def make_adapter(self, *args: object) -> planar.PlanarAdapter:
            adapter = super().make_adapter(*args)
            adapter.observe = lambda raw, prompt: {"image": {"base_0_rgb": np.zeros((8, 8, 3), np.uint8)}}
            return adapter

    monkeypatch.setattr(simulation, "make_simulator", lambda suite: Blind())
    (found,) = simulation.start("planar", SimpleNamespace(SUITES=("planar",), REMEDY="look"))  # type: ignore[arg-type]
    assert found.level == "problem" and found.text == "planar does not start: the image of base_0_rgb is blank"


def test_egl_without_a_driver_is_a_problem_with_another_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setenv("__EGL_VENDOR_LIBRARY_DIRS", "/nonexistent")  # libEGL loads, and finds no driver
    monkeypatch.delenv("MUJOCO_EGL_DEVICE_ID", raising=False)  # another test's choice
    name = next(name for name, folder in simulators().items() if "mujoco" in folder.PACKAGES)
    (found,) = simulation.start(name, simulators()[name])
    assert found.level == "problem" and "EGL devices" in found.text and "MUJOCO_GL=osmesa" in found.remedy


def test_a_backend_that_cannot_render_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "glx")
    (found,) = simulation.start("any", SimpleNamespace(SUITES=("libero_goal",), REMEDY="look"))  # type: ignore[arg-type]
    assert found.level == "problem" and "MUJOCO_GL='glx' cannot render" in found.text
    assert found.remedy == "look"


def test_a_simulator_that_is_not_installed_is_a_note_and_none_at_all_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absent = SimpleNamespace(SUITES=("a",), PACKAGES=("no-such-simulator", "pytest"))
    monkeypatch.setattr(simulation, "simulators", lambda: {"absent": absent})
    missing, none = simulation.check(LOOK_ONLY)
    assert missing.level == "note" and missing.text == "is not installed: no-such-simulator missing"
    assert none.level == "problem" and none.text == "none of absent is installed"


def test_a_simulator_that_no_extra_brings_names_its_own_command(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = SimpleNamespace(SUITES=("a",), PACKAGES=("no-such-simulator",), INSTALL="clone it")
    monkeypatch.setattr(simulation, "simulators", lambda: {"absent": absent})
    missing, _ = simulation.check(LOOK_ONLY)
    assert missing.remedy == "clone it"


def test_the_extra_that_brings_a_missing_package_is_named() -> None:
    assert simulation.install(["pytest"]).endswith("-e '.[dev]'")
    assert simulation.install(["numpy"]).endswith("-e .")


def test_every_installed_simulator_is_listed_without_starting_it() -> None:
    found = list(simulation.check(LOOK_ONLY))
    assert [finding.subject for finding in found] == list(simulators())
    assert all(finding.data.get("suites") or finding.level == "note" for finding in found)


def test_a_simulator_for_which_memory_is_short_is_a_note() -> None:
    assert [simulation.memory("it", 2**30, free).level for free in (2**29, 2**31)] == ["note", "ok"]
