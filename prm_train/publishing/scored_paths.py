"""Paths of training rows: what a checkpoint of each kind is asked about when it is published or served.

| checkpoint | rows | a path's steps are |
|---|---|---|
| PRM, generative verifier | prm | those of the row |
| ORM | orm, orm_pairs (two paths a row); orm_history if its prompts show earlier attempts | the solution's |
| implicit PRM | orm | the solution's |
| revision model | revision | one: the whole answer, as it was written |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_gen.records.chats import Message
from data_gen.records.steps import split_steps
from data_gen.rows.layouts import AnyRow, OrmHistoryRow, OrmPair, OrmRow, PrmRow, RevisionRow, read_rows
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CheckpointFacts, Kind
from prm_train.encoding.paths import ScorerEncoding
from prm_train.examples.outcome import read_outcome_rows
from prm_train.examples.revision import encode_answer, encode_chain

ROWS: dict[Kind, str] = {
    "prm": "prm",
    "generative_verifier": "prm",
    "orm": "orm or orm_pairs",
    "implicit_prm": "orm",
    "revision": "revision",
}


@dataclass(frozen=True)
class ScoredPath:
    """What stands before a solution, the question or a chat with earlier attempts, and the solution's steps without separators."""

    messages: tuple[Message, ...]
    steps: tuple[str, ...]

    @property
    def question(self) -> str:
        return next(message.content for message in self.messages if message.role == "user")


@dataclass(frozen=True)
class EncodedPath:
    """Ids, where in them something is read (`positions`; a language model without facts has none), and how many ids are the head."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    n_head: int = 0


def read_scored_rows(path: Path, facts: CheckpointFacts) -> Sequence[AnyRow]:
    """The rows of a file. Raises InputError naming what was expected if they are none that such a checkpoint learns from."""
    wanted = "orm_history" if facts.has_attempts else ROWS[facts.kind]
    try:
        rows = _read(path, facts)
    except InputError as fault:
        raise InputError(f"{fault}; a checkpoint of kind {facts.kind} takes rows of kind {wanted}") from None
    if not rows:
        raise InputError(f"{path}: no row; expected some of kind {wanted}")
    return rows


def _read(path: Path, facts: CheckpointFacts) -> Sequence[AnyRow]:
    match facts.kind:
        case "prm" | "generative_verifier":
            return read_rows(path, PrmRow)
        case "implicit_prm":
            return read_rows(path, OrmRow)
        case "revision":
            return read_rows(path, RevisionRow)
        case "orm":
            rows = read_outcome_rows(path)
            if any(isinstance(row, OrmHistoryRow) != facts.has_attempts for row in rows):
                raise InputError(f"{path}: got rows {'without' if facts.has_attempts else 'with'} earlier attempts")
            return rows


def paths_of(row: AnyRow, separator: str) -> tuple[ScoredPath, ...]:
    """The path of a row; of a pair two, that of the right solution first."""
    if isinstance(row, OrmPair):
        return tuple(ScoredPath((Message("user", row.prompt),), split_steps(side, separator)) for side in (row.chosen, row.rejected))
    if isinstance(row, PrmRow):
        return (ScoredPath((Message("user", row.prompt),), tuple(row.completions)),)
    if isinstance(row, OrmRow):
        return (ScoredPath((Message("user", row.prompt),), split_steps(row.completion, separator)),)
    completion = "".join(message.content for message in row.completion)
    return (ScoredPath(row.prompt, (completion,) if isinstance(row, RevisionRow) else split_steps(completion, separator)),)


def encode_path(path: ScoredPath, encoding: ScorerEncoding, kind: Kind) -> EncodedPath:
    """As training encodes it. Positions: the end of each step, of an ORM that of the last one, of a revision each token of the answer."""
    if kind == "revision":
        text = encoding.facts.step_separator.join(path.steps)
        head, answer = encode_chain(encoding.tokenizer, path.messages), encode_answer(encoding.tokenizer, path.messages, text)
        return EncodedPath(head + answer, tuple(range(len(head), len(head) + len(answer))), len(head))
    # a verifier's head holds its first question, and no chat
    ids = list(encoding.encode_head(path.question) if len(path.messages) == 1 else encoding.encode_chat(path.messages))
    n_head, positions = len(ids), []
    for step in path.steps:
        ids += encoding.encode_step(step)
        positions.append(len(ids) - 1)
    return EncodedPath(tuple(ids), tuple(positions[-1:] if kind == "orm" else positions), n_head)
