"""The environment variables of the program, read and checked in this one place."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

RenderSource = Literal["obs", "render"]
VARIABLES = (
    *("PI0_VERBOSE", "PI0_DISABLE_INIT_STATES", "PI0_N_VIDEO", "PI0_VIDEO_DIR", "PI0_RENDER_SOURCE"),
    *("PI0_ENABLE_DUAL", "PI0_CFG_SCALE", "PI0_IS_POSITIVE"),
)
"""All that change what a run does."""

RLINF_HOME = "RLINF_HOME"
"""Names a checkout of RLinf, whose code and assets a suite needs that is in no package."""


@dataclass(frozen=True)
class EnvSettings:
    """What the environment asks for; None means "not set", and the configuration decides."""

    verbose: bool = False
    """`PI0_VERBOSE`: log inference time and action shape."""
    disable_init_states: bool = False
    """`PI0_DISABLE_INIT_STATES`: draw fresh layouts instead of loading initial states."""
    n_video: int | None = None
    """`PI0_N_VIDEO`: videos per task at evaluation."""
    video_dir: str | None = None
    """`PI0_VIDEO_DIR`: where they go."""
    render_source: RenderSource = "obs"
    """`PI0_RENDER_SOURCE`: video frames from the policy's camera (obs) or rendered larger (render)."""
    enable_dual: bool = True
    """`PI0_ENABLE_DUAL=0`: one branch, whatever the guidance scale."""
    cfg_scale: float | None = None
    """`PI0_CFG_SCALE`: guidance scale at rollout and evaluation."""
    is_positive: int | None = None
    """`PI0_IS_POSITIVE`: force the branch 0 or 1."""

    def guidance(self, cfg_scale: float) -> float:
        """The scale that guides, given the configured one: 1 where a single branch is asked for."""
        wanted = cfg_scale if self.cfg_scale is None else self.cfg_scale
        return wanted if self.enable_dual and self.is_positive is None else 1.0


def read_env_settings(environ: Mapping[str, str] = os.environ) -> EnvSettings:
    """Reads the `PI0_*` variables. Raises ValueError naming variable, value and the valid values."""
    render_source = environ.get("PI0_RENDER_SOURCE", "obs")
    if render_source not in ("obs", "render"):
        raise ValueError(f"PI0_RENDER_SOURCE={render_source!r}: valid values are obs, render")
    is_positive = _number(environ, "PI0_IS_POSITIVE", int)
    if is_positive not in (None, 0, 1):
        raise ValueError(f"PI0_IS_POSITIVE={is_positive}: valid values are 0, 1")
    n_video = _number(environ, "PI0_N_VIDEO", int)
    return EnvSettings(
        verbose=_flag(environ, "PI0_VERBOSE", False),
        disable_init_states=_flag(environ, "PI0_DISABLE_INIT_STATES", False),
        n_video=None if n_video is None else int(n_video),
        video_dir=environ.get("PI0_VIDEO_DIR") or None,
        render_source="render" if render_source == "render" else "obs",
        enable_dual=_flag(environ, "PI0_ENABLE_DUAL", True),
        cfg_scale=_number(environ, "PI0_CFG_SCALE", float),
        is_positive=None if is_positive is None else int(is_positive),
    )


def read_rlinf_home(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The absolute folder that `RLINF_HOME` names, whether it is there or not; None where it is not set."""
    named = environ.get(RLINF_HOME, "").strip()
    return Path(named).expanduser().absolute() if named else None


def _flag(environ: Mapping[str, str], name: str, default: bool) -> bool:
    value = environ.get(name, "")
    if value not in ("", "0", "1"):
        raise ValueError(f"{name}={value!r}: valid values are 0, 1")
    return default if value == "" else value == "1"


def _number(environ: Mapping[str, str], name: str, kind: type[int] | type[float]) -> float | None:
    value = environ.get(name, "")
    if value == "":
        return None
    try:
        number = kind(value)
    except ValueError:
        number = -1
    if not 0 <= number < float("inf"):
        raise ValueError(f"{name}={value!r}: must be a number of at least 0")
    return number
