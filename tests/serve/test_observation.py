"""Which observations are taken."""

from typing import Any

import numpy as np
import pytest

from ript.models.pi0.preprocess import CAMERAS
from ript.serve.codec import MessageError
from ript.serve.observation import RequestReader

READER = RequestReader(CAMERAS, state_dim=8)
IMAGE, WRIST, STATE = "observation/image", "observation/wrist_image", "observation/state"


def with_nan(value: float) -> np.ndarray:
    return np.array([0, 0, 0, 0, 0, value, 0, 0])


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (IMAGE, np.full((40, 40, 3), 255.0, np.float32), r"floats of an image must lie in \[0, 1\]"),
        (IMAGE, np.full((40, 40, 3), np.nan), r"floats of an image must lie in \[0, 1\]"),
        (IMAGE, np.zeros((40, 40, 3), np.int64), "must be uint8 or floats .* got int64"),
        (IMAGE, np.zeros((4, 40, 40), np.uint8), r"\(H, W, 3\) or \(3, H, W\), got uint8 \(4, 40, 40\)"),
        (IMAGE, np.zeros((1, 40, 40, 3), np.uint8), r"\(H, W, 3\)"),
        (WRIST, np.zeros((2, 40, 3), np.uint8), "8 times"),
        (WRIST, np.zeros((0, 40, 3), np.uint8), "0"),
        (WRIST, [[1]], "NumPy array, got list"),
        (STATE, np.zeros(7), r"shape \(8,\), got float64 \(7,\)"),
        (STATE, np.zeros((1, 8)), r"\(8,\)"),
        (STATE, np.zeros(8, bool), "numbers"),
        (STATE, [0.0, "x"] * 4, "numbers"),
        (STATE, [0.0] * 7, r"shape \(8,\)"),
        (STATE, with_nan(np.nan), "NaN"),
        (STATE, with_nan(-np.inf), "Inf"),
        (STATE, with_nan(1e300), "beyond"),
        (STATE, "text", "got str"),
        ("prompt", " ", "not empty"),
        ("prompt", 3, "string"),
        ("prompt", None, "string|missing"),
        ("prompt", "a" * 5000, "5000 characters"),
    ],
)
def test_a_wrong_value_is_refused_and_its_key_named(message: dict[str, Any], key: str, value: Any, reason: str) -> None:
    with pytest.raises(MessageError, match=f"{key}.*({reason})"):
        READER.read({**message, key: value}, default_prompt=None)


@pytest.mark.parametrize("key", [IMAGE, WRIST, STATE, "prompt"])
def test_a_missing_key_is_named(message: dict[str, Any], key: str) -> None:
    del message[key]
    with pytest.raises(MessageError, match=f"key '{key}' is missing"):
        READER.read(message, default_prompt=None)


def test_a_misspelt_prompt_is_not_replaced_by_the_default(message: dict[str, Any]) -> None:
    message["promt"] = message.pop("prompt")
    with pytest.raises(MessageError, match="unknown key 'promt'"):
        READER.read(message, default_prompt="reach")


def test_the_default_prompt_stands_in_for_an_absent_one_only(message: dict[str, Any]) -> None:
    assert READER.read(message, "other").prompt == message["prompt"]
    del message["prompt"]
    assert READER.read(message, "other").prompt == "other"


def test_channels_first_floats_and_integers_are_taken_as_openpis_server_takes_them(message: dict[str, Any]) -> None:
    plain = READER.read(message, None)
    image = message[IMAGE]
    floats = np.nextafter(image.astype(np.float32) / 255, np.float32(2)).clip(0, 1)
    first = {**message, IMAGE: np.ascontiguousarray(image.transpose(2, 0, 1)), WRIST: message[WRIST] / 255}
    second = {**message, IMAGE: np.ascontiguousarray(floats.transpose(2, 0, 1)), STATE: np.arange(8)}
    np.testing.assert_array_equal(READER.read(first, None).image["base_0_rgb"], image)
    expected = (255 * first[WRIST]).astype(np.uint8)
    np.testing.assert_array_equal(READER.read(first, None).image["left_wrist_0_rgb"], expected)
    read = READER.read(second, None)
    np.testing.assert_array_equal(read.image["base_0_rgb"], plain.image["base_0_rgb"])
    np.testing.assert_array_equal(read.state, np.arange(8.0))
    assert read.state.dtype == np.float64


@pytest.mark.parametrize("state", [np.arange(8, dtype=np.uint8), np.arange(8, dtype=np.float16), list(range(8))])
def test_a_state_is_any_eight_numbers(message: dict[str, Any], state: Any) -> None:
    np.testing.assert_array_equal(READER.read({**message, STATE: state}, None).state, np.arange(8.0))


def test_a_policy_of_one_camera_and_another_robot_takes_its_own_keys_alone(message: dict[str, Any]) -> None:
    reader = RequestReader(("base_0_rgb",), state_dim=4)
    assert reader.keys == (IMAGE, STATE, "prompt")
    own = {IMAGE: message[IMAGE], STATE: np.arange(4.0), "prompt": "press a button"}
    request = reader.read(own, None)
    assert list(request.image) == ["base_0_rgb"]
    np.testing.assert_array_equal(request.state, np.arange(4.0))
    with pytest.raises(MessageError, match=f"unknown key '{WRIST}'"):
        reader.read({**own, WRIST: message[WRIST]}, None)
    with pytest.raises(MessageError, match=r"shape \(4,\)"):
        reader.read({**own, STATE: np.zeros(8)}, None)
