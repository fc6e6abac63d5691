"""The environment variables that change what a run does."""

import difflib
import os
from collections.abc import Iterator, Mapping

from ript.doctor.finding import Finding, note, ok, problem
from ript.doctor.options import Options
from ript.env_vars import RLINF_HOME, VARIABLES, read_env_settings

PREFIX = "PI0_"
OTHERS = ("PRETRAIN_PATH", "MUJOCO_GL", "MUJOCO_EGL_DEVICE_ID", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", RLINF_HOME)
"""Read by scripts, MuJoCo, CUDA, torch and one suite; told, not judged."""


def check(options: Options, environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """One finding per variable that is set."""
    ours = sorted(name for name in environ if name.startswith(PREFIX))
    for name in ours:
        yield check_variable(name, environ[name])
    for name in OTHERS:
        if name in environ:
            yield ok(name, environ[name], value=environ[name])
    if not ours:
        yield ok(f"{PREFIX}*", "none is set")


def check_variable(name: str, value: str) -> Finding:
    """Whether anything reads it, and whether it can be read."""
    if name not in VARIABLES:
        near = difflib.get_close_matches(name, VARIABLES, n=1)
        remedy = f"did you mean {near[0]}? " if near else ""
        return note(name, "is read by nothing", f"{remedy}Valid: {', '.join(VARIABLES)}", value=value)
    try:
        read_env_settings({name: value})
    except ValueError as error:
        return problem(name, str(error).partition(": ")[2], f"set a valid value, or: unset {name}", value=value)
    return ok(name, f"{value} (wins over the configuration)", value=value)
