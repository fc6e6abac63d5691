"""The program's borders: for each, where damaged inputs come from, who reads them, and how it may refuse them."""

import contextlib
import json
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import msgpack
import numpy as np
import torch
from fuzz.damage import damaged_bytes, damaged_value
from golden_folders import golden_architecture, write_foreign_folder
from safetensors.torch import save_file
from samples import episode

from ript.demonstrations.reader import Demonstrations
from ript.distributed import fill_in_environment
from ript.env_vars import read_env_settings
from ript.json_files import read_json
from ript.models.pi0.checkpoint import read_architecture
from ript.models.pi0.lora import LoraSettings
from ript.models.pi0.norm_stats import MODES, NormStats
from ript.models.pi0.policy_card import BaseWeights, PolicyCard, read_policy_card
from ript.models.pi0.stats_source import find_stats
from ript.models.pi0.usage import find_card
from ript.models.pi0.weights_file import WeightsFile
from ript.serve.codec import MessageError, decode, encode
from ript.serve.observation import IMAGE_KEYS, PROMPT_KEY, STATE_KEY, RequestReader
from ript.simulators.egl import order_of_trial
from ript.storage.episode_files import read_episode, write_episode
from ript.storage.window_files import read_windows, write_windows
from ript.storage.windows import Window
from ript.training.checkpoint import VERSION, load_state

READER = RequestReader(tuple(IMAGE_KEYS), state_dim=8)


@dataclass(frozen=True)
class Border:
    """One reader of what comes from outside."""

    prepare: Callable[[Path], Callable[[random.Random], Any]]
    """Folder → what reads one damaged input."""
    refuses: tuple[type[Exception], ...] = (ValueError, FileNotFoundError)
    """Its own errors: one line for the user. Any other is a fault of the program."""
    rounds: int = 100_000
    """Inputs of the slow test."""


def _message() -> dict[str, Any]:
    images = {key: np.zeros((4, 4, 3), np.uint8) for key in IMAGE_KEYS.values()}
    return {**images, STATE_KEY: np.zeros(8), PROMPT_KEY: "put the bowl on the plate"}


def message_bytes(folder: Path) -> Callable[[random.Random], Any]:
    """The server's decoder."""
    whole = encode(_message())
    return lambda rng: decode(damaged_bytes(whole, rng))


_MESSAGE_JUNK: list[Any] = [
    *(None, True, 0, -1, 2**64 - 1, -(2**63), float("nan"), "", "x", "\ud800", b"", b"\0" * 9, [], {}, [1.0] * 8),
    *([0] * 70, "<f8", "|O", "O", "<U9", [2**62, 2], [0], [-1], [3, 4, 4], msgpack.ExtType(5, b"x"), 1e308, "p" * 5000),
]


def message_values(folder: Path) -> Callable[[random.Random], Any]:
    """The decoder and the observation's parser, on messages that are msgpack and nonsense."""
    whole = msgpack.unpackb(encode(_message()))
    arrays = [
        np.zeros(s, t) for s in ((8,), (4, 4, 3), (3, 4, 4), (4, 90, 3), (1,)) for t in ("f4", "i8", "u1", "?", ">f2")
    ]

    def read(rng: random.Random) -> None:
        message = damaged_value(whole, rng, _MESSAGE_JUNK)
        if isinstance(message, dict) and rng.random() < 0.3:
            message[rng.choice([*whole])] = msgpack.unpackb(encode({"a": rng.choice(arrays)}))["a"]
        with contextlib.suppress(UnicodeEncodeError, OverflowError):  # what no client can send
            READER.read(decode(msgpack.packb(message, unicode_errors="surrogatepass")), "do it")

    return read


def demonstrations(folder: Path) -> Callable[[random.Random], Any]:
    """The HDF5 reader: damaged bytes, mostly in the structures, and damaged content."""
    path = folder / "task_demo.hdf5"
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_group("data")
        data.attrs["problem_info"] = json.dumps({"language_instruction": "do it"})
        for name, width in (("actions", 7), ("states", 5), ("obs/ee_states", 6), ("obs/gripper_states", 2)):
            data[f"demo_0/{name}"] = np.zeros((3, width))
        for camera in ("agentview_rgb", "eye_in_hand_rgb"):
            data[f"demo_0/obs/{camera}"] = np.zeros((3, 4, 4, 3), np.uint8)
    whole = path.read_bytes()

    def read(rng: random.Random) -> None:
        path.write_bytes(damaged_bytes(whole, rng))
        found = Demonstrations(path)
        for number, demonstration in enumerate(found):
            for step in demonstration.image_steps:
                found.images(number, int(step))
        found.close()

    return read


def weights(folder: Path) -> Callable[[random.Random], Any]:
    """The reader of safetensors."""
    path = folder / "model.safetensors"
    save_file({"a": torch.zeros(3), "module.b": torch.zeros(2, 2)}, path, {"format": "pt"})
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")

    def read(rng: random.Random) -> None:
        path.write_bytes(damaged_bytes(whole, rng, header))
        file = WeightsFile.open(path)
        for name in file.shapes:
            file.read(name)

    return read


def windows(folder: Path) -> Callable[[random.Random], Any]:
    """The reader of replayed windows."""
    path = folder / "replay_0.safetensors"
    seen = {"image": {"base_0_rgb": np.zeros((2, 2, 3), np.uint8)}, "state": np.zeros(8, np.float32), "prompt": "do it"}
    window = Window(seen, np.zeros((3, 7), np.float32), np.zeros(3, bool), 1.0, 0, 0)
    write_windows(path, [window, window], np.ones(2), [2])
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")

    def read(rng: random.Random) -> None:
        path.write_bytes(damaged_bytes(whole, rng, header))
        read_windows(path)

    return read


def episodes(folder: Path) -> Callable[[random.Random], Any]:
    """The reader of saved episodes, images included."""
    path = folder / "episode.safetensors"
    stats = NormStats.from_content(path, {"norm_stats": _STATISTICS}, "z_score")
    write_episode(path, episode(4, horizon=3), "planar", "reach_the_top", stats)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")

    def read(rng: random.Random) -> None:
        path.write_bytes(damaged_bytes(whole, rng, header))
        list(read_episode(path).episode.observations.values())  # each reads its images

    return read


def training_state(folder: Path) -> Callable[[random.Random], Any]:
    """The reader of `training.pt`."""
    path = folder / "training.pt"
    torch.save({"version": VERSION, "step": 3, "learner": {"a": torch.zeros(3), "b": [1.5, None]}}, path)
    whole = path.read_bytes()

    def read(rng: random.Random) -> None:
        path.write_bytes(damaged_bytes(whole, rng))
        load_state(folder)

    return read


_LEROBOT = {
    "type": "pi0",
    "chunk_size": 10,
    "n_action_steps": 4,
    "max_action_dim": 32,
    "max_state_dim": 32,
    "normalization_mapping": {"STATE": "MEAN_STD", "ACTION": "QUANTILES"},
    "use_relative_actions": True,
    "relative_exclude_joints": ["gripper"],
    "action_feature_names": [*"abcdef", "gripper"],
    "paligemma_variant": "gemma_2b",
    "action_expert_variant": "gemma_300m",
}
_CARD = asdict(PolicyCard("concat", lora=LoraSettings("both"), base=BaseWeights("a", "b"), sha256={"a": "b"}))
_VECTORS = ("mean", "std", "q01", "q99", "min", "max")
_STATISTICS = {group: {key: [0.5] * n for key in _VECTORS} for group, n in (("state", 8), ("actions", 7))}
_PROCESSOR = {"steps": [{"registry_name": "normalizer_processor", "state_file": "state.safetensors"}]}
_INDEX = {"metadata": {}, "weight_map": {"a": "state.safetensors"}}


def json_border(name: str, content: Any, read_it: Callable[[Path], Any], lerobot: bool = False) -> Border:
    """A reader of a JSON file of a policy folder: values and bytes damaged by turns."""

    def prepare(folder: Path) -> Callable[[random.Random], Any]:
        if lerobot:
            write_foreign_folder(folder, "pi0", "lerobot")
        save_file({"observation.state.mean": torch.zeros(8)}, folder / "state.safetensors")
        whole = json.dumps(content).encode()

        def read(rng: random.Random) -> None:
            by_value = rng.random() < 0.7
            text = json.dumps(damaged_value(content, rng)).encode() if by_value else damaged_bytes(whole, rng)
            (folder / name).write_bytes(text)
            read_it(folder)

        return read

    return Border(prepare)


def _read_stats(folder: Path) -> None:
    found = find_stats(folder)
    for mode in MODES:
        with contextlib.suppress(ValueError):
            NormStats.from_content(found.path, found.content, mode)


def _read_sizes(folder: Path) -> None:
    read_architecture(folder, {"time_mlp_in.weight": (1,)})


_VALUES = [
    "",
    "0",
    "1",
    "-1",
    "2",
    "1e400",
    "nan",
    "inf",
    "obs",
    "render",
    "x",
    "0x10",
    "٣",
    " 1",
    "1_0",
    "9" * 5000,
    "\n",
]


def environment(folder: Path) -> Callable[[random.Random], Any]:
    """The readers of environment variables."""
    ours = ["VERBOSE", "DISABLE_INIT_STATES", "N_VIDEO", "VIDEO_DIR", "RENDER_SOURCE", "ENABLE_DUAL", "CFG_SCALE"]
    ranks = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"]
    names = [*(f"PI0_{name}" for name in (*ours, "IS_POSITIVE")), *ranks, "CUDA_VISIBLE_DEVICES"]

    def value(rng: random.Random) -> str:
        if rng.random() < 0.7:
            return rng.choice(_VALUES)
        return ",".join(chr(rng.randrange(1, 0x3000)) for _ in range(rng.randrange(1, 4)))

    def read(rng: random.Random) -> None:
        environ = {name: value(rng) for name in rng.sample(names, rng.randint(1, 6))}
        for reader in (read_env_settings, fill_in_environment, lambda e: order_of_trial([False, True], e)):
            with contextlib.suppress(ValueError):
                reader(dict(environ))

    return read


BORDERS = {
    "server: bytes of a message": Border(message_bytes, (MessageError,)),
    "server: values of a message": Border(message_values, (MessageError,)),
    "HDF5 demonstrations": Border(demonstrations, rounds=3000),  # libhdf5 itself hangs in input 3741
    "safetensors": Border(weights),
    "replayed windows": Border(windows),
    "saved episodes": Border(episodes),
    "training.pt": Border(training_state),
    "policy.json": json_border("policy.json", _CARD, read_policy_card),
    "LeRobot's config.json": json_border("config.json", _LEROBOT, lambda f: find_card(f, "concat"), lerobot=True),
    "LeRobot's config.json, sizes": json_border("config.json", _LEROBOT, _read_sizes),
    "network.json": json_border("network.json", asdict(golden_architecture("pi0")), _read_sizes),
    "norm_stats.json": json_border("norm_stats.json", {"norm_stats": _STATISTICS}, _read_stats),
    "policy_preprocessor.json": json_border("policy_preprocessor.json", _PROCESSOR, _read_stats),
    "index of sharded weights": json_border("model.safetensors.index.json", _INDEX, WeightsFile.open_folder),
    "any JSON": json_border("any.json", _CARD, lambda f: read_json(f / "any.json")),
    "environment variables": Border(environment),
}
