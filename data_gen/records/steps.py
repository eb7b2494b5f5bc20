r"""The only code that knows what a step is, over text and over token ids.

A step is what stands between separators and is not blank. Over ids, where a step ends is decided on decoded
bytes: the separator may be the second half of the token `.\n\n` or be spread over two tokens. The step ends
with the token that completes the separator; ids are never split, so what such a token carries beyond the
separator stays with that step's ids although it begins the next step's text. A separator that follows only
blank text ends nothing: leading blank lines belong to the next step.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BLANK = " \t\n\r\v\f"
_LATEX = "abla|e|eq|ew[a-z]+|exists|i|leq|mid|geq|ot|otin|u|atural|parallel|rightarrow|earrow|warrow|oindent|ormalsize|subseteq"  # noqa: E501
_NO_NEWLINE = re.compile(rf"\\n(?!({_LATEX})(?![a-z]))")
# Kept for as many separators: a server is asked for any, and each scanner remembers what tokens do
N_SCANNERS = 16


def check_separator(separator: str) -> None:
    """Raises ValueError for an empty separator, and as `check_newlines` does."""
    if not separator:
        raise ValueError("step separator: got '', expected at least one character")
    check_newlines("step separator", separator)


def check_newlines(what: str, text: str) -> None:
    """Raises ValueError for the two characters backslash and n where a newline was meant; the commands of
    LaTeX that begin so are none.
    """
    if _NO_NEWLINE.search(text):
        raise ValueError(
            f"{what}: got {text!r}, which holds a backslash and an n; expected real newlines, "
            "in a shell $'\\n\\n', in a YAML file \"\\n\\n\""
        )


def split_steps(text: str, separator: str) -> tuple[str, ...]:
    """The step texts, without separators; blank ones are left out, so a trailing separator makes no empty
    step.
    """
    check_separator(separator)
    return tuple(step for step in text.split(separator) if step.strip(_BLANK))


def ended_steps(text: str, separator: str) -> tuple[str, ...]:
    """Those of `split_steps` that a separator has ended: what stands behind the last one may go on."""
    check_separator(separator)
    *ended, _ = text.split(separator)
    return tuple(step for step in ended if step.strip(_BLANK))


def join_steps(steps: Sequence[str], separator: str) -> str:
    """Every step followed by the separator: the text after which the next step begins."""
    return "".join(step + separator for step in steps)


def step_spans(
    token_ids: Sequence[int], token_bytes: Sequence[bytes], separator: str
) -> list[tuple[int, int]]:
    """`(start, end)` of each step in `token_ids`; the spans follow each other without gaps from 0.

    The last step may lack its separator. Ids after the last step that hold no text (EOS, blank lines) are in
    no span, and a step that stands inside a token of another has none. This is the rule of `StepScanner` for
    a text that is there as a whole, and many times faster.
    """
    pieces = [token_bytes[token_id] for token_id in token_ids]
    return [(start, end) for start, end in spans_of_steps(pieces, separator) if end > start]


def spans_of_steps(pieces: Sequence[bytes], separator: str) -> list[tuple[int, int]]:
    """As `step_spans`, of the bytes of each token, with an entry for every step of `split_steps`: one that
    stands inside a token of another has an empty span.
    """
    check_separator(separator)
    mark = separator.encode()
    ends = list(accumulate(map(len, pieces)))  # the byte up to which each token goes
    *texts, rest = b"".join(pieces).split(mark)
    spans, start, position = [], 0, 0
    for text in texts:
        position += len(text) + len(mark)
        if not _is_blank(text):
            # After the token that completes the separator
            end = max(start, bisect_left(ends, position) + 1)
            spans.append((start, end))
            start = end
    if not _is_blank(rest):
        spans.append((start, len(pieces)))
    return spans


class StepScanner:
    """Says token by token whether a step just ended. One scanner serves any number of texts, each of which
    keeps its own `state`.

    The state counts the bytes of the separator matched so far and remembers whether text came before them; it
    follows the bytes as `str.split` would (leftmost matches that do not overlap). What a token does to a
    state is worked out once and then looked up.
    """

    START = 0

    def __init__(self, token_bytes: Sequence[bytes], separator: str) -> None:
        check_separator(separator)
        self._token_bytes = token_bytes
        self._separator = separator.encode()
        self._known: dict[tuple[int, int], tuple[int, bool]] = {}

    def advance(self, state: int, token_id: int) -> tuple[int, bool]:
        """The state after `token_id`, and whether the token completed the separator of a step that is not
        blank.
        """
        key = (state, token_id)
        result = self._known.get(key)
        if result is None:
            result = self._known[key] = self._scan(state, self._token_bytes[token_id])
        return result

    def has_text(self, state: int) -> bool:
        """Whether anything but blanks came since the last step ended."""
        n_matched, is_text = divmod(state, 2)
        return bool(is_text) or not _is_blank(self._separator[:n_matched])

    def _scan(self, state: int, token: bytes) -> tuple[int, bool]:
        n_matched, is_text = divmod(state, 2)
        is_end = False
        for byte in token:
            pending = self._separator[:n_matched] + bytes([byte])
            n_matched = self._longest_match(pending)
            is_text = is_text or not _is_blank(pending[: len(pending) - n_matched])
            if n_matched == len(self._separator):
                is_end = is_end or bool(is_text)
                n_matched, is_text = 0, 0
        return 2 * n_matched + bool(is_text), is_end

    def _longest_match(self, pending: bytes) -> int:
        """How many bytes at the end of `pending` begin the separator."""
        return next(
            n for n in range(len(pending), -1, -1) if self._separator.startswith(pending[len(pending) - n :])
        )


def step_scanners(token_bytes: Sequence[bytes]) -> Callable[[str], StepScanner]:
    """The scanner of a separator, of which those asked for last are kept."""
    return lru_cache(N_SCANNERS)(partial(StepScanner, token_bytes))


def token_bytes(tokenizer: "PreTrainedTokenizerBase") -> list[bytes]:
    """The bytes each id decodes to inside a text; special tokens and unused ids give b"".

    Raises ValueError for a tokenizer whose tokens do not stand for bytes on their own (neither byte-level nor
    sentencepiece).
    """
    decoder = json.loads(tokenizer.backend_tokenizer.to_str())["decoder"] or {"type": "none"}
    parts = {part["type"] for part in decoder.get("decoders", [decoder])}
    if "ByteLevel" in parts:
        decode = _byte_level_bytes
    elif parts & {"ByteFallback", "Metaspace"}:
        decode = _sentencepiece_bytes
    else:
        raise ValueError(f"tokenizer decoder {sorted(parts)}: expected ByteLevel, ByteFallback or Metaspace")
    added = tokenizer.added_tokens_decoder
    special_ids = set(tokenizer.all_special_ids) | {
        token_id for token_id, token in added.items() if token.special
    }
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    table = []
    for token_id, token in enumerate(tokens):
        if token is None or token_id in special_ids:
            table.append(b"")
        elif token_id in added:
            table.append(token.encode())
        else:
            table.append(decode(token))
    return table


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in for each byte: itself where printable, else the next free character from 256
    on.
    """
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTE_OF_CHARACTER = _byte_alphabet()


def _byte_level_bytes(token: str) -> bytes:
    return bytes(_BYTE_OF_CHARACTER[character] for character in token)


def _sentencepiece_bytes(token: str) -> bytes:
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return bytes([int(token[3:5], 16)])
    return token.replace("▁", " ").encode()


def _is_blank(data: bytes) -> bool:
    return not data.strip(_BLANK.encode())
