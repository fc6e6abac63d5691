"""The file of weights that are one iteration old, in a checkpoint of a run with staleness."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ript.cluster.weights import Weights

FILE = "acting.safetensors"


def write_stale_weights(path: Path, weights: Weights, iteration: int) -> None:
    """Writes the weights that play in this iteration."""
    arrays = {f"{group}/{i}": array for group, arrays in weights.items() for i, array in enumerate(arrays)}
    save_file(arrays, path, {"iteration": str(iteration)})


def read_stale_weights(path: Path) -> tuple[Weights, int]:
    """The weights and their iteration. Raises ValueError naming a damaged file."""
    try:
        with safe_open(path, framework="numpy") as file:
            iteration = int(file.metadata()["iteration"])
            names = [name.rsplit("/", 1) for name in file.keys()]  # noqa: SIM118 (it is no mapping)
            groups = {group: sum(name == group for name, _ in names) for group, _ in names}
            return {g: [file.get_tensor(f"{g}/{i}") for i in range(n)] for g, n in groups.items()}, iteration
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: damaged weights ({error})") from error
