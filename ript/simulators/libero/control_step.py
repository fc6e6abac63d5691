"""robosuite's control step without its repeated work; every state and torque stays the same, bit for bit.

Most of a LIBERO step is not physics. robosuite runs a controller in Python at each of the 25 physics steps of a control
step, looks names up each time, and computes MuJoCo's forward dynamics three times at the same positions and velocities.
"""

from typing import Any

import mujoco
import numpy as np

from ript.simulators.libero.contacts import ContactCheck


class ControlStep:
    """Installs itself on the simulator of one LIBERO task; `simulator.step` then costs about two thirds.

    Args:
        simulator: LIBERO's `BDDLBaseDomain` with one arm under operational space control, kept over soft resets.

    Raises:
        ValueError: another robot, or an integrator that evaluates forces more than once per step.
    """

    is_watched = True
    """Whether somebody looks at the observations of the next step, which may be left out otherwise."""

    def __init__(self, simulator: Any) -> None:
        (self._robot,) = simulator.robots
        self._physics = _Physics(simulator.sim)
        self._simulator = simulator
        self._step = simulator.step
        self._pre_action = simulator._pre_action
        ContactCheck(simulator)
        simulator.step = self.step
        simulator._pre_action = self.pre_action
        simulator._update_observables = self.update_observables

    def step(self, action: np.ndarray) -> Any:
        """`simulator.step`."""
        with self._physics:
            return self._step(action)

    def pre_action(self, action: np.ndarray, policy_step: bool = False) -> None:
        """Writes the torques of one physics step; the first of a control step also sets the controller's goal."""
        if policy_step:
            self._prepare_controller()
            self._pre_action(action, policy_step)
            return
        robot, ctrl = self._robot, self._physics.data.ctrl
        robot.torques = np.clip(robot.controller.run_controller(), *self._torque_limits)
        ctrl[self._gripper] = self._bias + self._weight * robot.gripper.format_action(action[-robot.gripper.dof :])
        ctrl[robot._ref_joint_actuator_indexes] = robot.torques

    def _prepare_controller(self) -> None:
        """A reset makes a new controller; what else is looked up here cannot change within a control step."""
        robot, model = self._robot, self._simulator.sim.model
        if not isinstance(robot.controller.update, _ControllerState):
            robot.controller.update = _ControllerState(robot.controller, self._physics)
        self._torque_limits = robot.torque_limits
        self._gripper = [model.actuator_name2id(name) for name in robot.gripper.actuators]
        low, high = model.actuator_ctrlrange[self._gripper].T
        self._bias, self._weight = 0.5 * (high + low), 0.5 * (high - low)

    def update_observables(self, force: bool = False) -> None:
        """Samples the observables that are due; of the others only the clock moves on."""
        simulator = self._simulator
        timestep, cache = simulator.model_timestep, simulator._obs_cache
        for observable in simulator._observables.values():
            elapsed = observable._time_since_last_sample + timestep
            if force or not observable._sampled or elapsed >= observable._sampling_timestep or not observable._enabled:
                observable.update(timestep=timestep, obs_cache=cache, force=force)
            else:
                observable._time_since_last_sample = elapsed


class _Physics:
    """MuJoCo's stages, each computed once per physics step inside the block; outside of it, all is as robosuite has it.

    Within a control step nothing writes positions or velocities but MuJoCo's integrator. So after a first forward pass,
    whose sensors robosuite reads, only the accelerations are computed again, with the torques that act. What passes
    there are in between leaves no trace: since MuJoCo 3.3.6 the solver starts from the last step's result, not from
    the last pass's.
    """

    def __init__(self, sim: Any) -> None:
        self.model, self.data = sim.model._model, sim.data._data
        if self.model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4:
            raise ValueError("the Runge-Kutta integrator evaluates forces four times per step")
        self._inside = self._is_current = False
        sim.forward = self.forward
        sim.step = self.step

    def __enter__(self) -> None:
        self._inside, self._is_current = True, False

    def __exit__(self, *exc_info: object) -> None:
        self._inside = self._is_current = False

    def forward(self) -> None:
        """`sim.forward`."""
        if not self._is_current:
            mujoco.mj_forward(self.model, self.data)
            self._is_current = self._inside

    def step(self, with_udd: bool = True) -> None:
        """`sim.step`."""
        (mujoco.mj_step2 if self._is_current else mujoco.mj_step)(self.model, self.data)
        self._is_current = False


class _ControllerState:
    """`controller.update`: reads the arm's state with one Jacobian in place of four."""

    def __init__(self, controller: Any, physics: _Physics) -> None:
        self._controller, self._physics = controller, physics
        model = physics.model
        self._site = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, controller.eef_name)

    def __call__(self, force: bool = False) -> None:
        controller = self._controller
        if not (controller.new_update or force):
            return
        self._physics.forward()
        model, data = self._physics.model, self._physics.data
        jacobian = np.zeros((2, 3, model.nv))
        mujoco.mj_jacSite(model, data, jacobian[0], jacobian[1], self._site)
        inertia = np.empty((model.nv, model.nv))
        mujoco.mj_fullM(model, inertia, data.qM)
        positions, velocities = controller.qpos_index, controller.qvel_index
        controller.ee_pos = data.site_xpos[self._site].copy()
        controller.ee_ori_mat = data.site_xmat[self._site].reshape(3, 3).copy()
        controller.ee_pos_vel, controller.ee_ori_vel = np.dot(jacobian[0], data.qvel), np.dot(jacobian[1], data.qvel)
        controller.joint_pos, controller.joint_vel = data.qpos[positions], data.qvel[velocities]
        controller.J_pos, controller.J_ori = jacobian[0][:, velocities], jacobian[1][:, velocities]
        controller.J_full = np.vstack([controller.J_pos, controller.J_ori])
        controller.mass_matrix = inertia[velocities, :][:, velocities]
        controller.new_update = False
