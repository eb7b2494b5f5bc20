"""`prm-train benchmark pairs`: how often a scorer puts the better of two solutions first.

    {"prompt": "What is 3 + 4?", "chosen": "3 + 4 = 7", "rejected": "3 + 4 = 8", "subset": "math"}

`question` or `problem` may stand for `prompt`; a solution is a text, a list of steps, or a chat whose last message
it is. Equal scores count one half. A solution of which the scorer cannot read all has no score, and loses against
one that has; two without a score are a tie. Intervals are 95 % bootstrap intervals over questions;
where all pairs agree, as wide as Wilson's.
"""  # noqa: E501

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from data_gen.files.bad_rows import Skipped
from data_gen.formats.stepwise import RowError
from data_gen.problems.row_fields import is_chat, joined_text
from data_gen.records.steps import split_steps
from prm_train.benchmarking.measures import Measured, Resamples, percent
from prm_train.benchmarking.rows import Attempt, files_of, read_file
from prm_train.benchmarking.scored import Scored
from prm_train.benchmarking.settings import BenchmarkConfig
from prm_train.metrics.estimators import Interval
from prm_train.search.solution_scores import QUESTION_FIELDS


class Pair(NamedTuple):
    row_id: str
    subset: str
    chosen: Attempt
    rejected: Attempt


@dataclass(frozen=True)
class PairsResult:
    """`n_ties` counts pairs of equal scores, `n_without_score` solutions not read to their end."""

    n_pairs: int
    n_ties: int
    n_without_score: int
    accuracy: Interval


@dataclass(frozen=True)
class Pairs:
    pairs: Sequence[Pair]
    config: BenchmarkConfig
    needs_steps: bool = False
    needs_scorer: bool = True

    @property
    def n_measured(self) -> int:
        return len(self.pairs)

    @property
    def attempts(self) -> list[Attempt]:
        return [attempt for each in self.pairs for attempt in (each.chosen, each.rejected)]

    def measure(self, found: Scored) -> Measured:
        subsets = dict.fromkeys(each.subset for each in self.pairs)
        results = {"all": self._result(self.pairs, found)}
        if len(subsets) > 1:
            results |= {
                name or "no subset": self._result([each for each in self.pairs if each.subset == name], found)
                for name in subsets
            }
        lines = [f"{'':<24}{'pairs':>8}{'ties':>7}{'accuracy':>10}   95 % interval"]
        for name, each in results.items():
            without = f", {each.n_without_score} solutions without a score" if each.n_without_score else ""
            lines.append(f"{name:<24}{each.n_pairs:>8}{each.n_ties:>7}{percent(each.accuracy, 10)}{without}")
        predictions = [
            {
                "id": each.row_id,
                "subset": each.subset,
                "which": which,
                "question": attempt.question,
                "steps": list(attempt.steps),
                "score": found.whole(attempt),
                "won": wins(found, each),
                "scores": found.listed(attempt),
            }
            for each in self.pairs
            for which, attempt in (("chosen", each.chosen), ("rejected", each.rejected))
        ]
        return Measured(results, predictions, "\n".join(lines))

    def _result(self, pairs: Sequence[Pair], found: Scored) -> PairsResult:
        won = np.array([wins(found, each) for each in pairs])
        interval = Resamples([each.chosen.question for each in pairs], self.config.seed).mean(won)
        scores = [found.whole(attempt) for each in pairs for attempt in (each.chosen, each.rejected)]
        return PairsResult(len(pairs), int((won == 0.5).sum()), scores.count(None), interval)


def wins(found: Scored, pair: Pair) -> float:
    """1 where the chosen solution scores more, 0.5 where they are equal."""
    chosen, rejected = (
        -1.0 if score is None else score for score in map(found.whole, (pair.chosen, pair.rejected))
    )
    return float(chosen > rejected) if chosen != rejected else 0.5


def read_pair(fields: Mapping[str, Any], where: str, step_separator: str) -> list[Pair]:
    """Raises RowError for a row without a question or without two solutions."""
    name = next((each for each in ("prompt", *QUESTION_FIELDS) if each in fields), None)
    if name is None:
        raise RowError(where, "no question", f"; fields present: {', '.join(fields)}"[:200])
    question = joined_text(fields, name, where)
    if not question:
        raise RowError(where, "the question is empty")
    sides = [
        Attempt(question, _steps(fields, side, step_separator, where)) for side in ("chosen", "rejected")
    ]
    if sides[0] == sides[1]:
        raise RowError(where, "chosen and rejected are the same solution")
    return [Pair(str(fields.get("id", where)), str(fields.get("subset") or ""), *sides)]


def _steps(fields: Mapping[str, Any], side: str, step_separator: str, where: str) -> tuple[str, ...]:
    if side not in fields:
        raise RowError(where, f"no field {side!r}", f"; fields present: {', '.join(fields)}"[:200])
    value = fields[side]
    if is_chat(value):
        value = value[-1]["content"]
    if isinstance(value, str):
        steps = split_steps(value, step_separator)
    elif isinstance(value, list) and all(isinstance(step, str) and step.strip() for step in value):
        steps = tuple(value)
    else:
        raise RowError(
            where, f"field {side!r} is no solution", f": got {value!r:.60}, expected a text or its steps"
        )
    if not steps:
        raise RowError(where, f"field {side!r} is blank")
    return steps


def read(config: BenchmarkConfig, skipped: Skipped) -> Pairs:
    one = partial(read_pair, step_separator=config.step_separator)
    return Pairs(
        [row for path in files_of(config.rows) for row in read_file(config, path, one, skipped)], config
    )
