"""Says what inference and training of a model need in GPU memory, in seconds and without weights.

    python -m ript.estimate
    python -m ript.estimate --model pi05 --dtype bfloat16 --batch-size 4
    python -m ript.estimate --dtype bfloat16 --batch-size 32 --branches 1 --heads value     (PPO)
    python -m ript.estimate --dtype bfloat16 --heads latent value                           (DSRL: heads only)
    python -m ript.estimate --model runs/spatial/checkpoints/step_100/policy --gpus 8
    python -m ript.estimate --dtype bfloat16 --gpus 8 --sharding fsdp2

GiB per GPU. Data parallel training shares out windows, nothing else: every GPU holds all of it; with fsdp2 a GPU holds
its share of weights, gradients and moments, and all weights while the policy acts (`acting`). Trained parameters,
gradients and AdamW's two moments are float32; frozen ones of the backbone have the dtype. The total is the peak over
several micro-batches; a card fits if it has 5 % and 1 GiB to spare, for CUDA itself and for fragmentation.
"""

import argparse
import sys

from ript import checks

CARDS = {"24 GB": 23.5, "40 GB": 39.4, "80 GB": 79.1, "141 GB": 139.7}
"""Name → GiB that a program can have."""
GIB = 2**30


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ript.estimate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", default="pi0", help="pi0, pi05, small, small_pi05, or a policy folder (default: %(default)s)")
    add(
        "--batch-size", type=int, default=8, metavar="N", help="windows per forward pass and GPU (default: %(default)s)"
    )
    add("--dtype", default="float32", help="float32 or bfloat16 (default: %(default)s)")
    add("--gpus", type=int, default=1, metavar="N", help="data parallel (default: %(default)s)")
    add("--sharding", default="replicate", help="replicate or fsdp2, as cluster.sharding (default: %(default)s)")
    add(
        "--branches",
        type=int,
        default=2,
        help="2: the two-branch loss, and guidance; 1: without (default: %(default)s)",
    )
    add(
        "--heads",
        nargs="+",
        default=[],
        metavar="HEAD",
        help="value: a critic, log_std: of the noise sampler, latent: DSRL's actor; default: none",
    )
    add(
        "--scored-steps",
        type=int,
        default=1,
        metavar="N",
        help="denoising steps that the loss scores: with joint_logprob all of them (default: %(default)s)",
    )
    add("--prompt-tokens", type=int, default=48, metavar="N", help="per prompt (default: %(default)s)")
    add("--cameras", type=int, default=2, metavar="N", help="that the policy looks through (default: %(default)s)")
    add("--lora-target", default="both", help="vlm, expert or both (default: %(default)s)")
    add("--lora-rank", type=int, default=16, metavar="R", help="default: %(default)s")
    add("--vision-checkpointing", action="store_true", help="recompute the vision tower in the backward pass")
    return parser.parse_args(arguments)


def report(arguments: argparse.Namespace) -> str:
    """The table. Raises FileNotFoundError or ValueError naming the argument and what is valid."""
    checks.one_of("dtype", arguments.dtype, ("float32", "bfloat16"))
    checks.one_of("branches", arguments.branches, (1, 2))
    checks.one_of("sharding", arguments.sharding, ("replicate", "fsdp2"))
    for name in ("batch_size", "gpus", "prompt_tokens", "scored_steps", "cameras"):
        checks.whole_number(name, getattr(arguments, name), 1)
    from ript.estimate.memory import HEADS, MODES, Memory, Options, estimate, find_architecture
    from ript.models.pi0.lora import LoraSettings

    for head in arguments.heads:
        checks.one_of("heads", head, HEADS)
    options = Options(
        batch_size=arguments.batch_size,
        dtype=arguments.dtype,
        branches=arguments.branches,
        prompt_tokens=arguments.prompt_tokens,
        lora=LoraSettings(arguments.lora_target, r=arguments.lora_rank),
        vision_checkpointing=arguments.vision_checkpointing,
        heads=arguments.heads,
        scored_steps=arguments.scored_steps,
        cameras=arguments.cameras,
        share=arguments.gpus if arguments.sharding == "fsdp2" else 1,
    )
    architecture = find_architecture(arguments.model)
    rows = {mode: estimate(architecture, mode, options) for mode in MODES}

    is_sharded = options.share > 1

    def cells(mode: str, memory: Memory) -> list[str]:
        parts = [memory.weights, memory.weight_copies, memory.gradients, memory.optimizer]
        parts += [memory.gathered.passing, memory.gathered.acting] if is_sharded else []
        sizes = (*parts, memory.prefix_cache, memory.activations, memory.peak)
        return [mode, f"{memory.trainable / 1e6:,.1f} M", *(f"{size / GIB:.2f}" for size in sizes), fits(memory.peak)]

    states = ["weights", "copies", "gradients", "AdamW", *(["gathered", "acting"] if is_sharded else [])]
    head = ["", "trained", *states, "cache", "activations", "total", "fits on"]
    count = rows["full"].parameters
    windows = f"{options.batch_size} windows, {options.branches} branch{'es' if options.branches > 1 else ''}"
    if options.scored_steps > 1:
        windows += f", {options.scored_steps} scored steps"
    title = (
        f"{arguments.model}: {count / 1e6:,.1f} M parameters, {options.dtype}; {windows} per forward pass; GiB per GPU"
    )
    lines = [title, "", *format_table([head, *(cells(mode, memory) for mode, memory in rows.items())])]
    if arguments.gpus > 1:
        lines += [
            "",
            f"{arguments.gpus} GPUs: each needs this much; {arguments.gpus * options.batch_size} windows at once",
        ]
    return "\n".join(lines)


def fits(size: int) -> str:
    """The smallest card with room to spare, and all larger ones."""
    names = [name for name, usable in CARDS.items() if 1.05 * size / GIB + 1 <= usable]
    return f"{names[0]} and more" if names[1:] else (names[0] if names else "none of these")


def format_table(rows: list[list[str]]) -> list[str]:
    """Lines with aligned columns: the first and the last to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    return [
        "  ".join(
            cell.ljust(width) if i in (0, last) else cell.rjust(width) for i, (cell, width) in enumerate(pairs)
        ).rstrip()
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]


def main() -> None:
    """Prints the table; bad input ends with one line and exit code 2."""
    try:
        print(report(parse_arguments()))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
