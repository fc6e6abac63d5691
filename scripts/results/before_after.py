"""Prints what a policy gained: a Markdown table of success before and after, task by task, and what it took.

python scripts/results/before_after.py runs/metaworld/drawer-open-v3 --before sft_600 --after cfg_flow_30 --run cfg_flow
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ript.json_files import read_json
from ript.report.run_folder import read_run
from ript.results.success import newcombe_interval, wilson_interval

Counts = dict[tuple[int, float, str], tuple[int, int]]
"""(denoising steps, guidance, task) → successes and episodes."""


def counts(folder: Path) -> Counts:
    """What an evaluation counted; `all tasks` where there are several."""
    found: Counts = {}
    for setting in read_json(folder / "summary.json")["settings"]:
        rows: dict[str, Any] = dict(setting["tasks"])
        if len(rows) > 1:
            rows["all tasks"] = setting["overall"]
        for task, row in rows.items():
            found[setting["denoise_steps"], setting["cfg_scale"], task] = row["successes"], row["episodes"]
    return found


def cell(k: int, n: int) -> str:
    """`61/100 (51.2 to 70.0 %)`, with the 95 % Wilson interval."""
    low, high = wilson_interval(k, n)
    return f"{k}/{n} ({100 * low:.1f} to {100 * high:.1f} %)"


def table(before: Counts, after: Counts) -> Iterator[str]:
    """The lines of the table. Raises ValueError if the two were not judged alike."""
    if before.keys() != after.keys():
        raise ValueError("the evaluations differ in tasks, denoising steps or guidance")
    yield "| task | denoising steps | before | after | gain, points |"
    yield "| --- | --- | --- | --- | --- |"
    for key, start in before.items():
        end = after[key]
        low, high = newcombe_interval(*end, *start)
        gain = end[0] / end[1] - start[0] / start[1]
        yield (
            f"| {key[2]} | {key[0]} | {cell(*start)} | {cell(*end)} "
            f"| {100 * gain:+.1f} ({100 * low:.1f} to {100 * high:.1f}) |"
        )


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what a script of this folder filled")
    parser.add_argument("--before", required=True, help="name of an evaluation")
    parser.add_argument("--after", required=True, help="name of another")
    parser.add_argument("--run", required=True, help="name of the training run between them")
    options = parser.parse_args()
    evaluations = options.folder / "evaluation"
    print(*table(counts(evaluations / options.before), counts(evaluations / options.after)), sep="\n")
    run = read_run(options.folder / options.run)
    rates = ", ".join(f"{100 * line['raw_success_rate']:.0f}" for line in run.train if "raw_success_rate" in line)
    print(
        f"\n{run.env_steps[-1] / 1000:.1f} k environment steps in {(run.elapsed_s or 0) / 60:.1f} minutes of training"
    )
    print(f"success in the training rollouts, %: {rates}")


if __name__ == "__main__":
    main()
