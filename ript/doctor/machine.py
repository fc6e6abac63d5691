"""Cores, memory, GPUs and disks of this machine."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

from ript.doctor.finding import Finding, amount, note, ok, problem
from ript.doctor.options import Options

GIB = 2**30
SHM = Path("/dev/shm")
NCCL_SHM = GIB
"""What NCCL's documentation asks for in a container."""
LEAST_DISK = GIB
_DRIVER = Path("/proc/driver/nvidia/version")
_CGROUP = Path("/sys/fs/cgroup")


def check(options: Options) -> Iterator[Finding]:
    """CPU, memory, GPUs, shared memory, and the folder of runs."""
    yield check_cpu()
    yield check_memory()
    yield from check_gpus()
    yield check_shared_memory(SHM, torch.cuda.device_count())
    yield check_folder(options.runs)


def check_cpu() -> Finding:
    """Cores that this process may use, by affinity and by a container's quota, and torch's threads."""
    cores, threads = len(os.sched_getaffinity(0)), torch.get_num_threads()
    quota = cpu_quota(_CGROUP / "cpu.max")
    text = f"{cores} cores; torch takes {threads} threads where nothing is set, a run takes num_threads (1)"
    if quota is not None and quota < cores:
        remedy = "simulators per rank (algo.num_parallel_envs) and ranks together need no more than the quota"
        return note("CPU", f"{text}; the container may use {quota:.1f} cores of them", remedy, cores=cores, quota=quota)
    return ok("CPU", text, cores=cores, torch_threads=threads)


def cpu_quota(path: Path) -> float | None:
    """Cores that a control group (v2) may use; None is no limit."""
    if not path.is_file():
        return None
    quota, period = path.read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def memory_limit(path: Path) -> int | None:
    """Bytes that a control group (v2) may use; None is no limit."""
    if not path.is_file():
        return None
    limit = path.read_text().strip()
    return None if limit == "max" else int(limit)


def check_memory() -> Finding:
    """Free memory; what a simulator takes of it is measured with the simulators."""
    memory = psutil.virtual_memory()
    limit = memory_limit(_CGROUP / "memory.max")
    text = f"{amount(memory.available)} free of {amount(memory.total)}"
    data = {"available_bytes": memory.available, "total_bytes": memory.total}
    if limit is not None and limit < memory.total:
        text = f"{text}; the container may use {amount(limit)}"
        data["limit_bytes"] = limit
    return ok("memory", text, **data)


def check_gpus() -> Iterator[Finding]:
    """The GPUs that torch can use; a driver that it cannot is a note, since the run would be on the CPU."""
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            yield check_gpu(index)
    elif not _DRIVER.is_file():
        yield ok("GPU", "none: runs are on the CPU", gpus=0)
    elif torch.version.cuda is None:
        remedy = "without PIP_EXTRA_INDEX_URL naming an index of CPU builds: rm -rf .venv && bash scripts/setup.sh"
        yield note("GPU", f"there is an NVIDIA driver, but torch {torch.__version__} is a build for CPUs", remedy)
    else:
        remedy = "a driver for this CUDA or newer; in a container: docker run --gpus all; and CUDA_VISIBLE_DEVICES"
        yield note("GPU", f"there is an NVIDIA driver, but torch (CUDA {torch.version.cuda}) finds no GPU", remedy)


def check_gpu(index: int) -> Finding:
    """One GPU: its memory, and whether bfloat16 is fast on it."""
    subject = f"GPU {index}"
    try:
        free, total = torch.cuda.mem_get_info(index)
    except RuntimeError as error:
        text = f"{torch.cuda.get_device_name(index)}: {str(error).splitlines()[0]}"
        return problem(subject, text, "end what runs on it (nvidia-smi lists it), or CUDA_VISIBLE_DEVICES without it")
    text = f"{torch.cuda.get_device_name(index)}, {amount(free)} free of {amount(total)}"
    data = {"free_bytes": free, "total_bytes": total}
    if torch.cuda.get_device_capability(index)[0] < 8:
        return note(subject, f"{text}; no bfloat16 in hardware", "algo.dtype=float32", **data)
    return ok(subject, text, **data)


def check_shared_memory(path: Path, gpus: int) -> Finding:
    """Simulators talk through pipes and need none of it; NCCL does, between the GPUs of a machine."""
    if not path.is_dir():
        return note(str(path), "is missing", "mount -t tmpfs tmpfs /dev/shm")
    size = shutil.disk_usage(path)
    text = f"{amount(size.free)} free; simulators need none of it"
    if gpus > 1 and size.free < NCCL_SHM:
        text = f"{amount(size.free)} free; NCCL between {gpus} GPUs may fail with less than 1 GiB"
        return note(str(path), text, "docker run --shm-size=1g", free_bytes=size.free)
    return ok(str(path), text, free_bytes=size.free)


def check_folder(folder: Path) -> Finding:
    """Whether runs can be written there; how much a checkpoint takes is said with the policy."""
    folder = folder.expanduser()
    present = existing(folder)
    if not present.is_dir():
        return problem(str(folder), f"{present} is not a folder", "paths.output_dir=FOLDER")
    if not os.access(present, os.W_OK | os.X_OK):
        return problem(str(folder), f"{present} is not writable", "paths.output_dir=FOLDER, or chmod u+w")
    free = shutil.disk_usage(present).free
    text = f"{amount(free)} free on the disk of runs"
    if free < LEAST_DISK:
        return problem(str(folder), text, "paths.output_dir=FOLDER on another disk", free_bytes=free)
    return ok(str(folder), text, free_bytes=free)


def existing(folder: Path) -> Path:
    """The folder, or the nearest of its parents that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
