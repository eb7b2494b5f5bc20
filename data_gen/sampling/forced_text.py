"""The ids of a text that is put into a solution instead of being drawn."""

from collections.abc import Sequence

from data_gen.settings.errors import InputError


def text_ids(text: str, token_bytes: Sequence[bytes]) -> tuple[int, ...]:
    """The fewest ids that spell `text`, of which the first is as long as can be.

    A policy knows no tokenizer, only what its ids stand for (`Policy.token_bytes`). For a word or two these
    are the ids that a tokenizer gives. Raises InputError where no ids spell the text.
    """
    data = text.encode()
    ids: dict[bytes, int] = {}
    for token_id, token in enumerate(token_bytes):
        if token and token in data:
            ids.setdefault(token, token_id)
    # For each place of the text, from its end: the ids that spell what follows
    endings: list[tuple[int, ...] | None] = [()]
    for start in range(len(data) - 1, -1, -1):
        found = [
            (ids[token], *rest)
            for n in range(len(data) - start, 0, -1)
            if (token := data[start : start + n]) in ids and (rest := endings[-1 - (n - 1)]) is not None
        ]
        endings.append(min(found, key=len, default=None))
    if endings[-1] is None:
        raise InputError(f"text {text!r}: no tokens of the policy spell it; expected one that they spell")
    return endings[-1]
