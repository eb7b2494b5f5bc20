"""Requests to a server's `/pooling`, as vLLM has it, and what their replies must be: a reply that is not
exactly an answer to its request is never used.

    {"model": "prm", "task": "token_classify", "input": [[5, 17, 4, 9, 4]], "use_activation": false}
    {"data": [{"index": 0, "data": [[0.2, -1.0], [1.5, 0.1], …]}], "usage": {"prompt_tokens": 5}}

A PRM's data has a row of logits for every token (vLLM's ALL pooling) or for every step marker (STEP), an
ORM's (task classify) one logit. The request asks for logits, which calibration starts from: of a
probability near 1 the digits that tell good steps apart are gone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from data_gen.policies.servers.replies import WrongReplyError

N_CLASSES = 2  # of a PRM


@dataclass(frozen=True)
class Pooling:
    """How the numbers of paths are asked for. `marker_id` is the token whose rows STEP pooling returns; None
    where there is no such token, so that only rows for every token can be read.
    """

    model: str
    scores_steps: bool
    marker_id: int | None = None

    def request(self, ids: Sequence[int], *, use_activation: bool = False) -> dict[str, object]:
        """The body of a request; with `use_activation` the reply holds probabilities."""
        return {
            "model": self.model,
            "task": "token_classify" if self.scores_steps else "classify",
            "input": [list(ids)],
            "use_activation": use_activation,
            "add_special_tokens": False,
            "encoding_format": "float",
        }

    def read(self, body: bytes, ids: Sequence[int], ends: Sequence[int]) -> list[list[float]]:
        """For each of `ends`, positions in the path of `ids`, the numbers of its classes; of an ORM, whose
        path has one end, its one number. Raises WrongReplyError, naming what came and what was wanted.
        """
        data = _data(body, len(ids))
        if not self.scores_steps:
            if len(data) != 1 or isinstance(data[0], list):
                raise WrongReplyError(f"{len(data)} {_what(data)}, expected the one number of an ORM")
            return [_finite([data[0]], ends[-1])]
        rows = self._rows_by_position(data, ids)
        return [_finite(rows[end], end) for end in ends]

    def _rows_by_position(
        self, data: "list[list[float]] | list[float]", ids: Sequence[int]
    ) -> dict[int, list[float]]:
        rows = [row for row in data if isinstance(row, list)]
        if len(rows) != len(data):
            raise WrongReplyError(f"{len(data)} {_what(data)}, expected a row for each token of a PRM")
        markers = [place for place, token in enumerate(ids) if token == self.marker_id]
        if len(rows) not in (len(ids), len(markers)) or not rows:
            or_markers = f" or for each of its {len(markers)} step markers" if markers else ""
            hint = " (STEP pooling without the marker's step_tag_id returns none)" if not rows else ""
            raise WrongReplyError(
                f"{len(rows)} rows, expected one for each of {len(ids)} tokens{or_markers}{hint}"
            )
        wide = next((row for row in rows if len(row) != N_CLASSES), None)
        if wide is not None:
            raise WrongReplyError(f"rows of {len(wide)} numbers, expected the {N_CLASSES} classes of a PRM")
        places = range(len(ids)) if len(rows) == len(ids) else markers
        return dict(zip(places, rows, strict=True))


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)


class _Pooled(_Part):
    data: list[list[float]] | list[float]


class _Usage(_Part):
    prompt_tokens: int


class _Reply(_Part):
    data: list[_Pooled]
    usage: _Usage


def _data(body: bytes, n_ids: int) -> list[list[float]] | list[float]:
    try:
        reply = _Reply.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise WrongReplyError(
            f"{len(body)} bytes that are no pooling: {'.'.join(map(str, first['loc']))} {first['msg']}"
        ) from None
    if len(reply.data) != 1:
        raise WrongReplyError(f"data of {len(reply.data)} paths, expected 1")
    if reply.usage.prompt_tokens != n_ids:
        raise WrongReplyError(
            f"usage of {reply.usage.prompt_tokens} prompt tokens, expected the {n_ids} that were sent"
        )
    return reply.data[0].data


def _what(data: "list[list[float]] | list[float]") -> str:
    return "rows" if data and isinstance(data[0], list) else "numbers"


def _finite(numbers: Sequence[float], place: int) -> list[float]:
    if not all(map(math.isfinite, numbers)):
        raise WrongReplyError(f"{list(numbers)} at token {place}, expected finite numbers")
    return list(numbers)
