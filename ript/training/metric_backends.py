"""Where metrics go besides the JSONL file: tensorboard, Weights & Biases, SwanLab."""

import importlib.util
import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from ript.checks import one_of

logger = logging.getLogger(__name__)

Mode = Literal["offline", "online"]
MODES: tuple[Mode, ...] = get_args(Mode)
REPLACED = {
    "tensorboard": "logging.backends=[tensorboard], or [] for none",
    "wandb": "logging.backends=[tensorboard,wandb], with logging.mode=offline or online, and logging.project",
}
"""Keys of `logging` of earlier versions → what says the same now."""


class Backend(Protocol):
    """A writer of metrics."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of one iteration, by their names with the phase in front."""

    def close(self) -> None:
        """Writes what is left."""


class Tensorboard:
    """Event files in `tensorboard/` of the run's folder."""

    def __init__(self, run_dir: Path, config: Mapping[str, Any], mode: Mode, project: str):
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run_dir / "tensorboard"))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """See `Backend`."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """See `Backend`."""
        self._writer.close()


class Wandb:
    """A run of Weights & Biases; offline it is in `wandb/`, for `wandb sync`."""

    def __init__(self, run_dir: Path, config: Mapping[str, Any], mode: Mode, project: str):
        import wandb

        self._run = wandb.init(project=project, name=run_dir.name, mode=mode, dir=str(run_dir), config=dict(config))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """See `Backend`."""
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """See `Backend`."""
        self._run.finish()


class Swanlab:
    """A run of SwanLab; offline it is in `swanlab/`, for `swanlab sync`."""

    def __init__(self, run_dir: Path, config: Mapping[str, Any], mode: Mode, project: str):
        import swanlab

        ours = signal.getsignal(signal.SIGINT)
        folder = run_dir / "swanlab"
        self._run = swanlab.init(
            project=project, name=run_dir.name, mode=mode, log_dir=str(folder), config=dict(config)
        )
        signal.signal(signal.SIGINT, ours)  # it puts one of its own, and Ctrl-C is the training's

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """See `Backend`."""
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """See `Backend`."""
        self._run.finish()


BACKENDS: Mapping[str, Callable[..., Backend]] = {"tensorboard": Tensorboard, "wandb": Wandb, "swanlab": Swanlab}
"""Its name, which is that of its package → what writes there."""


class MetricBackends:
    """The writers of a run. One that fails is told once, with its traceback, and left out from then on."""

    def __init__(self, run_dir: Path, config: Mapping[str, Any]):
        """Opens what `config["logging"]` asks for. Raises ValueError for one that cannot be opened."""
        settings = config["logging"]
        self._open: dict[str, Backend] = {}
        for name in dict.fromkeys(settings["backends"]):
            try:
                self._open[name] = BACKENDS[name](run_dir, config, settings["mode"], settings["project"])
            except Exception as error:  # each package has errors of its own
                self.close()
                reason = next(iter(str(error).splitlines()), "") or type(error).__name__
                raise ValueError(f"logging.backends: {name} cannot be opened: {reason}") from error

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Gives the metrics of iteration `step` to each."""
        for name, backend in list(self._open.items()):
            try:
                backend.log(step, metrics)
            except Exception:
                logger.exception("%s failed at step %d and is left out from now on; metrics.jsonl goes on", name, step)
                del self._open[name]

    def close(self) -> None:
        """Ends the writers."""
        for name, backend in self._open.items():
            try:
                backend.close()
            except Exception:
                logger.exception("%s could not be ended; metrics.jsonl has everything", name)
        self._open = {}


def check_backends(settings: Mapping[str, Any]) -> None:
    """Raises ValueError for a key of an earlier version, an unknown name, or a package that is not installed."""
    for key, now in REPLACED.items():
        if key in settings:
            raise ValueError(f"logging.{key} is not a key any more; write {now}")
    names = settings["backends"]
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ValueError(f"logging.backends={names!r} is not valid: must be a list of {', '.join(BACKENDS)}")
    one_of("logging.mode", settings["mode"], MODES)
    for name in names:
        one_of("logging.backends", name, tuple(BACKENDS))
        if importlib.util.find_spec(name) is None:
            raise ValueError(
                f"logging.backends: {name} is not installed; python -m pip install -c scripts/constraints.txt "
                f"-e '.[{name}]'"
            )
