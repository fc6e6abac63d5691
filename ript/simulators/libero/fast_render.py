"""Cheaper pictures, for rollouts to learn from and demonstrations."""

from typing import Any

import mujoco

from ript.simulators.libero.simple_meshes import with_simple_meshes

_CELL = 1 / 240
"""Metres: half a pixel of the small π0's 96, a metre away from agentview."""


def render_fast(sim: Any) -> None:
    """Renders robosuite's `sim` without reflections, and with one mesh vertex per cube of 4 mm, from now on.

    A benchmark's images must not be made so: benchmarks/simulator.py measures what it saves and changes. Physics is as
    it was, since only the renderer gets the simple meshes.
    """
    context = sim._render_context_offscreen
    context.gl_ctx.make_current()
    context.scn.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
    context.con.free()
    simple = with_simple_meshes(sim.model._model, _CELL)
    context.con = mujoco.MjrContext(simple, mujoco.mjtFontScale.mjFONTSCALE_150)
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context.con)
