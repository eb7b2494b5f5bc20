"""PRM800K as OpenAI publishes it (Lightman et al. 2023), phases 1 and 2: rated alternatives for each step of
a solution.

    {"question": {"problem": ...}, "label": {"finish_reason": "found_error", "total_time": ..., "steps": [
        {"completions": [{"text": ..., "rating": 1, "flagged": false}, {"text": ..., "rating": -1, ...}],
         "human_completion": null, "chosen_completion": 0}, ...]}, "labeler": ..., "timestamp": ..., "generation": ...}

How alternatives become rows. The alternatives of a step were written after, and rated after, the chosen
alternatives of the steps before it. So each is one labeled step after the chosen prefix; its authors say the
same of their training data: from steps [A, B, C], [D], [E, F] with A, D and E chosen come A | B | C | A D | A
D E | A D F (issue 10 of openai/prm800k). A solution with 2, 3 and 2 alternatives holds 7 labeled steps, and a
file of 2 solutions with 3 steps of 2 alternatives holds 2 × 3 × 2 = 12, each once.

The cross product would pair a step with prefixes that nobody continued and a rating that nobody gave. openr's
converter promises it, 12 for one solution with 2, 3 and 2 alternatives, and gives 2: a misplaced indent keeps
the last prefix only. Both are wrong.

The rows are the paths of that tree, the chosen path first, each rating in one row (see `stepwise.paths`). A
rating of 1 is True, -1 False, and 0 (neutral) True, as in the authors' own scores; `ratings` keeps the three
apart. What a labeler wrote instead (`human_completion`) was rated by nobody: it is context, its label None.
"""  # noqa: E501

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_gen.formats.stepwise import (
    Label,
    Node,
    Reading,
    RowError,
    StepwiseRow,
    UnusedRowError,
    others,
    paths,
    stepwise,
    take,
)

BAD_PROBLEM = "bad_problem"
_LABELS: dict[int | None, bool | None] = {1: True, 0: True, -1: False, None: None}
_RATINGS: dict[Label, int | None] = {True: 1, False: -1, None: None}


@dataclass(frozen=True)
class Alternative:
    """One text for a step. `rating`: 1, 0, -1, or None (not rated). `other`: flagged, source."""

    text: str
    rating: int | None
    other: Mapping[str, Any]


@dataclass(frozen=True)
class RatedStep:
    """`alternatives` is None where the labeler gave up before this step; `chosen` is the place of the one
    that the next step follows.
    """

    alternatives: tuple[Alternative, ...] | None
    human: Alternative | None
    chosen: int | None
    other: Mapping[str, Any]


@dataclass(frozen=True)
class RatedSolution:
    """A source row; `question`, `label` and `other` hold what the row says beside problem and steps, at its
    three levels.
    """

    problem: str
    steps: tuple[RatedStep, ...]
    question: Mapping[str, Any]
    label: Mapping[str, Any]
    other: Mapping[str, Any]


def read_row(fields: Mapping[str, Any], where: str, keep_bad_problems: bool = False) -> Reading:
    """The paths of a source row. Left out, and counted: alternatives after a step of which nothing was
    chosen, and alternatives without a rating. Raises UnusedRowError for a row without steps, and for one
    whose labeler found the problem itself broken.
    """
    solution = parse_solution(fields, where)
    if solution.label.get("finish_reason") == BAD_PROBLEM and not keep_bad_problems:
        raise UnusedRowError(where, "finish_reason bad_problem")
    if not any(step.alternatives or step.human for step in solution.steps):
        raise UnusedRowError(where, "no steps")
    first_steps, left_out = _tree(solution.steps)
    extra = {**solution.other, **solution.label}
    if solution.question:
        extra["question"] = dict(solution.question)
    rows = []
    for path in paths(first_steps):
        if all(label is None for label in path.labels):
            left_out["step without a rating"] += 1
            continue
        columns: dict[str, Any] = {"ratings": [node.note.rating for node in path.nodes]}
        if any(node.note.other.get("flagged") for node in path.nodes):
            columns["flagged"] = [node.note.other.get("flagged") for node in path.nodes]
        rows.append(
            stepwise(
                where, solution.problem, [node.text for node in path.nodes], path.labels, {**extra, **columns}
            )
        )
    return Reading(tuple(rows), left_out)


def write_row(row: StepwiseRow, where: str) -> dict[str, Any]:
    """A solution with one alternative for each step. Raises RowError for values, which are no ratings."""
    if any(type(label) is float for label in row.labels):
        raise RowError(where, "labels are values", "; PRM800K holds ratings 1, 0, -1")
    stored = _per_step(row, "ratings", [_RATINGS[label] for label in row.labels])
    rated = zip(stored, row.labels, strict=True)
    # Masked: rated in another row
    ratings = [rating if label is not None else None for rating, label in rated]
    flagged = _per_step(row, "flagged", [False] * len(row.labels))
    steps = [
        RatedStep((Alternative(text, rating, {"flagged": flag}),), None, 0, {})
        for text, rating, flag in zip(row.completions, ratings, flagged, strict=True)
    ]
    label = {name: row.extra[name] for name in ("total_time", "finish_reason") if name in row.extra}
    question = row.extra.get("question")
    other = others(row.extra, "ratings", "flagged", "question", *label)
    return dump_solution(
        RatedSolution(row.prompt, tuple(steps), question if isinstance(question, dict) else {}, label, other)
    )


def _per_step(row: StepwiseRow, name: str, default: list[Any]) -> list[Any]:
    stored = row.extra.get(name)
    return stored if isinstance(stored, list) and len(stored) == len(default) else default


# --- the source row, without loss


def parse_solution(fields: Mapping[str, Any], where: str) -> RatedSolution:
    question, label = take(fields, "question", (dict,), where), take(fields, "label", (dict,), where)
    steps = []
    for number, step in enumerate(take(label, "steps", (list,), where)):
        steps.append(_parse_step(step, f"{where}: step {number}"))
    return RatedSolution(
        take(question, "problem", (str,), where),
        tuple(steps),
        others(question, "problem"),
        others(label, "steps"),
        others(fields, "question", "label"),
    )


def dump_solution(solution: RatedSolution) -> dict[str, Any]:
    """The JSON object that `parse_solution` read."""
    steps = [
        {
            "completions": None
            if step.alternatives is None
            else [_dump_alternative(each) for each in step.alternatives],
            "human_completion": None if step.human is None else _dump_alternative(step.human),
            "chosen_completion": step.chosen,
            **step.other,
        }
        for step in solution.steps
    ]
    question, label = {"problem": solution.problem, **solution.question}, {"steps": steps, **solution.label}
    return {**solution.other, "question": question, "label": label}


def _parse_step(step: Any, where: str) -> RatedStep:
    if type(step) is not dict:
        raise RowError(where, "step is no dict", f": got {step!r:.60}")
    stored, human = (
        take(step, "completions", (list, type(None)), where),
        take(step, "human_completion", (dict, type(None)), where),
    )
    chosen = take(step, "chosen_completion", (int, type(None)), where)
    alternatives = None if stored is None else tuple(_parse_alternative(each, where) for each in stored)
    if chosen is not None and not 0 <= chosen < len(alternatives or ()):
        raise RowError(
            where, "chosen_completion is no alternative", f": got {chosen} of {len(alternatives or ())}"
        )
    written = None if human is None else _parse_alternative(human, where)
    return RatedStep(
        alternatives, written, chosen, others(step, "completions", "human_completion", "chosen_completion")
    )


def _parse_alternative(stored: Any, where: str) -> Alternative:
    if type(stored) is not dict:
        raise RowError(where, "alternative is no dict", f": got {stored!r:.60}")
    text, rating = take(stored, "text", (str,), where), take(stored, "rating", (int, type(None)), where)
    if rating not in _LABELS:
        raise RowError(where, "rating is none of 1, 0, -1, null", f": got {rating}")
    if not text.strip():
        raise RowError(where, "blank alternative", f": {text!r}")
    return Alternative(text, rating, others(stored, "text", "rating"))


def _dump_alternative(alternative: Alternative) -> dict[str, Any]:
    return {"text": alternative.text, "rating": alternative.rating, **alternative.other}


# --- the tree


def _tree(steps: Sequence[RatedStep]) -> tuple[tuple[Node, ...], Counter[str]]:
    """The alternatives of the first step, each chosen one followed by those of the next."""
    n_reached = 0
    for step in steps:
        n_reached += 1
        if step.chosen is None and step.human is None:
            break
    n_unplaced = sum(len(step.alternatives or ()) for step in steps[n_reached:])
    left_out = Counter({"after a step of which nothing was chosen": n_unplaced} if n_unplaced else {})
    following: tuple[Node, ...] = ()
    for step in reversed(steps[:n_reached]):
        nodes = [Node(each.text, _LABELS[each.rating], (), each) for each in step.alternatives or ()]
        chosen: tuple[Node, ...] = ()
        if step.chosen is not None:
            node = nodes.pop(step.chosen)
            chosen = (Node(node.text, node.label, following, node.note),)
        elif step.human is not None:
            chosen = (Node(step.human.text, None, following, step.human),)
        following = (*chosen, *nodes)
    return following, left_out
