"""openpi's message format: msgpack, with a map of bytes, dtype and shape for each NumPy array.

Written for messages of strangers. An array is numbers of a fixed width and nothing else: no object arrays, no pickle,
no structured types; its size must be what its bytes say. A message is flat, so a short one cannot become large in
memory.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

ARRAY = b"__ndarray__"
_WIDE = ("i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8")
DTYPES = frozenset(["|b1", "|i1", "|u1", *("<" + name for name in _WIDE), *(">" + name for name in _WIDE)])
"""What `dtype.str` of an array in a message may be."""
MAX_ITEMS = 64
"""Entries of a map or list; an observation has four, a shape at most `MAX_DIMENSIONS`."""
MAX_DIMENSIONS = 8


class MessageError(ValueError):
    """A message that cannot be understood; the text says what is wrong, for the one who sent it."""


def encode(message: Mapping[str, Any]) -> bytes:
    """A map of strings to numbers, strings, lists, maps and arrays → bytes. Raises TypeError for anything else."""
    return msgpack.packb(message, default=_encode_array)


def decode(data: bytes) -> dict[str, Any]:
    """Bytes → a map of strings to arrays (read-only), strings and numbers. Raises MessageError."""
    try:
        message = msgpack.unpackb(
            data,
            object_hook=_mark_array,
            list_hook=_check_list,
            ext_hook=_refuse_extension,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
        )
    except MessageError:
        raise
    except (ValueError, msgpack.UnpackException) as error:
        raise MessageError(f"not a msgpack message: {error or type(error).__name__}") from error
    if not isinstance(message, dict):
        raise MessageError(f"a message must be a map, got {_describe(message)}")
    for key in message:
        if not isinstance(key, str):
            raise MessageError(f"keys must be strings, got {key!r:.80}")
    return {key: _decode_array(key, value) for key, value in message.items()}


@dataclass(frozen=True)
class _PackedArray:
    """An array's map as it came; checked when its key is known, so that the error can name it."""

    content: Mapping[Any, Any]


def _encode_array(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.str in DTYPES:
        return {ARRAY: True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    raise TypeError(f"a message cannot hold {value!r:.80}")


def _mark_array(content: dict[Any, Any]) -> Any:
    if ARRAY in content:
        return _PackedArray(content)
    for key, value in content.items():
        if isinstance(value, dict | list):
            raise MessageError(f"key {key!r:.80} holds {_describe(value)}; a value is an array, a string or a number")
    return content


def _check_list(items: list[Any]) -> list[Any]:
    if any(isinstance(item, dict | list | _PackedArray) for item in items):
        raise MessageError("a list may hold only numbers and strings")
    return items


def _refuse_extension(code: int, data: bytes) -> Any:
    raise MessageError(f"msgpack extension type {code} is not part of the protocol")


def _decode_array(key: str, value: Any) -> Any:
    if not isinstance(value, _PackedArray):
        return value
    expected = {ARRAY, b"data", b"dtype", b"shape"}
    if set(value.content) != expected:
        raise MessageError(f"{key}: a packed array has the keys {sorted(expected)}, got {list(value.content)!r:.200}")
    name, shape, data = (value.content[part] for part in (b"dtype", b"shape", b"data"))
    if not isinstance(name, str) or name not in DTYPES:
        raise MessageError(f"{key}: dtype {name!r:.80} is not allowed; valid are booleans, integers and floats")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > MAX_DIMENSIONS:
        raise MessageError(f"{key}: shape {shape!r:.80} is not a list of at most {MAX_DIMENSIONS} sizes")
    size = math.prod(shape) * np.dtype(name).itemsize
    if not isinstance(data, bytes) or len(data) != size:
        held = f"{len(data)} bytes" if isinstance(data, bytes) else _describe(data)
        raise MessageError(f"{key}: {name} array of shape {shape} needs {size} bytes of data, got {held}")
    if size == 0:
        raise MessageError(f"{key}: the array of shape {shape} is empty")
    return np.frombuffer(data, np.dtype(name)).reshape(shape)


def _describe(value: Any) -> str:
    names = {dict: "a map", list: "a list", _PackedArray: "an array", type(None): "nothing"}
    return names.get(type(value), type(value).__name__)
