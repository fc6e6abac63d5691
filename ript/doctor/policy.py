"""A policy folder: what it is, how it will be used, whether it is whole, and what it needs."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from ript.algos.policies.policy_parts import DEFAULT_FOLDER
from ript.doctor.finding import Finding, amount, note, ok, problem
from ript.doctor.machine import existing
from ript.doctor.options import Options
from ript.doctor.packages import one_line
from ript.estimate.memory import MODES, Memory, estimate, find_architecture
from ript.estimate.memory import Options as Workload
from ript.models.pi0.checkpoint import check_weights
from ript.models.pi0.config import Pi0Architecture
from ript.models.pi0.folders import POLICY, find_policy_folder
from ript.models.pi0.norm_stats import EPSILON, Normalizer, NormStats
from ript.models.pi0.policy_card import read_policy_card
from ript.models.pi0.preprocess import check_tokenizer, load_tokenizer
from ript.models.pi0.stats_source import find_stats
from ript.models.pi0.usage import KEYS, CardSource, find_card

GIB = 2**30
CHECKPOINTS = 3
"""On the disk at a time: `training.keep_checkpoints` (2), and the one that is being written."""
ROOM = 1.05
"""Beside what a model needs, and a GiB: for CUDA and fragmentation, as `ript.estimate` says."""
_REFUSED = (ValueError, OSError)


@dataclass(frozen=True)
class Policy:
    """What the first look found, for the later ones."""

    folder: Path
    source: CardSource
    """How its weights are used, and who says so."""
    architecture: Pi0Architecture
    options: Options

    @property
    def base(self) -> Path | None:
        """Where the weights of an adapter are, if the command line says so."""
        given = self.options.usage.get("base_path")
        return None if given is None else Path(given).expanduser()


def check(options: Options) -> Iterator[Finding]:
    """Kind and use, weights, statistics, tokenizer, memory, disk."""
    given = options.policy or DEFAULT_FOLDER
    try:
        policy = read(given, options)
    except _REFUSED as error:
        yield problem(str(given), one_line(error), "a whole folder of openpi (PyTorch), LeRobot or this project")
        return
    yield judged(weights, policy, "weights", "copy or convert the folder again (docs/checkpoints.md)")
    yield ok("use", str(policy.source), **{key: getattr(policy.source.card, key) for key in KEYS})
    yield condition(policy)
    yield judged(statistics, policy, "statistics", "algo.norm_stats_path=FILE (here: --norm-stats FILE)")
    yield judged(tokenizer, policy, "tokenizer", "algo.tokenizer_path=FILE (here: --tokenizer FILE)")
    needs = {mode: estimate(policy.architecture, mode, Workload(dtype="bfloat16")) for mode in MODES}
    yield memory(needs, *capacity())
    yield disk(needs, shutil.disk_usage(existing(options.runs.expanduser())).free)


def read(given: Path, options: Options) -> Policy:
    """Finds folder, card and sizes. Raises FileNotFoundError or ValueError as loading does."""
    folder = find_policy_folder(given, "POLICY_FOLDER")
    mode = read_policy_card(folder).condition_mode if (folder / POLICY).exists() else "concat"
    usage = {key: value for key, value in options.usage.items() if key != "base_path"}
    source = find_card(folder, mode).choose(**usage)
    base = options.usage.get("base_path") if source.card.base else None
    return Policy(folder, source, find_architecture(str(base or folder)), options)


def judged(look: Callable[[Policy], Finding], policy: Policy, subject: str, remedy: str) -> Finding:
    """What the look gives, or as a problem what it raises."""
    try:
        return look(policy)
    except _REFUSED as error:
        return problem(subject, one_line(error), remedy)


def weights(policy: Policy) -> Finding:
    """Which tool's they are, with every name, shape and recorded checksum as it should be."""
    card, sizes = policy.source.card, policy.architecture
    layout = check_weights(policy.folder, card, policy.base)
    by = "this project" if (policy.folder / POLICY).exists() else layout.name
    adapter = "" if card.base is None else f", an adapter on {policy.base or card.base.path}"
    text = (
        f"{policy.folder}: {sizes.kind} of {by} (tensors named as {layout.name}'s){adapter}; chunks of "
        f"{sizes.chunk_size} actions, images of {sizes.vision.image_size}; checksums: {checksums(card.sha256)}"
    )
    data = {"folder": str(policy.folder), "kind": sizes.kind, "by": by, "layout": layout.name}
    return ok("weights", text, **data, chunk_size=sizes.chunk_size, image_size=sizes.vision.image_size)


def checksums(recorded: Mapping[str, str]) -> str:
    """What is known of the numbers themselves."""
    return f"{len(recorded)} files as recorded" if recorded else "none recorded"


def condition(policy: Policy) -> Finding:
    """How the network is told "good" or "unconditional"."""
    mode = policy.source.card.condition_mode
    if (policy.folder / POLICY).exists():
        return ok("condition", f"trained with condition_mode={mode}", condition_mode=mode)
    return ok("condition", "none in the checkpoint: condition_mode=concat starts as the checkpoint acts, until trained")


def statistics(policy: Policy) -> Finding:
    """The file, and dimensions whose data never varied: what differs there is magnified."""
    given, card = policy.options.norm_stats, policy.source.card
    source = find_stats(policy.folder, given)
    stats = NormStats.from_content(source.path, source.content, card.normalization, card.state_normalization)
    flat = {name: constant(part) for name, part in (("state", stats.state), ("actions", stats.actions))}
    text = f"{source.path}: {stats.actions.mode} for actions, {stats.state.mode} for the state"
    if any(flat.values()):
        where = "; ".join(f"{name} {', '.join(map(str, found))}" for name, found in flat.items() if found)
        remedy = "statistics of data that vary there (python -m ript.demonstrations.compute_norm_stats --help)"
        return note("statistics", f"{text}; no spread in dimensions: {where}", remedy, path=str(source.path))
    return ok("statistics", text, path=str(source.path))


def constant(part: Normalizer) -> list[int]:
    """Dimensions without spread."""
    return [] if part.mode == "identity" else [i for i, scale in enumerate(part.scale) if scale <= 2 * EPSILON]


def tokenizer(policy: Policy) -> Finding:
    """The file, against the network's vocabulary."""
    path = policy.options.tokenizer or policy.folder / "tokenizer.json"
    found = load_tokenizer(path)
    try:
        check_tokenizer(found, policy.architecture.vocab_size)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return ok("tokenizer", f"{path}: {found.get_vocab_size()} tokens", path=str(path))


def capacity() -> tuple[int, str]:
    """Bytes that a model can have on this machine, and where: the smallest GPU, else free memory."""
    if not torch.cuda.is_available():
        return psutil.virtual_memory().available, "of free memory, on the CPU"
    sizes = [torch.cuda.mem_get_info(index)[1] for index in range(torch.cuda.device_count())]
    return min(sizes), "of the smallest GPU"


def memory(needs: Mapping[str, Memory], usable: int, where: str) -> Finding:
    """Which modes fit. On a CPU the figures are those of a GPU, and a guide only."""
    fits = [mode for mode, need in needs.items() if ROOM * need.peak + GIB <= usable]
    parts = ", ".join(f"{mode} {amount(need.peak)}" for mode, need in needs.items())
    text = f"8 windows in bfloat16: {parts}; {amount(usable)} {where}"
    data: dict[str, Any] = {"need_bytes": {mode: need.peak for mode, need in needs.items()}, "fits": fits}
    if "inference" not in fits:
        return problem("memory", f"{text}: not even inference fits", "a larger GPU, or a smaller policy", **data)
    if len(fits) < len(needs):
        remedy = f"python -m ript.estimate --help; fits: {', '.join(fits)} (docs/memory.md)"
        return note("memory", text, remedy, **data)
    return ok("memory", f"{text}: all fit", **data)


def checkpoint_bytes(need: Memory) -> int:
    """At most: weights in float32, AdamW's two moments; with `algo.ema_decay` raw weights and their average."""
    return 4 * need.parameters + need.optimizer + 8 * need.trainable


def disk(needs: Mapping[str, Memory], free: int) -> Finding:
    """Whether checkpoints of full training fit on the disk of runs."""
    least, most = (CHECKPOINTS * checkpoint_bytes(needs[mode]) for mode in ("LoRA", "full"))
    text = (
        f"{CHECKPOINTS} checkpoints take up to {amount(least)} (LoRA) or {amount(most)} (full training); "
        f"{amount(free)} free"
    )
    remedy = "paths.output_dir=FOLDER on a larger disk, or training.keep_checkpoints=1"
    data = {"least_bytes": least, "most_bytes": most, "free_bytes": free}
    if free < least:
        return problem("disk", text, remedy, **data)
    return note("disk", text, remedy, **data) if free < most else ok("disk", text, **data)
