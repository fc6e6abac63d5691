"""What sharding saves in memory and costs in time: π0 on the ranks of torchrun, all weights trained.

    torchrun --nproc_per_node=2 benchmarks/sharding.py                        # the small π0
    torchrun --nproc_per_node=2 benchmarks/sharding.py --size medium --batch 2

Each rank updates on random windows and acts, with replicated weights and then with sharded ones. Memory is torch's own
record of what the CPU's allocator gave and took back, from the first weight on; the estimate is what
`python -m ript.estimate` says of the same. On CUDA it is the allocator's peak.
"""

import argparse
import json
import logging
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from model import ARCHITECTURES
from torch import Tensor
from torch.optim import AdamW
from torch.profiler import ProfilerActivity, profile

from ript.device import choose_device
from ript.distributed import Distributed
from ript.estimate.memory import Options, estimate
from ript.models.pi0.guidance import sample_actions
from ript.models.pi0.modeling import Pi0FlowModel
from ript.sharding import Sharding

MIB = 2**20
CAMERAS, PROMPT = 2, 48


class Job:
    """One way to hold the weights, and what is done with them."""

    def __init__(self, size: str, batch: int, is_sharded: bool, distributed: Distributed):
        torch.manual_seed(0)
        device = distributed.device
        with device:
            self.model = Pi0FlowModel(ARCHITECTURES[size]()).eval()
            side = self.model.architecture.vision.image_size
            self.images = torch.rand(batch, CAMERAS, 3, side, side) * 2 - 1
            self.tokens = torch.randint(3, 500, (batch, PROMPT))
            self.mask = torch.ones(batch, PROMPT, dtype=torch.long)
            self.state, self.noise = torch.randn(batch, 32), torch.randn(batch, self.model.architecture.chunk_size, 32)
            self.time, self.condition = torch.rand(batch), torch.ones(batch, dtype=torch.long)
        self.distributed = distributed
        self.sharding = Sharding(distributed) if is_sharded else None
        if self.sharding is not None:
            self.sharding.share_out(self.model, self.model.sharding_units(), ("prefix", "flow"))
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = AdamW(self.parameters, lr=1e-5)

    def update(self) -> None:
        """Two micro-batches and a step."""
        self.optimizer.zero_grad()
        for _ in range(2):
            prefix = self.model.prefix(self.images, self.tokens, self.mask)
            velocity = self.model.velocity(prefix, self.state, self.noise, self.time, self.condition)
            velocity.square().mean().backward()
        self.distributed.sum_gradients(self.parameters)
        self.optimizer.step()

    @torch.no_grad()
    def act(self, chunks: int = 8) -> Tensor:
        """So many chunks in turn, with the weights as they are."""
        with nullcontext() if self.sharding is None else self.sharding.gathered():
            for _ in range(chunks):
                prefix = self.model.prefix(self.images, self.tokens, self.mask)
                actions = sample_actions(self.model, prefix, self.state, self.noise, num_steps=4)
        return actions


def seconds(call: Callable[[], Any], repeats: int, distributed: Distributed) -> float:
    """Median over calls that all ranks begin together."""
    found = []
    for _ in range(repeats + 1):
        distributed.barrier()
        start = time.perf_counter()
        call()
        distributed.barrier()
        found.append(time.perf_counter() - start)
    return statistics.median(found[1:])


def peak_bytes(work: Callable[[], Any], device: torch.device) -> int:
    """The most that tensors took at one time."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        work()
    assert record.profiler is not None and record.profiler.kineto_results is not None
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def measure(size: str, batch: int, repeats: int, is_sharded: bool, distributed: Distributed) -> dict[str, float]:
    """MiB and seconds of one way, on this rank."""
    jobs = []

    def begin() -> None:
        jobs.append(Job(size, batch, is_sharded, distributed))
        jobs[0].update()
        jobs[0].update()
        jobs[0].act(1)

    peak = peak_bytes(begin, distributed.device)
    share = distributed.world_size if is_sharded else 1
    options = Options(batch_size=batch, branches=1, prompt_tokens=PROMPT, share=share)
    (job,) = jobs
    return {
        "peak_mib": peak / MIB,
        "estimate_mib": estimate(job.model.architecture, "full", options).peak / MIB,
        "update_s": seconds(job.update, repeats, distributed),
        "act_s": seconds(job.act, repeats, distributed),
    }


def main() -> None:
    """Prints one line of JSON per way, of rank 0, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=ARCHITECTURES, default="small")
    parser.add_argument("--batch", type=int, default=8, help="windows per forward pass (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options = parser.parse_args()
    logging.getLogger("torch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    distributed = Distributed.start(choose_device(options.device))
    found = {}
    for way in ("replicate", "fsdp2"):
        found[way] = measure(options.size, options.batch, options.repeats, way == "fsdp2", distributed)
        if distributed.is_main:
            print(json.dumps({"sharding": way, **{key: round(value, 3) for key, value in found[way].items()}}))
    if distributed.is_main:
        ratios = {key: round(found["fsdp2"][key] / found["replicate"][key], 2) for key in found["fsdp2"]}
        print(json.dumps({"fsdp2 / replicate": ratios}))
    distributed.stop()


if __name__ == "__main__":
    main()
