"""Which observations are taken."""

from typing import Any

import numpy as np
import pytest

from ript.serve.codec import MessageError
from ript.serve.observation import read_request

IMAGE, WRIST, STATE = "observation/image", "observation/wrist_image", "observation/state"


def with_nan(value: float) -> np.ndarray:
    return np.array([0, 0, 0, 0, 0, value, 0, 0])


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (IMAGE, np.zeros((40, 40, 3), np.float32), "must be uint8 .* got float32"),
        (IMAGE, np.zeros((3, 40, 40), np.uint8), r"\(H, W, 3\), got uint8 \(3, 40, 40\)"),
        (IMAGE, np.zeros((1, 40, 40, 3), np.uint8), r"\(H, W, 3\)"),
        (WRIST, np.zeros((2, 40, 3), np.uint8), "8 times"),
        (WRIST, np.zeros((0, 40, 3), np.uint8), "0"),
        (WRIST, [[1]], "NumPy array, got list"),
        (STATE, np.zeros(7), r"shape \(8,\), got float64 \(7,\)"),
        (STATE, np.zeros((1, 8)), r"\(8,\)"),
        (STATE, np.zeros(8, np.int64), "floats"),
        (STATE, with_nan(np.nan), "NaN"),
        (STATE, with_nan(-np.inf), "Inf"),
        (STATE, with_nan(1e300), "beyond"),
        (STATE, "text", "NumPy array, got str"),
        ("prompt", " ", "not empty"),
        ("prompt", 3, "string"),
        ("prompt", None, "string|missing"),
        ("prompt", "a" * 5000, "5000 characters"),
    ],
)
def test_a_wrong_value_is_refused_and_its_key_named(message: dict[str, Any], key: str, value: Any, reason: str) -> None:
    with pytest.raises(MessageError, match=f"{key}.*({reason})"):
        read_request({**message, key: value}, default_prompt=None)


@pytest.mark.parametrize("key", [IMAGE, WRIST, STATE, "prompt"])
def test_a_missing_key_is_named(message: dict[str, Any], key: str) -> None:
    del message[key]
    with pytest.raises(MessageError, match=f"key '{key}' is missing"):
        read_request(message, default_prompt=None)


def test_a_misspelt_prompt_is_not_replaced_by_the_default(message: dict[str, Any]) -> None:
    message["promt"] = message.pop("prompt")
    with pytest.raises(MessageError, match="unknown key 'promt'"):
        read_request(message, default_prompt="reach")


def test_the_default_prompt_stands_in_for_an_absent_one_only(message: dict[str, Any]) -> None:
    assert read_request(message, "other").prompt == message["prompt"]
    del message["prompt"]
    assert read_request(message, "other").prompt == "other"
