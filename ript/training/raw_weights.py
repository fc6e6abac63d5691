"""Writes a checkpoint's policy as it was trained, without the moving average of its weights.

    python -m ript.training.raw_weights runs/<name>/checkpoints/step_001000 raw_policy

A run with `algo.ema_decay` saves the average as its policy; this is the other one, to compare them. It is for runs that
train all weights.
"""

import argparse
import sys
from pathlib import Path

import torch

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.models.pi0.policy_card import read_policy_card
from ript.training.checkpoint import POLICY, load_state


def write_raw_policy(checkpoint: Path, folder: Path) -> None:
    """Writes the policy folder. Raises FileNotFoundError, or ValueError when the checkpoint has no average."""
    average = load_state(checkpoint)["learner"]["average"]
    if average is None:
        raise ValueError(f"{checkpoint} has no moving average: its policy is the one that was trained")
    mode = read_policy_card(checkpoint / POLICY).condition_mode
    policy = PI0_OFT_Policy(pretrained_path=str(checkpoint / POLICY), condition_mode=mode)
    parameters = [parameter for group in policy.trainable_params.values() for parameter in group]
    raw = average["raw"]
    if [tuple(tensor.shape) for tensor in raw] != [tuple(parameter.shape) for parameter in parameters]:
        raise ValueError(f"{checkpoint} is of a run that did not train all weights")
    with torch.no_grad():
        for parameter, tensor in zip(parameters, raw, strict=True):
            parameter.copy_(tensor)
    policy.save(folder)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command; bad input ends with one line and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m ript.training.raw_weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", type=Path, help="a folder step_N of a run")
    parser.add_argument("folder", type=Path, help="where the policy goes")
    options = parser.parse_args(arguments)
    try:
        write_raw_policy(options.checkpoint, options.folder)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
