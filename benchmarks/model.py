"""What the shared prefix saves: sampling and training of π0, as ratios measured in one run.

    python benchmarks/model.py                          # the small default π0, batch 8
    python benchmarks/model.py --size medium --batch 2  # larger, with the proportions of the full model
    python benchmarks/model.py --size full --device cuda

Each line compares two ways to compute the same thing, on random weights and images. The two take turns, and the ratio
is that of their medians: machines are noisy, ratios within one run less so.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from transformers import PI0ForConditionalGeneration

from ript.algos.losses.flow_matching import masked_flow_loss
from ript.flow.path import path_sample
from ript.models.pi0.conditioning import POSITIVE, UNCONDITIONAL
from ript.models.pi0.config import (
    GemmaSizes,
    Pi0Architecture,
    VisionSizes,
    public_architecture,
    small_pi0_config,
    small_pi05_config,
)
from ript.models.pi0.guidance import sample_actions
from ript.models.pi0.modeling import Pi0FlowModel, Prefix

STEPS = 10
BRANCHES = (POSITIVE, UNCONDITIONAL)
TEXT = GemmaSizes(512, 8, 4096, heads=8, kv_heads=1, head_dim=64)
EXPERT = GemmaSizes(256, 8, 1024, heads=8, kv_heads=1, head_dim=64)
VISION = VisionSizes(288, 12, 1076, heads=4, patch_size=14, image_size=224)
TINY = {"image_size": 28, "patch_size": 14, "width": 32, "depth": 2, "vision_depth": 1}
ARCHITECTURES: dict[str, Callable[[], Pi0Architecture]] = {
    "tiny": lambda: small_pi0_config(**TINY),
    "tiny_pi05": lambda: small_pi05_config(**TINY),
    "small": small_pi0_config,
    "medium": lambda: Pi0Architecture("pi0", TEXT, EXPERT, VISION, vocab_size=512, chunk_size=50),
    "full": lambda: public_architecture("pi0"),
    "full_pi05": lambda: public_architecture("pi05", chunk_size=10),
}


class Workload:
    """A model with random weights, or one that is given, and one batch of random inputs."""

    def __init__(self, size: str, batch: int, device: str, model: Pi0FlowModel | None = None):
        torch.manual_seed(0)
        with torch.device(device):
            self.model = Pi0FlowModel(ARCHITECTURES[size]()).eval() if model is None else model
            image_size = self.model.architecture.vision.image_size
            self.images = torch.rand(batch, 2, 3, image_size, image_size) * 2 - 1
            self.tokens = torch.randint(3, 500, (batch, 16))
            self.mask = torch.ones(batch, 16, dtype=torch.long)
            self.state = torch.randn(batch, 32)
            self.noise = torch.randn(batch, self.model.architecture.chunk_size, 32)
            self.actions = torch.randn_like(self.noise)
            self.time = torch.rand(batch)
            self.is_pad = torch.zeros(self.noise.shape[:2], dtype=torch.bool)
        self.model.set_precision(torch.bfloat16 if device == "cuda" else torch.float32)

    def prefix(self) -> Prefix:
        """Images and language, encoded."""
        return self.model.prefix(self.images, self.tokens, self.mask)

    @torch.no_grad()
    def sample(self, cfg_scale: float) -> Tensor:
        """What `select_action` computes."""
        return sample_actions(self.model, self.prefix(), self.state, self.noise, STEPS, cfg_scale)

    @torch.no_grad()
    def sample_two_passes(self, cfg_scale: float) -> Tensor:
        """Guidance as two separate policies: a prefix and a denoising pass for each branch."""
        x = self.noise
        prefixes = [self.prefix() for _ in BRANCHES]
        for step in range(STEPS):
            time = torch.full_like(self.time, 1 - step / STEPS)
            positive, unconditional = (
                self.model.velocity(prefix, self.state, x, time, torch.full_like(self.time, branch).long())
                for prefix, branch in zip(prefixes, BRANCHES, strict=True)
            )
            x = x - (unconditional + cfg_scale * (positive - unconditional)) / STEPS
        return x

    @torch.no_grad()
    def sample_recomputing(self) -> Tensor:
        """One branch, the prefix computed again at every step."""
        x = self.noise
        for step in range(STEPS):
            time = torch.full_like(self.time, 1 - step / STEPS)
            x = x - self.model.velocity(self.prefix(), self.state, x, time, torch.ones_like(time).long()) / STEPS
        return x

    def train(self, conditions: tuple[int, ...], shared: bool = True, kept: Prefix | None = None) -> Tensor:
        """Loss and gradients of some branches: one prefix for all, one for each, or one kept from before."""
        self.model.zero_grad()
        x_t, u_t = path_sample(self.actions, self.noise, self.time)
        groups = [conditions] if shared else [(condition,) for condition in conditions]
        losses = []
        for group in groups:
            repeated = (self.prefix() if kept is None else kept).repeat(len(group))
            velocity = self.model.branch_velocities(repeated, self.state, x_t, self.time, group)
            losses.append(masked_flow_loss(velocity, u_t, self.is_pad, 7).sum())
        loss = torch.stack(losses).sum()
        loss.backward()
        return loss.detach()


def stock_sampler(load: Workload) -> Callable[[], Tensor]:
    """The `sample_actions` of transformers on the same weights."""
    model = load.model
    stock = PI0ForConditionalGeneration(model.architecture.to_transformers()).to(model.device).eval()
    ours = {name.replace("embed_action_time.embed.", "embed_action_time."): t for name, t in model.state_dict().items()}
    stock.load_state_dict({name: tensor for name, tensor in ours.items() if not name.startswith("condition.")})
    vision = model.architecture.vision
    image_tokens = 2 * (vision.image_size // vision.patch_size) ** 2
    placeholder = load.tokens.new_full((len(load.tokens), image_tokens), model.architecture.image_token_id)
    ids = torch.cat([placeholder, load.tokens], dim=1)
    present = torch.ones(load.images.shape[:2], dtype=torch.bool, device=load.images.device)

    def sample() -> Tensor:
        with model._backbone_precision():
            return stock.sample_actions(
                load.state, ids, load.images, load.noise, torch.ones_like(ids), present, num_steps=STEPS
            )

    return sample


def compare(what: str, slow: Callable[[], Tensor], fast: Callable[[], Tensor], repeats: int, atol: float) -> None:
    """Prints the ratio of medians, after checking that both compute the same."""
    torch.testing.assert_close(slow(), fast(), atol=atol, rtol=atol)
    ratio(what, slow, fast, repeats)


def ratio(what: str, first: Callable[[], Tensor], second: Callable[[], Tensor], repeats: int) -> None:
    """Prints how much longer the first takes than the second."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for measured, way in zip(seconds, (first, second), strict=True):
            measured.append(seconds_of(way))
    slow, fast = (statistics.median(part) for part in seconds)
    print(f"{what:<72} {1e3 * slow:8.1f} ms / {1e3 * fast:8.1f} ms = {slow / fast:5.2f}", flush=True)


def seconds_of(way: Callable[[], object]) -> float:
    """Wall time of one call, up to when the device is done too."""
    start = time.perf_counter()
    way()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Prints all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sorted(ARCHITECTURES), default="small")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    load = Workload(options.size, options.batch, options.device)
    millions = sum(parameter.numel() for parameter in load.model.parameters()) / 1e6
    print(f"{options.size} π0, {millions:.1f} M parameters, batch {options.batch}, {STEPS} steps, {options.device}")
    atol, repeats = (1e-4 if options.device == "cpu" else 5e-2), options.repeats

    print("\nSampling")
    stock = stock_sampler(load)
    ratio("guided, shared prefix / one branch", lambda: load.sample(2.0), lambda: load.sample(1.0), repeats)
    compare(
        "guided: two separate passes / shared",
        lambda: load.sample_two_passes(2.0),
        lambda: load.sample(2.0),
        repeats,
        atol,
    )
    compare("one branch: prefix at every step / once", load.sample_recomputing, lambda: load.sample(1.0), repeats, atol)
    compare("one branch: transformers' sample_actions / ours", stock, lambda: load.sample(1.0), repeats, atol)

    print("\nTraining, all weights")
    both = partial(load.train, BRANCHES)
    ratio("two branches, shared prefix / one branch", both, lambda: load.train((POSITIVE,)), repeats)
    compare("two branches: a prefix each / shared", lambda: load.train(BRANCHES, shared=False), both, repeats, atol)

    print("\nTraining, expert only")
    load.model.model.vlm.requires_grad_(False)
    with torch.no_grad():
        kept = load.prefix()
    compare("two branches: prefix recomputed / reused", both, lambda: load.train(BRANCHES, kept=kept), repeats, atol)


if __name__ == "__main__":
    main()
