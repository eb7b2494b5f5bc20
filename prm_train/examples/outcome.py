"""Rows of ORM files → examples: single solutions, pairs, and solutions after earlier attempts (the verifier
of revision chains).

row                               example
prompt, completion, label         question + solution, its label
prompt, chosen, rejected          two: question + chosen, 1; question + rejected, 0
prompt (a chat), completion, …    question + earlier attempts + solution, its label (Snell et al. 2024,
                                  appendix J)
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from data_gen.files.jsonl import read_objects
from data_gen.records.chats import without_oldest
from data_gen.records.draw_keys import derive_seed
from data_gen.records.steps import split_steps
from data_gen.rows.layouts import OrmHistoryRow, OrmPair, OrmRow, read_rows
from data_gen.rows.orm import nth_pair
from data_gen.settings.errors import InputError
from prm_train.encoding.paths import ScorerEncoding
from prm_train.examples.examples import Example, ExampleSet, counted, orm_examples


class Pair(NamedTuple):
    """Two examples of one question, the right solution and the wrong one."""

    chosen: Example
    rejected: Example


OutcomeRows = list[OrmRow] | list[OrmPair] | list[OrmHistoryRow]


def read_outcome_rows(path: Path) -> OutcomeRows:
    """The rows of a file, all of the kind of the first one. Raises InputError naming file and line."""
    first = next((fields for _, fields in read_objects(path)), {})
    if "chosen" in first:
        return read_rows(path, OrmPair)
    is_history = isinstance(first.get("prompt"), list) and "n_attempts" in first
    return read_rows(path, OrmHistoryRow) if is_history else read_rows(path, OrmRow)


def outcome_examples(rows: OutcomeRows, encoding: ScorerEncoding, max_length: int) -> ExampleSet:
    """One example a solution, however many pairs it stands in; of equal rows the first counts. Raises
    InputError if none is left.
    """
    solutions: list[OrmRow] = []
    histories: list[OrmHistoryRow] = []
    for row in rows:
        if isinstance(row, OrmPair):
            solutions += _sides(row)
        elif isinstance(row, OrmHistoryRow):
            histories.append(row)
        else:
            solutions.append(row)
    if histories:
        return history_examples(histories, encoding, max_length)
    unique = list(dict.fromkeys(solutions))
    n_equal = 0 if any(isinstance(row, OrmPair) for row in rows) else len(solutions) - len(unique)
    return orm_examples(unique, encoding, max_length, n_equal)


def history_examples(rows: Sequence[OrmHistoryRow], encoding: ScorerEncoding, max_length: int) -> ExampleSet:
    """The score is read at the end of the last attempt. A row that is too long loses its oldest attempts, and
    is left out only where the question and the last attempt alone are too long. Raises InputError if no row
    is left.
    """
    examples, left_out = [], Counter[str]()
    for row in rows:
        steps = split_steps(
            "".join(message.content for message in row.completion), encoding.facts.step_separator
        )
        last = [token for step in steps for token in encoding.encode_step(step)]
        prompt = row.prompt
        while (n_tokens := len(encoding.encode_chat(prompt)) + len(last)) > max_length and len(prompt) > len(
            without_oldest(prompt)
        ):
            prompt = without_oldest(prompt)
            left_out["earlier attempts beyond max_length"] += 1
        if not steps:
            left_out["rows without a step"] += 1
        elif n_tokens > max_length:
            left_out["rows longer than max_length"] += 1
        else:
            input_ids = (*encoding.encode_chat(prompt), *last)
            examples.append(
                Example(
                    row.question, input_ids, (n_tokens - 1,), (float(row.label),), (1.0,), (len(steps) - 1,)
                )
            )
    return counted(examples, left_out, f"{len(rows)} ORM rows with history", max_length)


def pairs_within_questions(
    examples: Sequence[Example], max_per_question: int | None, seed: int
) -> list[Pair]:
    """Pairs of a right and a wrong solution of the same question, none twice; each solution about as often as
    any other of its question.

    Raises InputError if no question has both.
    """
    by_question: dict[str, tuple[list[Example], list[Example]]] = defaultdict(lambda: ([], []))
    for example in examples:
        by_question[example.question][example.targets[-1] < 0.5].append(example)
    pairs = []
    for question, (right, wrong) in by_question.items():
        order = Random(derive_seed(seed, "pairs", question))
        order.shuffle(right)
        order.shuffle(wrong)
        n_all = len(right) * len(wrong)
        n_pairs = n_all if max_per_question is None else min(n_all, max_per_question)
        pairs += [Pair(*nth_pair(right, wrong, n)) for n in range(n_pairs)]
    if not pairs:
        raise InputError(
            f"{len(examples)} solutions of {len(by_question)} questions: no question has a right and a wrong "
            "one, so no pairs"
        )
    return pairs


def pairs_of_rows(
    rows: Sequence[OrmPair], examples: Sequence[Example], encoding: ScorerEncoding
) -> list[Pair]:
    """The pairs of a file of which both sides are among the examples. Raises InputError if there are none."""
    by_key = {(example.question, example.input_ids, example.targets[-1]): example for example in examples}
    pairs = []
    for row in rows:
        chosen, rejected = (
            by_key.get((row.prompt, _encode(side, encoding), float(side.label))) for side in _sides(row)
        )
        if chosen is not None and rejected is not None:
            pairs.append(Pair(chosen, rejected))
    if not pairs:
        raise InputError(f"{len(rows)} pairs: none has both of its sides among {len(examples)} solutions")
    return pairs


def _sides(row: OrmPair) -> tuple[OrmRow, OrmRow]:
    return OrmRow(row.problem_id, row.prompt, row.chosen, True), OrmRow(
        row.problem_id, row.prompt, row.rejected, False
    )


def _encode(row: OrmRow, encoding: ScorerEncoding) -> tuple[int, ...]:
    return encoding.encode(row.prompt, split_steps(row.completion, encoding.facts.step_separator))[0]
