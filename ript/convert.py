"""Converts a policy folder to openpi's layout or to LeRobot's, with its statistics and processors.

    python -m ript.convert runs/spatial/checkpoints/step_000100 /models/mine_openpi --to openpi
    python -m ript.convert /models/pi0_libero /models/pi0_libero_lerobot --to lerobot

Adapters, and the positive branch of a trained condition, become part of the weights. The result is loaded again,
strictly, and must give the same actions before it gets its name.
"""

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ript.models.pi0.checkpoint import load_model
from ript.models.pi0.dims import PADDED_DIM
from ript.models.pi0.export import write_lerobot, write_openpi
from ript.models.pi0.folders import LATENT_ACTOR, find_policy_folder
from ript.models.pi0.guidance import sample_actions
from ript.models.pi0.lora import merge_lora
from ript.models.pi0.modeling import Pi0FlowModel
from ript.models.pi0.norm_stats import NormStats
from ript.models.pi0.stats_source import find_stats
from ript.models.pi0.usage import find_card
from ript.policy_options import add_policy_options, chosen

TOOLS = ("openpi", "lerobot")
TOLERANCE = 1e-3
"""Of an action, in units of its statistics' spread."""


def convert(
    folder: Path,
    out: Path,
    to: str,
    condition_mode: str = "concat",
    norm_stats_path: Path | None = None,
    base_path: str | None = None,
    **usage: Any,
) -> str:
    """Writes the new folder `out`, and returns one line on how it is used.

    `usage` are the options of `PI0_OFT_Policy` of how the weights are used. Raises FileNotFoundError or ValueError
    for a folder that cannot be read, or that the other tool cannot use; then nothing is written.
    """
    folder = find_policy_folder(folder, "FOLDER")
    if (folder / LATENT_ACTOR).is_file():
        raise ValueError(
            f"{folder / LATENT_ACTOR} decides the noise, which {to} draws itself: convert the policy it was trained for"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not empty")
    card = find_card(folder, condition_mode).choose(**usage).card
    source = find_stats(folder, norm_stats_path)
    stats = NormStats.from_content(source.path, source.content, card.normalization, card.state_normalization)
    model, origin = load_model(folder, card, None if base_path is None else Path(base_path).expanduser())
    before = _actions(model, stats)
    if card.lora is not None:
        merge_lora(model)
    model.absorb_condition()
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        if to == "openpi":
            line = write_openpi(unfinished, model, origin, card, stats, source.content)
        else:
            line = write_lerobot(unfinished, model, origin, card, stats, source.content)
        if (folder / "tokenizer.json").is_file():
            shutil.copyfile(folder / "tokenizer.json", unfinished / "tokenizer.json")
        del model  # one network at a time
        _check(unfinished, before, stats)
        if out.exists():
            out.rmdir()
        unfinished.rename(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return line


def _check(folder: Path, before: np.ndarray, stats: NormStats) -> None:
    """Raises ValueError unless the folder loads and acts as the original did."""
    card = find_card(folder, "concat").card
    source = find_stats(folder)
    again = NormStats.from_content(source.path, source.content, card.normalization, card.state_normalization)
    after = _actions(load_model(folder, card)[0], again)
    worst = float(np.abs((after - before) / stats.actions.scale).max())
    if not worst <= TOLERANCE:
        raise ValueError(f"the converted policy acts differently, by {worst:g} of the actions' spread; nothing is kept")


@torch.no_grad()
def _actions(model: Pi0FlowModel, stats: NormStats) -> np.ndarray:
    """Raw actions (H, A) of a made-up observation."""
    model.eval()
    generator = torch.Generator().manual_seed(0)
    sizes = model.architecture
    side = sizes.vision.image_size
    images = torch.rand((1, 2, 3, side, side), generator=generator) * 2 - 1
    tokens = torch.randint(0, sizes.vocab_size, (1, 8), generator=generator)
    raw_state = np.linspace(-0.3, 0.3, stats.state.width)
    state = torch.zeros(1, PADDED_DIM)
    state[0, : stats.state.width] = torch.from_numpy(stats.state.normalize(raw_state)).clamp(-5, 5)
    noise = torch.randn((1, sizes.chunk_size, PADDED_DIM), generator=generator)
    prefix = model.prefix(images, tokens, torch.ones_like(tokens))
    chunk = sample_actions(model, prefix, state, noise, num_steps=10, cfg_scale=1.0)[0, :, : stats.actions.width]
    return stats.actions.unnormalize(chunk.numpy())


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ript.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of openpi, LeRobot or this project")
    parser.add_argument("out", type=Path, metavar="OUT", help="the new folder")
    parser.add_argument("--to", required=True, choices=TOOLS)
    parser.add_argument("--norm-stats", type=Path, metavar="FILE", help="statistics (default: those in the folder)")
    parser.add_argument("--condition-mode", default="concat", help="the policy's own (default: %(default)s)")
    add_policy_options(parser.add_argument)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; bad input ends with one line and exit code 2."""
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        line = convert(
            options.folder, options.out, options.to, options.condition_mode, options.norm_stats, **chosen(options)
        )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{options.out}: {line}")


if __name__ == "__main__":
    main()
