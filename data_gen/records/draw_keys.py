"""What names a draw, and the noise that follows from its name (idea 5 of docs/architecture.md).

A draw is one completion of a token prefix. Its key is (policy, prefix, sampling parameters, base seed,
index), and the seed of its noise is a function of the key without the parameters: two temperatures of one
index share their random numbers, which makes them comparable.
"""

import hashlib
import json
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple


class DrawKey(NamedTuple):
    """What a draw is: the ledger holds one row for each. All but the index name the stream that the draw
    belongs to.
    """

    policy_id: str
    prefix_hash: bytes
    params_hash: str
    base_seed: int
    draw_index: int


def draw_seed(base_seed: int, policy_id: str, prefix_ids: tuple[int, ...], index: int) -> int:
    """The 63-bit seed of a draw's noise: the same in every process, batch and engine."""
    return derive_seed(base_seed, policy_id, prefix_hash(prefix_ids).hex(), index)


def derive_seed(*parts: object) -> int:
    """A 63-bit seed that is a pure function of its parts, in every process (unlike `hash`)."""
    digest = hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def content_hash(*parts: object) -> str:
    """32 hex digits of the sha256 of the JSON of `parts`."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


@lru_cache(maxsize=256)  # policy and ledger both ask, for every draw; the ids of a long prefix take 300 KB
def prefix_hash(token_ids: tuple[int, ...]) -> bytes:
    """16 bytes that stand for a token prefix."""
    return hashlib.sha256(pack("i", token_ids)).digest()[:16]


def pack(kind: str, values: Sequence[int] | Sequence[float]) -> bytes:
    """Token ids ("i", 4 bytes each) or log-probabilities ("f", 4 bytes each) as the ledger stores them.
    Raises OverflowError for a log-probability that 4 bytes do not hold.
    """
    return _layout(kind, len(values)).pack(*values)


def unpack(kind: str, data: bytes) -> tuple[Any, ...]:
    """The values that `pack` stored. Raises TypeError or ValueError for what it did not."""
    if len(data) % 4:
        raise ValueError(f"{len(data)} bytes; expected 4 a value")
    return _layout(kind, len(data) // 4).unpack(data)


@lru_cache(maxsize=4096)  # it takes a third of the time of `array`
def _layout(kind: str, n: int) -> struct.Struct:
    return struct.Struct(f"={n}{kind}")
