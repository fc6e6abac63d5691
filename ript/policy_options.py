"""Command line options that every command with a policy has: how its weights are used."""

import argparse
from collections.abc import Callable
from typing import Any

KEYS = ("delta_actions", "discrete_state_input", "cameras", "normalization", "base_path")


def add_policy_options(add: Callable[..., Any]) -> None:
    """Adds the options through an argument group's `add_argument`. Not set, each is what the checkpoint says."""
    switch = argparse.BooleanOptionalAction
    add("--delta-actions", action=switch, default=None, help="relative to the start state (default: the checkpoint's)")
    add("--discrete-state-input", action=switch, default=None, help="π0.5: state in the prompt (default: likewise)")
    add("--cameras", nargs="+", metavar="NAME", help="base_0_rgb, left_wrist_0_rgb; others are masked (likewise)")
    add("--normalization", metavar="MODE", help="z_score, quantile, min_max or identity (default: likewise)")
    add("--base-path", metavar="FOLDER", help="an adapter's weights (default: where its card says)")


def chosen(options: argparse.Namespace) -> dict[str, Any]:
    """The options as arguments of `PI0_OFT_Policy`."""
    return {key: getattr(options, key) for key in KEYS}
