"""A draw and a verdict as rows of the ledger, each with its checksum. These run for every draw, so they look
up no member of an enum and call no enum, which takes ten times as long as an attribute in Python 3.11.
"""

import math
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from data_gen.ledger.file import checksum, described
from data_gen.records.draw_keys import pack, unpack
from data_gen.records.sampling import Completion, FinishReason, Usage
from data_gen.records.verdicts import Verdict, VerdictKind

FINISH_REASONS = {each.value: each for each in FinishReason}
KINDS = {each.value: each for each in VerdictKind}
DrawRow = tuple[int, bytes, str, bytes, str, int, int, int, bytes]
VerdictRow = tuple[str, str, str, str, str | None, bytes]


def draw_row(index: int, draw: Completion, of_stream: bytes) -> DrawRow:
    """What stands behind the number of its stream; `of_stream` is `described` of the stream's key. Raises
    ValueError for ids and log-probabilities that 4 bytes cannot hold.
    """
    usage = draw.usage
    values = (
        index,
        _packed_ids(draw.token_ids),
        draw.text,
        _packed(draw.logprobs),
        draw.finish_reason._value_,
        usage.n_generated,
        usage.n_prefilled,
        usage.n_cached,
    )
    return *values, checksum(*values, begun=of_stream)


def _packed_ids(token_ids: Sequence[int]) -> bytes:
    try:
        return pack("i", token_ids)
    except struct.error:
        strange = next(each for each in token_ids if not -(2**31) <= each < 2**31)
        raise ValueError(f"a token id is {strange}; expected ids that 4 bytes hold") from None


def _packed(logprobs: Sequence[float]) -> bytes:
    fault = "a log-probability is {:g}; expected values that a float of 4 bytes holds"
    try:
        packed = pack("f", logprobs)
    except OverflowError:
        raise ValueError(fault.format(min(logprobs))) from None
    # NaN stands for what is not known
    if not math.isfinite(sum(logprobs)) and (math.inf in logprobs or -math.inf in logprobs):
        raise ValueError(fault.format(min(logprobs)))
    return packed


def completion(row: Sequence[Any]) -> Completion:
    """From the columns `data_gen.ledger.file.DRAWN`. Raises KeyError, TypeError or ValueError for values of
    another kind, which an old ledger without checksums may hold.
    """
    token_ids, text, logprobs, finish_reason, *usage = row
    return Completion(
        unpack("i", token_ids), text, unpack("f", logprobs), FINISH_REASONS[finish_reason], Usage(*usage)
    )


def verdict_row(
    index: int, gold_hash: str, grader_version: str, verdict: Verdict, answer: str | None, of_stream: bytes
) -> VerdictRow:
    """What stands behind the row of its draw, which has this index in its stream."""
    said = (gold_hash, grader_version, verdict.kind._value_, verdict.reason, answer)
    return *said, checksum(begun=of_stream + described(index) + _described(*said))


_described = lru_cache(4096)(described)  # most draws of a problem have one of few answers
