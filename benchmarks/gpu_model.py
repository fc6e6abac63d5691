"""The parts of `benchmarks/gpu.py` that measure the network: each prints its rows as lines of JSON, `[case, result]`.

python benchmarks/gpu_model.py act --size full --device cuda [--compile]
python benchmarks/gpu_model.py update --algorithm cfg_flow --size full --device cuda
"""

import argparse
import statistics
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu import row
from hydra import compose, initialize_config_dir
from model import ARCHITECTURES, Workload, seconds_of
from sharding import peak_bytes

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.policies.policy_parts import PolicyParts, PolicySource
from ript.device import choose_device
from ript.distributed import Distributed
from ript.env_runner.pi0_io import collate_observations
from ript.env_runner.rollout import split_decision
from ript.estimate.memory import Options, estimate
from ript.models.pi0.checkpoint import Origin
from ript.models.pi0.config import Pi0Architecture
from ript.models.pi0.dims import PADDED_DIM
from ript.models.pi0.modeling import Pi0FlowModel
from ript.storage.batch import Batch
from ript.storage.prefix_store import PrefixStore
from ript.storage.windows import Window
from ript.training.build import build, make_learner, prepare
from ript.training.learner import LossFn, Term

CONFIG = Path(__file__).resolve().parents[1] / "config"
ALGORITHMS = {"cfg_flow": "train_rl_pi0_cfg_checkpoint", "ppo": "train_rl_pi0_ppo_checkpoint"}
"""Name → the configuration whose update is measured."""
BATCHES = (1, 32)
GUIDANCE = {"one branch": 1.0, "guided": 2.0}
WINDOWS = 64
"""Per gradient step; the configurations' `optimizer_batch_size` of them per forward pass."""
REPEATS = 5
GIB = 2**30
SEED = (0, 0, 0, 0)


def median_ms(way: Callable[[], object]) -> float:
    """After a call that does not count."""
    way()
    return 1e3 * statistics.median(seconds_of(way) for _ in range(REPEATS))


def act(size: str, device: str, is_compiled: bool) -> None:
    """Milliseconds per inference call, a prefix and `STEPS` denoising steps: frozen weights, in bfloat16 on CUDA."""
    model = Workload(size, 1, device).model.requires_grad_(False)
    if is_compiled:
        model.compile_velocity()
    for batch in BATCHES:
        load = Workload(size, batch, device, model)
        for guidance, scale in GUIDANCE.items():
            first_s = seconds_of(partial(load.sample, scale))
            found = f"{median_ms(partial(load.sample, scale)):.1f} ms per call"
            row(f"batch {batch}, {guidance}", found + (f"; the first took {first_s:.0f} s" if is_compiled else ""))


class RandomPolicy(PI0_OFT_Policy):
    """A policy of any size with random weights, made on its device; tokenizer and statistics are the small π0's."""

    def __init__(self, architecture: Pi0Architecture, **options: Any):
        self._architecture = architecture
        super().__init__(**options)

    def _load(self, source: PolicySource, choices: Mapping[str, Any]) -> PolicyParts:
        parts = source.load(choices)
        with self.device:
            return replace(parts, model=Pi0FlowModel(self._architecture, parts.card.condition_mode), origin=Origin())


class Update:
    """The gradient step of one of `ALGORITHMS` as its configuration has it, expert only, on random windows."""

    def __init__(self, algorithm: str, size: str, device: torch.device):
        torch.manual_seed(0)
        dtype = "bfloat16" if device.type == "cuda" else "float32"
        with initialize_config_dir(str(CONFIG), version_base="1.3"):
            cfg = compose(ALGORITHMS[algorithm], [f"algo.dtype={dtype}"])
        self.algorithm, self.algo = algorithm, cfg.algo
        scope: dict[str, Any] = {**cfg.algo, **cfg.task, **cfg.paths, "seed": cfg.seed}
        scope["heads"] = build(cfg.algo.heads, scope)
        options = prepare(cfg.algo.policy, scope, device_id=device.index).keywords
        self.policy = RandomPolicy(ARCHITECTURES[size](), **options)
        self.learner = make_learner(cfg, self.policy, Distributed(device=device))
        self.batch = Batch.of(random_windows(self.policy, WINDOWS))
        self.loss: LossFn = build(cfg.algo.loss, scope)
        if algorithm == "ppo":
            self._decide(build(cfg.algo.exploration, scope).at(0, self.policy))

    def _decide(self, sampler: Any) -> None:
        """Gives each window a decision of the policy's."""
        decided = []
        for first in range(0, WINDOWS, self.algo.optimizer_batch_size):
            windows = self.batch.windows[first : first + self.algo.optimizer_batch_size]
            noise = torch.randn(len(windows), self.policy.chunk_size, PADDED_DIM)
            generators = [torch.Generator().manual_seed(first + number) for number in range(len(windows))]
            observed = collate_observations([window.observation for window in windows])
            decisions = split_decision(self.policy.act(observed, noise, generators, sampler))
            decided += [replace(w, decision=d, returns=0.5) for w, d in zip(windows, decisions, strict=True)]
        self.batch = Batch.of(decided)
        self.loss = partial(self.loss, sampler=sampler)

    def step(self, **options: Any) -> None:
        """One gradient step. Raises RuntimeError where it was skipped, because its gradient was not finite."""
        terms: list[Term] = [(partial(self.loss, **options), self.batch, 1.0)]
        if "skipped" in self.learner.step(terms, SEED):
            raise RuntimeError("the gradient is not finite")

    def estimated(self) -> int:
        """Bytes at the peak, as `python -m ript.estimate` says."""
        observation = collate_observations([window.observation for window in self.batch.windows])
        options = Options(
            batch_size=self.algo.optimizer_batch_size,
            dtype=self.algo.dtype,
            branches=2 if self.algorithm == "cfg_flow" else 1,
            prompt_tokens=self.policy.prepare(observation).tokens.shape[1],
            heads=("value",) if self.algo.add_value_head else (),
        )
        return estimate(self.policy.model.architecture, "expert only", options).peak


def random_windows(policy: PI0_OFT_Policy, count: int) -> list[Window]:
    """Windows that no simulator played: images, states, actions and advantages are noise."""
    rng = np.random.default_rng(0)

    def observation() -> dict[str, Any]:
        size = (policy.image_size, policy.image_size, 3)
        images = {name: rng.integers(0, 256, size, np.uint8) for name in policy.card.cameras}
        state = rng.standard_normal(policy.state_dim, np.float32)
        return {"image": images, "state": state, "prompt": "put the black bowl on the plate"}

    shape = (policy.chunk_size, policy.action_dim)
    is_pad = np.zeros(policy.chunk_size, bool)
    return [
        Window(observation(), rng.standard_normal(shape, np.float32), is_pad, float(rng.normal()), episode, 0)
        for episode in range(count)
    ]


def update(algorithm: str, size: str, device: torch.device) -> None:
    """Time of a gradient step, with the prefix computed each time and kept, and the peak of memory."""
    made: list[Update] = []

    def begin() -> None:
        made.append(Update(algorithm, size, device))
        made[0].step()
        made[0].step()

    peak = peak_bytes(begin, device)
    (work,) = made
    passes = f"gradient step, {WINDOWS} windows, {work.algo.optimizer_batch_size} per pass"
    estimated = work.estimated()
    row("peak of memory", f"{peak / GIB:.2f} GiB, {peak / estimated:.2f} × the estimate of {estimated / GIB:.2f}")
    row(passes, f"{median_ms(work.step):.0f} ms")
    store = PrefixStore(work.policy, work.algo.reuse_prefix_gib)
    row("the same, prefixes kept", f"{median_ms(partial(work.step, encode=store.encode)):.0f} ms")


def main() -> None:
    """Measures one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("act", "update"))
    parser.add_argument("--size", choices=ARCHITECTURES, default="tiny")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compile", action="store_true", help="act: compile the denoising steps")
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="cfg_flow", help="update: whose")
    options = parser.parse_args()
    if options.device == "cpu":
        torch.set_num_threads(1)
    if options.part == "act":
        act(options.size, options.device, options.compile)
    else:
        update(options.algorithm, options.size, choose_device(options.device))


if __name__ == "__main__":
    main()
