"""From an observation in openpi's format, that of its LIBERO example, to one that the policy takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ript.models.pi0.dims import MAX_ASPECT
from ript.models.pi0.norm_stats import NormStats
from ript.serve.codec import MessageError

IMAGE_KEYS = {"base_0_rgb": "observation/image", "left_wrist_0_rgb": "observation/wrist_image"}
"""π0's camera name → key of a request. The images are upright: the client has turned them."""
STATE_KEY, PROMPT_KEY = "observation/state", "prompt"
MAX_STATE = 1e6
"""Metres and radians; far outside any robot, and safe in float32 after normalisation."""

MAX_PROMPT = 4096
"""Characters; the policy's own limit is in tokens, and lower."""


@dataclass(frozen=True)
class Request:
    """A checked observation."""

    image: dict[str, np.ndarray]
    """π0's camera name → (H, W, 3) uint8."""
    state: np.ndarray
    """(S,) float64, raw; of LIBERO's robot position (m), axis-angle (rad), finger positions (m)."""
    prompt: str

    def to_pi0(self, norm_stats: NormStats) -> dict[str, Any]:
        """What the simulator's adapter makes of the same observation."""
        return {"image": self.image, "state": norm_stats.state.normalize(self.state), "prompt": self.prompt}


@dataclass(frozen=True)
class RequestReader:
    """What the requests to one policy must hold."""

    cameras: Sequence[str]
    """π0's names of the cameras that it looks through."""
    state_dim: int
    """S."""

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys of a request."""
        return (*(IMAGE_KEYS[camera] for camera in self.cameras), STATE_KEY, PROMPT_KEY)

    def read(self, message: Mapping[str, Any], default_prompt: str | None) -> Request:
        """Checks a message; `default_prompt` stands in for an absent prompt.

        Raises MessageError naming the key and what is wrong with it.
        """
        unknown = sorted(set(message) - set(self.keys))
        if unknown:
            raise MessageError(f"unknown key {unknown[0]!r:.80}; valid: {', '.join(self.keys)}")
        image = {camera: _image(message, IMAGE_KEYS[camera]) for camera in self.cameras}
        return Request(image, _state(message, self.state_dim), _prompt(message, default_prompt))


def _image(message: Mapping[str, Any], key: str) -> np.ndarray:
    """(H, W, 3) uint8, from that, from floats in [0, 1], or from either as (3, H, W): what LeRobot's data sets hold."""
    image = _array(message, key)
    shape, dtype = image.shape, image.dtype
    if dtype.kind == "f":
        if not ((image >= 0) & (image <= 1)).all():
            raise MessageError(f"{key}: floats of an image must lie in [0, 1], got some outside or NaN")
        image = (255 * image).astype(np.uint8)
    if image.ndim == 3 and shape[0] == 3:
        image = image.transpose(1, 2, 0)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise MessageError(f"{key} must be uint8 or floats of shape (H, W, 3) or (3, H, W), got {dtype} {shape}")
    height, width = image.shape[:2]
    if not 0 < max(height, width) <= MAX_ASPECT * min(height, width):
        raise MessageError(f"{key}: no side may be 0 or over {MAX_ASPECT} times the other, got {shape}")
    return np.array(image, order="C")  # torch wants memory that it could write to


def _state(message: Mapping[str, Any], width: int) -> np.ndarray:
    value = message.get(STATE_KEY)
    if isinstance(value, list) and all(type(number) in (int, float) for number in value):
        message = {**message, STATE_KEY: np.array([float(number) for number in value])}
    elif isinstance(value, list):
        raise MessageError(f"{STATE_KEY} must be numbers, got {value!r:.80}")
    state = _array(message, STATE_KEY)
    if state.dtype.kind not in "fiu" or state.shape != (width,):
        raise MessageError(f"{STATE_KEY} must be numbers of shape ({width},), got {state.dtype} {state.shape}")
    state = state.astype(np.float64)
    if not (np.abs(state) <= MAX_STATE).all():
        raise MessageError(f"{STATE_KEY} holds NaN, Inf or a number beyond {MAX_STATE:g}: {state.tolist()}")
    return state


def _prompt(message: Mapping[str, Any], default: str | None) -> str:
    prompt = message.get(PROMPT_KEY, default)
    if prompt is None:
        raise MessageError(f"key {PROMPT_KEY!r} is missing, and the server has no --default-prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise MessageError(f"{PROMPT_KEY} must be a string that is not empty, got {prompt!r:.80}")
    if len(prompt) > MAX_PROMPT:
        raise MessageError(f"{PROMPT_KEY} has {len(prompt)} characters, at most {MAX_PROMPT} are allowed")
    return prompt


def _array(message: Mapping[str, Any], key: str) -> np.ndarray:
    if key not in message:
        raise MessageError(f"key {key!r} is missing; the message has {sorted(message)}")
    value = message[key]
    if not isinstance(value, np.ndarray):
        raise MessageError(f"{key} must be a NumPy array, got {type(value).__name__}")
    return value
