"""Cheaper pictures, for rollouts to learn from and demonstrations."""

from typing import Any

import mujoco

from ript.simulators.libero.simple_meshes import with_simple_meshes

_VIEW = 0.8
"""Metres that a picture is wide a metre away, for LIBERO's agentview."""


def render_fast(sim: Any, image_size: int) -> None:
    """Renders robosuite's `sim` without reflections, and with meshes as fine as half a pixel, from now on.

    A benchmark's images must not be made so: benchmarks/simulator.py measures what it saves and changes. Physics is as
    it was, since only the renderer gets the simple meshes.
    """
    context = sim._render_context_offscreen
    context.gl_ctx.make_current()
    context.scn.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
    context.con.free()
    simple = with_simple_meshes(sim.model._model, _VIEW / image_size / 2)
    context.con = mujoco.MjrContext(simple, mujoco.mjtFontScale.mjFONTSCALE_150)
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context.con)
