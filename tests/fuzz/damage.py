"""Damaged inputs: bytes and values that were good once."""

import copy
import random
from typing import Any

JUNK: list[Any] = [
    *(None, True, False, 0, -1, 7, 2**63, -(2**63), 10**400, 0.5, 1e308, float("nan"), float("inf")),
    *("", "x", "MEAN_STD", "../x", "\ud800", "\0", "1e999", "é" * 300, [], {}, [[1]], {"a": 1}, [None] * 70),
]
"""What may stand in place of a value of a JSON file."""

_BYTES = (
    b"\0",
    b"\xff",
    b"\x7f\xff\xff\xff",
    b"\xff" * 8,
    b"\x80",
    b"{",
    b"}",
    b'"',
    b"[" * 40,
    b"\xdf\xff\xff\xff\xff",
)


def damaged_bytes(whole: bytes, rng: random.Random, header: int | None = None) -> bytes:
    """Up to four places flipped, overwritten, cut out, doubled or cut off; most of them in the first `header` bytes."""
    content = bytearray(whole)
    for _ in range(rng.randint(1, 4)):
        if not content:
            break
        end = len(content) if header is None or rng.random() < 0.2 else min(header, len(content))
        at, length = rng.randrange(end), rng.randint(1, 8)
        kind = rng.randrange(6)
        if kind == 0:
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[at] = rng.randrange(256)
        elif kind == 2:
            junk = rng.choice(_BYTES)
            content[at : at + len(junk)] = junk
        elif kind == 3:
            del content[at : at + length]
        elif kind == 4:
            content[at:at] = content[at : at + length]
        elif rng.random() < 0.3:
            del content[at:]
    return bytes(content)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to a node and everything below it; of lists, to the first three entries."""
    inside = node.items() if isinstance(node, dict) else enumerate(node[:3]) if isinstance(node, list) else ()
    return [path] + [place for key, value in inside for place in places(value, (*path, key))]


def damaged_value(content: Any, rng: random.Random, junk: list[Any] = JUNK) -> Any:
    """The content with a value or two replaced, removed or under another key."""
    content = copy.deepcopy(content)
    for _ in range(rng.randint(1, 2)):
        *path, last = rng.choice(places(content)) or (None,)
        if last is None:
            return copy.deepcopy(rng.choice(junk))
        node = content
        for key in path:
            node = node[key]
        kind = rng.random()
        if isinstance(node, dict) and kind < 0.15:
            del node[last]
        elif isinstance(node, dict) and kind < 0.25:
            node[rng.choice(("", "x", "shape", "\0"))] = node.pop(last)
        else:
            node[last] = copy.deepcopy(rng.choice(junk))
    return content
