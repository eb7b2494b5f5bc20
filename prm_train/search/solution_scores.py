"""A question and the steps of its solution in a row of any file, and their scores by a scorer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_gen.problems.row_fields import field_value, joined_text
from data_gen.records.steps import split_steps
from data_gen.settings.errors import InputError
from prm_train.scoring.protocol import PathTooLongError, Scorer, ScorerUsage, ScoringTree

QUESTION_FIELDS = ("question", "problem", "prompt")
STEP_FIELDS = ("steps", "completions")
TEXT_FIELDS = ("solution", "response", "text", "completion")
Scores = tuple[float | None, ...]


@dataclass(frozen=True)
class ScoredRow:
    """A row as it was read, and what is scored of it."""

    fields: Mapping[str, Any]
    question: str
    steps: tuple[str, ...]


def read_row(
    fields: Mapping[str, Any],
    where: str,
    step_separator: str = "\n",
    question_field: str | None = None,
    solution_field: str | None = None,
) -> ScoredRow:
    """A field without a name is found by its usual ones. Raises InputError for a row without a question, or
    without a step.
    """
    question = joined_text(fields, _name(fields, question_field, QUESTION_FIELDS, "question", where), where)
    name = _name(fields, solution_field, (*STEP_FIELDS, *TEXT_FIELDS), "solution", where)
    value = field_value(fields, name, where)
    if isinstance(value, str):
        steps = split_steps(value, step_separator)
    elif isinstance(value, list) and all(isinstance(step, str) for step in value):
        steps = tuple(value)
    else:
        raise InputError(
            f"{where}: field {name!r}: got {type(value).__name__}, expected a text or a list of texts"
        )
    if not question or not steps or not all(step.strip() for step in steps):
        raise InputError(f"{where}: an empty question, solution or step")
    return ScoredRow(fields, question, steps)


def _name(fields: Mapping[str, Any], given: str | None, known: Sequence[str], what: str, where: str) -> str:
    name = given or next((each for each in known if each in fields), None)
    if name is None:
        raise InputError(
            f"{where}: no field {', '.join(known)}; fields present: {', '.join(fields)}; {what}_field names "
            "another"
        )
    return name


async def score_steps(scorer: Scorer, tree: ScoringTree, steps: Sequence[str]) -> Scores:
    """The scores in a session, None where the scorer cannot read so far."""
    scores: list[float | None] = [None] * (len(steps) if scorer.scores_steps else 1)
    node, nodes = tree.root, []
    try:
        for step in steps:
            nodes.append(node := tree.extend(node, step))
    except PathTooLongError:
        if not scorer.scores_steps:
            nodes = []
    if nodes:
        await tree.score(nodes[-1])  # its ancestors are scored on the way
    for number, each in enumerate(nodes if scorer.scores_steps else nodes[-1:]):
        scores[number] = await tree.score(each)
    return tuple(scores)


async def score_solution(scorer: Scorer, row: ScoredRow) -> tuple[Scores, ScorerUsage]:
    """The scores, None where the scorer cannot read so far."""
    try:
        async with scorer.session(row.question) as tree:
            return await score_steps(scorer, tree, row.steps), tree.usage
    except PathTooLongError:  # the question alone
        return (None,) * (len(row.steps) if scorer.scores_steps else 1), ScorerUsage()
