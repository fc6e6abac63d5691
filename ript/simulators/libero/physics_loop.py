"""The physics steps of a control step as one compiled loop: MuJoCo's functions, robosuite's arithmetic, no Python.

Bits are robosuite's because its routines are: the functions that it compiles with numba are called as they are, on
arrays of the same memory layout, and what it leaves to NumPy calls NumPy's own BLAS (numba would take SciPy's, another
build). robosuite makes MuJoCo solve for contacts three times per physics step; two of them leave no trace (see
`control_step.py`), and are left out.

The machine code is kept beside this file, or in the user's cache where that cannot be written (`NUMBA_CACHE_DIR` names
another place). numba puts whole files in place, so processes that compile at the same time do not disturb each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, types
from robosuite.utils.control_utils import nullspace_torques, opspace_matrices, orientation_error

from ript.simulators.libero.c_functions import BLAS_PRODUCT, MUJOCO, NUMPY, external

_COLUMN_MAJOR, _ROW_MAJOR, _NOT_TRANSPOSED = 102, 101, 111


class Arm(NamedTuple):
    """One arm with its controller and gripper. Arrays named like MuJoCo's are its own memory; `n` is 7 joints."""

    site: int
    """The hand's site, which is controlled."""
    positions: np.ndarray
    """`(n,)` indices of the joints in `qpos`."""
    velocities: np.ndarray
    """`(n,)` indices of the joints in `qvel`."""
    motors: np.ndarray
    """`(n,)` indices of the joints' actuators in `ctrl`."""
    fingers: np.ndarray
    """`(2,)` indices of the fingers' actuators in `ctrl`."""

    qpos: np.ndarray
    qvel: np.ndarray
    qfrc_bias: np.ndarray
    ctrl: np.ndarray
    site_xpos: np.ndarray
    site_xmat: np.ndarray
    qM: int
    """Address of the sparse mass matrix."""

    goal_position: np.ndarray
    """`(3,)` m."""
    goal_rotation: np.ndarray
    """`(3, 3)`."""
    stiffness: np.ndarray
    """`(6,)`, robosuite's `kp`."""
    damping: np.ndarray
    """`(6,)`, robosuite's `kd`."""
    rest: np.ndarray
    """`(n,)` rad, what the arm's redundant freedom is drawn to."""
    torque_low: np.ndarray
    torque_high: np.ndarray

    grip: np.ndarray
    """`(2,)` in [-1, 1], the fingers' integrated command."""
    grip_change: np.ndarray
    """`(2,)`, added to it at each physics step."""
    grip_bias: np.ndarray
    grip_weight: np.ndarray

    torques: np.ndarray
    """`(n,)` Nm, the last ones commanded."""


_pointer, _int, _long, _double = types.intp, types.int32, types.int64, types.float64
_mj_step1 = external(MUJOCO, "mj_step1", _pointer, _pointer)
_mj_step2 = external(MUJOCO, "mj_step2", _pointer, _pointer)
_mj_jacSite = external(MUJOCO, "mj_jacSite", _pointer, _pointer, _pointer, _pointer, _int)
_mj_fullM = external(MUJOCO, "mj_fullM", _pointer, _pointer, _pointer)
# Order, transposition, rows, columns, α, matrix, its leading dimension, vector, its stride, β, result, its stride.
_sizes, _array = (_int, _int, _long, _long), (_pointer, _long)
_dgemv = external(NUMPY, BLAS_PRODUCT, *_sizes, _double, *_array, *_array, _double, *_array)


@njit(cache=True)
def run_physics(model: int, data: int, arm: Arm, steps: int, is_current: bool) -> None:
    """Runs physics steps towards the arm's goal.

    Args:
        model: address of the `mjModel`.
        data: address of the `mjData`.
        arm: the arm; its `grip` and `torques` are written.
        steps: number of physics steps.
        is_current: whether `mj_step1` has already run at the present positions and velocities.
    """
    jacobian = np.empty((2, 3, len(arm.qvel)))
    inertia = np.empty((len(arm.qvel), len(arm.qvel)))
    for step in range(steps):
        if step > 0 or not is_current:
            _mj_step1(model, data)
        _mj_jacSite(model, data, jacobian[0].ctypes.data, jacobian[1].ctypes.data, arm.site)
        _mj_fullM(model, inertia.ctypes.data, arm.qM)
        _operate(arm, jacobian, inertia)
        for i in range(len(arm.fingers)):
            arm.grip[i] = _clip(arm.grip[i] + arm.grip_change[i], -1.0, 1.0)
            arm.ctrl[arm.fingers[i]] = arm.grip_bias[i] + arm.grip_weight[i] * arm.grip[i]
        for i in range(len(arm.motors)):
            arm.ctrl[arm.motors[i]] = arm.torques[i]
        _mj_step2(model, data)


@njit
def _operate(arm: Arm, jacobian: np.ndarray, inertia: np.ndarray) -> None:
    """The operational space controller of robosuite: writes the torques."""
    n = len(arm.velocities)
    # NumPy's fancy indexing, with which robosuite picks the arm's part, gives matrices stored by columns.
    full, position, rotation = np.empty((n, 6)).T, np.empty((n, 3)).T, np.empty((n, 3)).T
    mass = np.empty((n, n)).T
    joint_positions, joint_velocities = np.empty(n), np.empty(n)
    for j in range(n):
        column = arm.velocities[j]
        joint_positions[j], joint_velocities[j] = arm.qpos[arm.positions[j]], arm.qvel[column]
        for i in range(3):
            full[i, j] = position[i, j] = jacobian[0, i, column]
            full[3 + i, j] = rotation[i, j] = jacobian[1, i, column]
        for i in range(n):
            mass[i, j] = inertia[arm.velocities[i], column]
    _, by_position, by_rotation, nullspace = opspace_matrices(mass, full, position, rotation)

    force, torque, wrench = np.empty(3), np.empty(3), np.empty(6)
    linear, angular = np.empty(3), np.empty(3)
    _product(_ROW_MAJOR, jacobian[0], arm.qvel, linear)
    _product(_ROW_MAJOR, jacobian[1], arm.qvel, angular)
    off = orientation_error(arm.goal_rotation, arm.site_xmat[arm.site].copy().reshape(3, 3))
    for i in range(3):
        away = arm.goal_position[i] - arm.site_xpos[arm.site, i]
        force[i] = away * arm.stiffness[i] + -linear[i] * arm.damping[i]
        torque[i] = off[i] * arm.stiffness[3 + i] + -angular[i] * arm.damping[3 + i]
    _product(_COLUMN_MAJOR, by_position, force, wrench[:3])
    _product(_COLUMN_MAJOR, by_rotation, torque, wrench[3:])
    _product(_ROW_MAJOR, full.T, wrench, arm.torques)
    resting = nullspace_torques(mass, nullspace, arm.rest, joint_positions, joint_velocities)
    for i in range(n):
        total = arm.torques[i] + arm.qfrc_bias[arm.velocities[i]] + resting[i]
        arm.torques[i] = _clip(total, arm.torque_low[i], arm.torque_high[i])


@njit
def _product(order: int, matrix: np.ndarray, vector: np.ndarray, result: np.ndarray) -> None:
    """`np.dot(matrix, vector)` as NumPy does it, for a matrix stored by rows or by columns."""
    rows, columns = matrix.shape
    leading = columns if order == _ROW_MAJOR else rows
    sizes = (order, _NOT_TRANSPOSED, rows, columns)
    _dgemv(*sizes, 1.0, matrix.ctypes.data, leading, vector.ctypes.data, 1, 0.0, result.ctypes.data, 1)


@njit
def _clip(value: float, low: float, high: float) -> float:
    """`np.clip` of one number; not a number stays so."""
    if value < low:
        return low
    return high if value > high else value
