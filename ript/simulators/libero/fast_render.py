"""Cheaper pictures, for rollouts to learn from and demonstrations."""

from typing import Any

import mujoco


def render_fast(sim: Any) -> None:
    """Renders robosuite's `sim` without reflections and antialiasing from now on.

    About three times as fast with software rendering. At 128 × 128, pixels differ by 2 to 3 of 255 on average, mostly
    at edges, so a benchmark's images must not be made so.
    """
    context = sim._render_context_offscreen
    context.gl_ctx.make_current()
    sim.model._model.vis.quality.offsamples = 0
    context.scn.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
    context.con.free()
    context._set_mujoco_context_and_buffers()
