"""A control step with its physics steps in compiled code: equal to `ControlStep`, near what MuJoCo's own work costs."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from robosuite.utils.observables import Observable, sensor

from ript.simulators.libero.control_step import ControlStep
from ript.simulators.libero.physics_loop import Arm, run_physics


class CompiledControlStep(ControlStep):
    """`ControlStep` that runs all physics steps in one call and samples only observations that are watched.

    What robosuite keeps of an arm's recent past (`robot.recent_*`), and no LIBERO task reads, is not kept. A fatal
    error of MuJoCo's ends the process, since the loop is not inside MuJoCo's Python bindings.

    Args:
        simulator: LIBERO's `BDDLBaseDomain` with one Panda arm and gripper, as `ControlStep`.
    """

    def __init__(self, simulator: Any) -> None:
        super().__init__(simulator)
        self._steps = int(simulator.control_timestep / simulator.model_timestep)
        self._clock = _SampleClock(simulator, self._steps)
        self._controller: Any = None

    def step(self, action: np.ndarray) -> Any:
        """`simulator.step`; without `is_watched` the observations are empty."""
        simulator = self._simulator
        if not self._robot.controller.new_update:  # made by a reset, it acts once on what it saw then
            return super().step(action)
        simulator.timestep += 1
        self._aim(action)
        self._run(self._clock.advance())
        simulator.cur_time += simulator.control_timestep
        reward, _, info = simulator._post_action(action)
        observations = simulator._get_observations() if self.is_watched else {}
        return observations, reward, reward > 0, info  # LIBERO asks again whether the task is solved: it is the same

    def _aim(self, action: np.ndarray) -> None:
        """Sets arm and gripper their goals; robosuite's own code knows the arm's."""
        physics, robot, controller = self._physics, self._robot, self._robot.controller
        mujoco.mj_step1(physics.model, physics.data)
        if controller is not self._controller:  # every reset makes one
            self._controller, self._arm = controller, _arm(robot, physics.model, physics.data)
        arm = self._arm
        controller.ee_pos = arm.site_xpos[arm.site].copy()
        controller.ee_ori_mat = arm.site_xmat[arm.site].reshape(3, 3).copy()
        controller.new_update = False  # it need not look itself
        controller.set_goal(action[: controller.control_dim])
        controller.new_update = True
        arm.goal_position[:], arm.goal_rotation[:] = controller.goal_pos, controller.goal_ori
        arm.grip[:] = robot.gripper.current_action
        arm.grip_change[:] = np.array([-1.0, 1.0]) * robot.gripper.speed * np.sign(action[controller.control_dim :])

    def _run(self, sample_after: int) -> None:
        """All physics steps, of which the first is already evaluated; samples after `sample_after` of them."""
        addresses = self._physics.model._address, self._physics.data._address
        if self.is_watched:
            run_physics(*addresses, self._arm, sample_after, True)
            self._clock.sample()
            run_physics(*addresses, self._arm, self._steps - sample_after, False)
        else:
            run_physics(*addresses, self._arm, self._steps, True)
        self._robot.torques = self._arm.torques.copy()
        self._robot.gripper.current_action = self._arm.grip.copy()


class _SampleClock:
    """Which physics step of a control step robosuite samples its observables after.

    They all tick together, and a control step is their period: one sample each. robosuite's own code finds when, on an
    observable that stands for all.
    """

    def __init__(self, simulator: Any, steps: int) -> None:
        self._simulator, self._steps = simulator, steps
        self._tick = self._sampled_at = 0

        @sensor(modality="clock")
        def note(obs_cache: dict[str, Any]) -> float:
            self._sampled_at = self._tick
            return 0.0

        self._hand = Observable("clock", note, sampling_rate=simulator.control_freq)

    def advance(self) -> int:
        """Moves all clocks on by a control step. Returns the number of physics steps before the sample."""
        hand, observables = self._hand, self._simulator._observables.values()
        one_of_them = next(iter(observables))
        hand._time_since_last_sample, hand._sampled = one_of_them._time_since_last_sample, one_of_them._sampled
        for tick in range(1, self._steps + 1):
            self._tick = tick
            hand.update(self._simulator.model_timestep, {})
        for observable in observables:
            observable._time_since_last_sample, observable._sampled = hand._time_since_last_sample, hand._sampled
        return self._sampled_at

    def sample(self) -> None:
        """Samples all observables; their clocks stand."""
        for observable in self._simulator._observables.values():
            is_sampled = observable._sampled
            observable.update(timestep=0.0, obs_cache=self._simulator._obs_cache, force=True)
            observable._sampled = is_sampled


def _arm(robot: Any, model: Any, data: Any) -> Arm:
    controller = robot.controller
    fingers = np.array(robot._ref_joint_gripper_actuator_indexes)
    grip_low, grip_high = model.actuator_ctrlrange[fingers].T
    torque_low, torque_high = robot.torque_limits
    return Arm(
        site=mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, controller.eef_name),
        positions=np.array(controller.qpos_index),
        velocities=np.array(controller.qvel_index),
        motors=np.array(robot._ref_joint_actuator_indexes),
        fingers=fingers,
        qpos=data.qpos,
        qvel=data.qvel,
        qfrc_bias=data.qfrc_bias,
        ctrl=data.ctrl,
        site_xpos=data.site_xpos,
        site_xmat=data.site_xmat,
        qM=data.qM.ctypes.data,
        goal_position=np.empty(3),
        goal_rotation=np.empty((3, 3)),
        stiffness=np.array(controller.kp, dtype=np.float64),
        damping=np.array(controller.kd, dtype=np.float64),
        rest=np.array(controller.initial_joint),
        torque_low=np.array(torque_low),
        torque_high=np.array(torque_high),
        grip=np.empty(len(fingers)),
        grip_change=np.empty(len(fingers)),
        grip_bias=0.5 * (grip_high + grip_low),
        grip_weight=0.5 * (grip_high - grip_low),
        torques=np.empty(len(controller.qvel_index)),
    )
