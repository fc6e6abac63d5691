"""The files of a policy folder, and the folder that a user's path means."""

from pathlib import Path

WEIGHTS, CONFIG, NETWORK, CONDITION = "model.safetensors", "config.json", "network.json", "condition.safetensors"
LATENT_ACTOR = "latent_actor.safetensors"
"""Decides the initial noise of whoever loads the folder with this project."""
ADAPTER_WEIGHTS = "adapter_model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
"""Names the files of weights that are split over several."""
POLICY = "policy.json"
_INSIDE = ("policy", "pretrained_model")
"""Where a training checkpoint of ours, and one of LeRobot, keeps its policy."""
_ORBAX = ("_CHECKPOINT_METADATA", "_METADATA", "params/_METADATA", "params/_CHECKPOINT_METADATA")


def holds_weights(folder: Path) -> bool:
    """The folder has weights or an adapter."""
    return any((folder / name).is_file() for name in (WEIGHTS, INDEX, ADAPTER_WEIGHTS))


def find_policy_folder(path: str | Path, name: str = "pretrained_path") -> Path:
    """The policy folder at `path`, or inside the training checkpoint that is there.

    `name` is the setting that the user wrote. Raises FileNotFoundError for no folder and for one without weights,
    with what to do.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"{name} is not a folder: {folder}")
    for candidate in (folder, *(folder / inside for inside in _INSIDE)):
        if holds_weights(candidate):
            return candidate
    if any((folder / mark).exists() for mark in _ORBAX):
        raise FileNotFoundError(
            f"{folder} is a JAX (Orbax) checkpoint; make PyTorch weights of it with openpi: uv run "
            f"examples/convert_jax_model_to_pytorch.py --checkpoint_dir {folder} --config_name NAME --output_path OUT"
        )
    raise FileNotFoundError(f"weights not found: neither {folder / WEIGHTS} nor {folder / INDEX}")
