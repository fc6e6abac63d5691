"""Which control step a simulator gets: compiled, or in Python. Both give LIBERO's own bits."""

from __future__ import annotations

import logging
from typing import Any

import numba
from robosuite.controllers.osc import OperationalSpaceController
from robosuite.models.grippers import PandaGripper

from ript.simulators.libero.c_functions import BLAS_PRODUCT, NUMPY
from ript.simulators.libero.control_step import ControlStep

logger = logging.getLogger(__name__)


def make_control_step(simulator: Any) -> ControlStep:
    """Installs the fastest control step that is equal to LIBERO's on this simulator and machine."""
    if obstacle := obstacle_to_compiling(simulator):
        logger.warning("control steps run in Python, at about half the speed: %s", obstacle)
        return ControlStep(simulator)
    from ript.simulators.libero.compiled_step import CompiledControlStep

    return CompiledControlStep(simulator)


def obstacle_to_compiling(simulator: Any) -> str:
    """Why the compiled step cannot be had, else an empty text."""
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return "NUMBA_DISABLE_JIT is set"
    if not hasattr(NUMPY, BLAS_PRODUCT):
        return "this NumPy has another BLAS than its wheels from PyPI"
    (robot,) = simulator.robots
    controller, gripper = robot.controller, robot.gripper
    known = type(controller) is OperationalSpaceController and type(gripper) is PandaGripper
    if not known or not controller.uncoupling or controller.interpolator_pos or controller.interpolator_ori:
        return f"only a Panda gripper under uncoupled OSC_POSE is compiled, not {type(gripper).__name__}"
    return ""
