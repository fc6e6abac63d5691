"""One LIBERO task, simulated in this process: byte-equal to stepping LIBERO itself, and many times faster.

Rendering costs twenty times as much as physics, and a policy that plays 50 actions open-loop looks only once
in 50 steps. So images are rendered only at the steps that are asked for, and resets keep the compiled model.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ript.checks import one_of
from ript.env_runner.vec_env import RENDERS, ChunkResult, Observation, Render, StartOfEpisode
from ript.simulators.chunks import check_intervals, checked_actions, is_due
from ript.simulators.libero.benchmark import LiberoBenchmark
from ript.simulators.libero.control_env import CameraGate, make_context_current, make_control_env
from ript.simulators.libero.layout import draw_layout, flattened_state, scene_hash

ACTION_DIM = 7
"""Change of position (3) and of axis-angle (3), gripper."""
AGENTVIEW = "agentview_image"
CAMERAS = (AGENTVIEW, "robot0_eye_in_hand_image")
PROPRIOCEPTION = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")

_DO_NOTHING = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0)
"""No motion, gripper open: what the official evaluation plays while objects settle."""


class LiberoEnv:
    """One task of a LIBERO suite, stepped in chunks.

    For equal `scene_seed`, initial state and actions, states, proprioception and images are those of LIBERO's
    own `OffScreenRenderEnv`, seeded before each reset and rendered at every step. A layout that is drawn has the
    arm a little off its rest position, as in the benchmark's initial states; LIBERO's environment leaves that out.

    A reset seeds NumPy's global generator, from which LIBERO draws layouts.

    Args:
        benchmark_name: a suite of `SUITE_MAX_STEPS`.
        task_id: the task's number in the suite.
        image_size: height and width of observation images in pixels.
        render_images: False makes no OpenGL context; observations then have no images.
        render: `fast` has no reflections and coarser meshes, so images are not LIBERO's; see `fast_render.py`.

    Raises:
        ValueError: unknown suite or task, another `render`, or `image_size` below 1.
    """

    def __init__(
        self,
        benchmark_name: str,
        task_id: int,
        image_size: int = 256,
        render_images: bool = True,
        render: Render = "exact",
    ) -> None:
        one_of("render", render, RENDERS)
        if image_size < 1:
            raise ValueError(f"image_size must be at least 1, got {image_size}")
        self._benchmark = LiberoBenchmark(benchmark_name)
        self._image_size = image_size
        self._render_images = render_images
        self._render = render
        self._control: Any = None
        self._gates: dict[str, CameraGate] = {}
        self.load_task(task_id)

    def load_task(self, task_id: int) -> None:
        """Take up another task of the suite, in less than half the time that the process's first one took.

        Raises:
            ValueError: unknown task; the environment then stays as it was.
        """
        bddl_file = self._benchmark.get_bddl_file(task_id)
        self.close()
        self._label = f"{self._benchmark.name} task {task_id} ({self._benchmark.get_task_names()[task_id]})"
        self._control = make_control_env(bddl_file, self._image_size, self._render_images)
        from ript.simulators.libero.fastest_step import make_control_step  # mujoco reads what was configured

        self._control_step = make_control_step(self._control.env)
        if self._render_images:
            self._gates = {name: CameraGate(self._control.env, name, self._image_size) for name in CAMERAS}
            if self._render == "fast":
                from ript.simulators.libero.fast_render import render_fast

                render_fast(self._control.sim)
        self._start_images: tuple[tuple[str, int], Observation] | None = None
        self._steps = 0
        self._cannot_step: str | None = "step_chunk before the first reset"

    @property
    def simulator(self) -> Any:
        """The robosuite environment, for code that needs privileged state (LIBERO's `BDDLBaseDomain`)."""
        self._require_open()
        return self._control.env

    def get_state(self) -> np.ndarray:
        """The flattened simulator state `(D,)` float64 now: time, joint positions, joint velocities."""
        return flattened_state(self.simulator)

    def reset(self, scene_seed: int, init_state: np.ndarray | None = None, num_steps_wait: int = 10) -> StartOfEpisode:
        """Start an episode.

        The seed fixes what an initial state does not hold: where fixtures stand. Episodes start from the same
        scene only when seed and state are both the same, which is what equal `init_hash`es say.

        Args:
            scene_seed: seeds LIBERO's layout sampling.
            init_state: flattened simulator state `(D,)` to start from; None keeps the layout that was drawn.
            num_steps_wait: steps to wait while objects settle, as the official evaluation does.

        Raises:
            ValueError: negative seed or wait; a state of another width, or not finite.
        """
        self._require_open()
        if scene_seed < 0 or num_steps_wait < 0:
            raise ValueError(f"scene_seed and num_steps_wait cannot be negative, got {scene_seed} and {num_steps_wait}")
        given = None if init_state is None else self._checked_state(init_state)
        self._cannot_step = "step_chunk after a reset that failed"
        self._watch(False)
        drawn = draw_layout(self.simulator, scene_seed)
        state = drawn if given is None else given
        self._watch(True, CAMERAS if num_steps_wait == 0 else ())
        raw = self._control.set_init_state(state)
        init_hash = scene_hash(self.simulator, state)
        images = self._known_images((init_hash, num_steps_wait))
        for step in range(1, num_steps_wait + 1):
            is_last = step == num_steps_wait
            self._watch(is_last, CAMERAS if is_last and not images else ())
            raw = self._control.step(_DO_NOTHING)[0]
        self._steps = 0
        self._cannot_step = None
        observation = self._observation(raw) | images
        self._start_images = (init_hash, num_steps_wait), {name: observation[name] for name in self._gates}
        return StartOfEpisode(observation, state, init_hash)

    def step_chunk(
        self,
        actions: np.ndarray,
        observe_every: int | None = None,
        observe_last: bool = True,
        frame_every: int | None = None,
        frame_size: int | None = None,
    ) -> ChunkResult:
        """Execute actions one by one until they are used up or the task is solved.

        Args:
            actions: `(n, 7)`: position and axis-angle change in [-1, 1], gripper −1 open to 1 closed.
            observe_every: observe after every so many actions of the chunk.
            observe_last: observe after the last action; False spares the image that nobody looks at when the
                episode's time is up.
            frame_every: take a video frame after every so many steps, counted from the start of the episode.
            frame_size: render frames at this size; None takes the agentview observation itself.

        Raises:
            ValueError: actions of another shape or not finite, an interval below 1, frames without
                `render_images`; nothing is stepped.
            RuntimeError: before the first reset, or after success.
        """
        self._require_open()
        if self._cannot_step is not None:
            raise RuntimeError(f"{self._label}: {self._cannot_step}")
        actions = checked_actions(actions, ACTION_DIM)
        check_intervals(self._label, bool(self._gates), observe_every, frame_every)
        rewards: list[float] = []
        observations: dict[int, Observation] = {}
        frames: list[np.ndarray] = []
        success = False
        for executed, action in enumerate(actions, start=1):
            is_last = executed == len(actions)
            observe = observe_last if is_last else is_due(executed, observe_every)
            film = is_due(self._steps + 1, frame_every)
            cameras = CAMERAS if observe else (AGENTVIEW,) if film and frame_size is None else ()
            self._watch(is_last or bool(cameras), cameras)
            raw, reward, success, _ = self._control.step(action)
            self._steps += 1
            rewards.append(reward)
            if observe:
                observations[executed] = self._observation(raw)
            if film:
                frames.append(_upright(raw[AGENTVIEW]) if frame_size is None else self.render(frame_size))
            if success:
                self._cannot_step = "step_chunk after success; reset first"
                break
        return ChunkResult(np.array(rewards), len(rewards), bool(success), observations, frames)

    def render(self, size: int) -> np.ndarray:
        """An upright agentview image `(size, size, 3)` uint8 of this very moment, for videos.

        Observation images are sampled shortly before a control step ends, so the two differ slightly.

        Raises:
            RuntimeError: the environment was made with `render_images=False`.
        """
        sim = self.simulator.sim
        if not self._gates:
            raise RuntimeError(f"{self._label} was made with render_images=False")
        make_context_current(sim)
        return _upright(sim.render(camera_name="agentview", width=size, height=size))

    def close(self) -> None:
        """Free the simulation and its OpenGL context; a second call does nothing."""
        if self._control is None:
            return
        if self._gates:
            make_context_current(self._control.sim)
        self._gates = {}
        self._control.close()
        self._control = None

    def _require_open(self) -> None:
        if self._control is None:
            raise RuntimeError(f"{self._label} is closed")

    def _known_images(self, start: tuple[str, int]) -> Observation:
        """The images of the last start, if this one is the same, as in a group of rollouts; else none."""
        return self._start_images[1] if self._start_images is not None and self._start_images[0] == start else {}

    def _checked_state(self, init_state: np.ndarray) -> np.ndarray:
        state = np.array(init_state, dtype=np.float64)
        width = self.get_state().shape
        if state.shape != width:
            raise ValueError(f"{self._label} needs an init_state of shape {width}, got {state.shape}")
        if not np.isfinite(state).all():
            raise ValueError(f"{self._label}: init_state has NaN or infinite entries")
        return state

    def _watch(self, observations: bool, cameras: tuple[str, ...] = ()) -> None:
        """What of the next step will be looked at."""
        self._control_step.is_watched = observations
        for name, gate in self._gates.items():
            gate.is_open = name in cameras

    def _observation(self, raw: dict[str, Any]) -> Observation:
        return {name: np.asarray(raw[name]) for name in (*self._gates, *PROPRIOCEPTION)}


def _upright(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[::-1, ::-1])
