"""Stop strings: where one shows up the solution has ended, and neither it nor what follows it belongs to the
text.

A draw ends with the token that completes a stop string, as it ends with the one that completes a step's
separator, and the ledger keeps all of its ids. Whoever makes a solution of draws cuts it here, with what was
written before them, since a stop string may lie across the end of a step: after `Answer: 7\\n` the stop
string `\\n\\nQ:` is complete with `\\nQ:`.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from data_gen.records.sampling import Completion, FinishReason

MAX_STOP_STRINGS = 16


def check_stop_strings(stop: Sequence[str]) -> None:
    """Raises ValueError for an empty string, one that was given twice, and a backslash with an n where a
    newline was meant.
    """
    for each in stop:
        if not each:
            raise ValueError("stop: got '', expected strings of at least one character")
        if "\\n" in each:
            raise ValueError(
                f"stop: got {each!r}, which holds a backslash and an n; expected real newlines, in a shell "
                "$'\\n\\nQ:', "
                'in a YAML file ["\\n\\nQ:"]'
            )
    if len(set(stop)) < len(stop) or len(stop) > MAX_STOP_STRINGS:
        raise ValueError(f"stop: got {list(stop)}, expected at most {MAX_STOP_STRINGS} different strings")


class StopStrings:
    """Says token by token whether a stop string is complete. One serves any number of draws, each of which
    keeps its own `tail`.
    """

    def __init__(self, token_bytes: Sequence[bytes], stop: Sequence[str]) -> None:
        self._token_bytes = token_bytes
        self._stop = [each.encode() for each in stop]
        self._n_kept = max(map(len, self._stop)) - 1

    def advance(self, tail: bytes, token_id: int) -> tuple[bytes, bool]:
        """The last bytes written, `token_id` included, and whether they complete a stop string."""
        written = tail + self._token_bytes[token_id]
        return written[max(len(written) - self._n_kept, 0) :], any(stop in written for stop in self._stop)

    def length(self, token_ids: Sequence[int]) -> int | None:
        """How many ids there are up to the one that completes the first stop string; None where none is
        complete.
        """
        tail = b""
        for n_ids, token_id in enumerate(token_ids, 1):
            tail, is_end = self.advance(tail, token_id)
            if is_end:
                return n_ids
        return None

    def cut(self, begun: str, draw: Completion) -> tuple[str, Completion]:
        """The text `begun` with the draw behind it, and the draw: both end where the first stop string
        begins.

        The ids are those that have a part in that text, at least one. The finish reason is STOP; without a
        stop string all is as it was.
        """
        ids = draw.token_ids[:-1] if draw.finish_reason is FinishReason.EOS else draw.token_ids
        pieces = [self._token_bytes[token_id] for token_id in ids]
        before = begun.encode()
        n_tail = min(self._n_kept, len(before))
        written = before[len(before) - n_tail :] + b"".join(pieces)
        places = [place for place in map(written.find, self._stop) if place >= 0]
        if not places:
            return begun + draw.text, draw
        # Of the draw; below 0 where the stop string begins in what was written before it
        n_bytes = min(places) - n_tail
        starts = [0, *accumulate(map(len, pieces))][:-1]
        n_ids = max(1, sum(start < n_bytes for start in starts))
        text = written[n_tail : n_tail + max(n_bytes, 0)].decode(errors="replace")
        cut = replace(
            draw,
            token_ids=ids[:n_ids],
            logprobs=draw.logprobs[:n_ids],
            text=text,
            finish_reason=FinishReason.STOP,
        )
        return (
            begun if n_bytes >= 0 else before[: len(before) + n_bytes].decode(errors="replace")
        ) + text, cut
