"""Verdicts on whole completions as rewards: 1 for correct, 0 for incorrect, None where nobody knows."""

import asyncio
import math
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from data_gen.grading.graders import GraderName, load_grader
from data_gen.process.event_loops import run_apart
from data_gen.records.grader import Grader
from data_gen.records.sampling import FinishReason
from data_gen.records.solutions import GradedSolution, Problem, Solution
from data_gen.settings.errors import InputError
from prm_train.rewards.loaded_once import LoadedOnce
from prm_train.rewards.texts import completion_text, question_texts
from prm_train.rewards.work import Log, RewardWork, logged


class OutcomeReward:
    """A reward function of TRL: 1.0 where the grader says correct, 0.0 where incorrect, and None where its
    verdict is unknown, which TRL leaves out of the group.

    `grader` is a name of `load_grader` (`math`, `arithmetic`, `exact`, `module:function`, …; such a reward
    can be pickled) or a grader. The dataset has the column `gold_column` and, unless its prompts are
    messages, `question_column`; `other_answers` and `problem_id` are read where they are there. With
    `eos_ids`, a completion that ends with none of them was cut by the length limit, which graders ask about:
    without, all count as ended. `wrong_reasons` names unknown verdicts that are to count as 0.0, such as
    `no_answer`, if to give no answer is to be unlearnt: your decision, none by default.

    Example row: {"prompt": [{"role": "user", "content": "Start with 3: …"}], "gold_answer": "9 1 8 5"}
    """

    def __init__(
        self,
        grader: Grader | GraderName,
        *,
        eos_ids: Collection[int] = (),
        gold_column: str = "gold_answer",
        question_column: str = "question",
        wrong_reasons: Collection[str] = (),
    ) -> None:
        self.__name__ = "outcome"  # under which trainers log it
        self.gold_column, self.question_column = gold_column, question_column
        self.eos_ids, self.wrong_reasons = frozenset(eos_ids), frozenset(wrong_reasons)
        self.work = RewardWork()
        self._grader: LoadedOnce[Grader] = LoadedOnce(grader, partial(load_grader, source=""))

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] | None = None,
        log_metric: Log | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """A reward for each completion. Raises InputError without the column of gold answers."""
        with logged(self.work, self.__name__, len(completions), log_metric):
            problems = self._problems(prompts, columns)
            solutions = self._solutions(problems, completions, completion_ids)
            graded = run_apart(self._grade(problems, solutions))
            return [self._reward(each) for each in graded]

    def _problems(self, prompts: Sequence[Any], columns: dict[str, Any]) -> list[Problem]:
        if self.gold_column not in columns:
            raise InputError(
                f"dataset: has the columns {', '.join(sorted(columns)) or 'prompt alone'}; expected "
                f"{self.gold_column!r} with the gold answer of each problem"
            )
        questions = question_texts(prompts, columns, self.question_column)
        ids = columns.get("problem_id") or [str(number) for number in range(len(prompts))]
        others = columns.get("other_answers") or [()] * len(prompts)
        golds = columns[self.gold_column]
        return [
            Problem(str(problem_id), question, str(gold), tuple(other or ()))
            for problem_id, question, gold, other in zip(ids, questions, golds, others, strict=True)
        ]

    def _solutions(
        self,
        problems: Sequence[Problem],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] | None,
    ) -> list[Solution]:
        ids = completion_ids if completion_ids is not None else [()] * len(completions)
        return [
            Solution(problem.problem_id, number, completion_text(completion), self._finish(own), tuple(own))
            for number, (problem, completion, own) in enumerate(zip(problems, completions, ids, strict=True))
        ]

    def _finish(self, token_ids: Sequence[int]) -> FinishReason:
        is_cut = bool(self.eos_ids) and bool(token_ids) and token_ids[-1] not in self.eos_ids
        return FinishReason.LENGTH if is_cut else FinishReason.EOS

    @staticmethod
    def verdicts(functions: Sequence[Any], rewards: Sequence[Sequence[float]]) -> list[float | None] | None:
        """Of rewards (B, F) by some functions, NaN where one is unknown, those of the first `OutcomeReward`
        among them, whatever its weight; None without one.
        """
        places = [n for n, each in enumerate(functions) if isinstance(each, OutcomeReward)]
        if not places:
            return None
        own = [row[places[0]] for row in rewards]
        return [None if math.isnan(each) else each for each in own]

    async def _grade(self, problems: list[Problem], solutions: list[Solution]) -> list[GradedSolution]:
        grader = self._grader.get()
        return await asyncio.gather(*map(grader.grade, problems, solutions))

    def _reward(self, graded: GradedSolution) -> float | None:
        verdict = graded.verdict
        if verdict.is_unknown and verdict.reason not in self.wrong_reasons:
            self.work.unknown[verdict.reason] += 1
            return None
        return float(verdict.is_correct)
