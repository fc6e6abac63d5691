"""What is understood of a message, and what is refused."""

import contextlib
import pickle
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from openpi_client import msgpack_numpy

from ript.serve.codec import MessageError, decode, encode


def packed(**changes: Any) -> dict[bytes, Any]:
    array = {b"__ndarray__": True, b"data": bytes(16), b"dtype": "<f8", b"shape": [2]}
    return {**array, **{key.encode(): value for key, value in changes.items()}}


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "<i8", ">f4", "f2", "<f8"])
def test_arrays_survive_between_openpi_and_us_in_both_directions(dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    for there, back in ((msgpack_numpy.packb, decode), (encode, msgpack_numpy.unpackb)):
        (restored,) = back(there({"key": array})).values()
        assert restored.dtype == array.dtype
        np.testing.assert_array_equal(restored, array)


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "dtype", ["|O", "O", "O8", "|V8", "i4,O", "(2,)f4", "<U2", "<M8[ns]", "<c16", "f16", b"<f8", 7]
)
def test_only_plain_numbers_are_arrays_and_nothing_is_executed(dtype: Any, tmp_path: Path) -> None:
    data = pickle.dumps(np.array([Touch(tmp_path / "executed")], object))
    with pytest.raises(MessageError, match=r"state: dtype .* is not allowed"):
        decode(msgpack.packb({"state": packed(data=data, dtype=dtype, shape=[len(data)])}))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"shape": [3]}, "needs 24 bytes of data, got 16 bytes"),
        ({"shape": [2**62, 4]}, "needs .* bytes of data"),
        ({"shape": [0, 2**62], "data": b""}, "is empty"),
        ({"shape": [-2]}, "shape"),
        ({"shape": [True, 2]}, "shape"),
        ({"shape": [1] * 8 + [2]}, "at most 8"),
        ({"shape": 2}, "shape"),
        ({"data": "text"}, "got str"),
        ({"data": [1] * 16}, "got a list"),
        ({"more": 1}, "has the keys"),
    ],
)
def test_an_array_that_is_not_what_it_says_is_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(MessageError, match=f"state: .*{reason}"):
        decode(msgpack.packb({"state": packed(**changes)}))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a msgpack message"),
        (b"\xc1", "not a msgpack message"),
        (pickle.dumps({"a": 1}), "not a msgpack message"),
        (msgpack.packb({"a": 1}) + b"x", "not a msgpack message"),
        (msgpack.packb({"a": "x" * 50})[:-9], "not a msgpack message"),
        (b"\xdd\xff\xff\xff\xff", "not a msgpack message"),
        (b"\x91" * 100_000, "not a msgpack message"),
        (b"\x81\xa1k\xa1\xff", "not a msgpack message"),
        (msgpack.packb([1]), "must be a map, got a list"),
        (msgpack.packb(None), "must be a map, got nothing"),
        (msgpack.packb({b"a": 1}), "keys must be strings"),
        (msgpack.packb({"a": {"b": {}}}), "'b' holds a map"),
        (msgpack.packb({"a": [[1]]}), "list may hold only"),
        (msgpack.packb({"a": msgpack.ExtType(5, b"x")}), "extension type 5"),
        (msgpack.packb({str(i): 0 for i in range(65)}), "not a msgpack message"),
    ],
)
def test_garbage_is_refused_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        decode(data)


def test_random_bytes_never_raise_anything_else() -> None:
    rng = np.random.default_rng(0)
    valid = encode({"state": np.zeros(8), "prompt": "reach"})
    for _ in range(3000):
        damaged = bytearray(valid)
        for position in rng.integers(0, len(valid), rng.integers(1, 4)):
            damaged[position] = rng.integers(256)
        for data in (bytes(damaged), rng.bytes(rng.integers(1, 60))):
            with contextlib.suppress(MessageError):
                decode(data)
