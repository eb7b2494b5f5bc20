"""Best-of-N on stored candidates at each validation of a training.

Validation compares with labels, which are noisy; best-of-N on candidates of held-out problems measures what a
scorer is for. Its cost is bounded: all that `BestOfN` does takes at most `monitoring_share` of the seconds of
the training itself. Where that does not pay for all problems it takes the first ones, and where it does not
pay for MIN_PROBLEMS it waits for a later validation. They come in a fixed order, so that evaluations are
comparable on the problems that they share.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from data_gen.files.jsonl import read_jsonl
from data_gen.records.draw_keys import derive_seed
from data_gen.records.solutions import Problem
from data_gen.records.steps import split_steps
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.encoding.aggregation import Aggregation
from prm_train.encoding.paths import ScorerEncoding
from prm_train.examples.examples import Example
from prm_train.metrics.ranking import sigmoid
from prm_train.search.failures import failures_in_words
from prm_train.search.results import read_results
from prm_train.strategies.candidates import Candidate, read_qwen_candidates
from prm_train.strategies.voting import (
    best_of,
    has_correct,
    is_right,
    majority_vote,
    path_scores,
    weighted_vote,
)
from prm_train.training.first_checks import max_length
from prm_train.training.settings import CandidateSettings

logger = logging.getLogger(__name__)
SCORER = "in training"
MIN_PROBLEMS = 20  # fewer say nothing
MARGIN = 0.8  # of what is left of the budget is spent: the next problems may take longer than those before


@dataclass(frozen=True)
class FrozenProblem:
    """The stored candidates of a held-out problem and, for each that the scorer can take, the example that
    scores it.
    """

    candidates: tuple[Candidate, ...]
    examples: tuple[Example | None, ...]


def read_candidates(path: Path) -> list[tuple[Problem, Sequence[Candidate]]]:
    """Of a results.jsonl of `prm-train search` (the scored temperature), or of a result file of the
    Qwen2.5-Math evaluation.
    """
    first = next((fields for _, fields in read_jsonl(path)), {})
    if {"runs", "samples"} & first.keys():  # samples: of an earlier version, which `read_results` refuses
        results = read_results(path)
        failed = {result.problem.problem_id: result.failure for result in results if result.failure}
        if failed:
            logger.info("%s: left out: %s", path, failures_in_words(failed, len(results)))
        return [(result.problem, result.scored) for result in results if not result.failure]
    return [(problem, candidates) for problem, candidates in read_qwen_candidates(path)]


def frozen_problems(
    config: CandidateSettings,
    kind: str,
    encoding: ScorerEncoding,
    max_length: int,
    training_questions: set[str],
) -> list[FrozenProblem]:
    """`config.n_candidate_problems` of the problems that training does not see, with `config.n_candidates`
    candidates each.

    Raises InputError if none is left.
    """
    assert config.candidates is not None
    found = read_candidates(config.candidates)
    held_out = [
        (problem, candidates) for problem, candidates in found if problem.question not in training_questions
    ]
    usable = [
        (problem, candidates) for problem, candidates in held_out if len(candidates) >= config.n_candidates
    ]
    logger.info(
        "%s: %d problems; left out %d that training sees and %d with fewer than %d candidates",
        *(
            config.candidates,
            len(found),
            len(found) - len(held_out),
            len(held_out) - len(usable),
            config.n_candidates,
        ),
    )
    if not usable:
        raise InputError(
            f"{config.candidates}: none of {len(found)} problems is held out and has {config.n_candidates} "
            "candidates"
        )
    usable.sort(key=lambda each: derive_seed("candidates", each[0].problem_id))
    as_example = partial(candidate_example, kind=kind, encoding=encoding, max_length=max_length)
    return [
        FrozenProblem(
            tuple(candidates[: config.n_candidates]),
            tuple(as_example(problem, each) for each in candidates[: config.n_candidates]),
        )
        for problem, candidates in usable[: config.n_candidate_problems]
    ]


def candidate_example(
    problem: Problem, candidate: Candidate, kind: str, encoding: ScorerEncoding, max_length: int
) -> Example | None:
    """With a place at each step for a PRM, at the last one for an ORM; None without a step, or where it is
    too long.
    """
    steps = split_steps(candidate.text, encoding.facts.step_separator)
    input_ids, ends = encoding.encode(problem.question, steps)
    if not steps or len(input_ids) > max_length:
        return None
    places = ends if kind == "prm" else ends[-1:]
    return Example(problem.question, input_ids, places, (0.0,) * len(places), (1.0,) * len(places))


def best_of_n(
    trainer: Any,
    config: CandidateSettings,
    facts: CheckpointFacts,
    encoding: ScorerEncoding,
    training: Sequence[Example],
) -> "BestOfN":
    """The callback of a PRM's or an ORM's training on these examples. Raises InputError if no candidates are
    left.
    """
    questions = {example.question for example in training}
    problems = frozen_problems(config, facts.kind, encoding, max_length(config, trainer.model), questions)
    n_rows = config.batch_size * config.n_accumulated * trainer.args.world_size
    tokens_a_step = n_rows * sum(len(example.input_ids) for example in training) / len(training)
    return BestOfN(trainer, problems, facts.aggregation, config.monitoring_share, tokens_a_step)


class BestOfN(TrainerCallback):
    """At each validation: how often best-of-N answers right, against majority and pass@N of the same
    candidates.

    `trainer.logits_of` scores them, on all processes together. `tokens_a_step` is what one optimizer step of
    them all trains on.
    """

    def __init__(
        self,
        trainer: Any,
        problems: Sequence[FrozenProblem],
        aggregation: Aggregation,
        share: float,
        tokens_a_step: float,
    ) -> None:
        self.trainer, self.problems, self.aggregation = trainer, problems, aggregation
        self.share, self.tokens_a_step = share, tokens_a_step
        self.n, self.least = len(problems[0].candidates), min(MIN_PROBLEMS, len(problems))
        self.began: float | None = None
        self.first_step = 0
        self.own_seconds = 0.0
        self.seconds_a_problem = 0.0
        self.is_measured = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.began, self.first_step = time.perf_counter(), state.global_step

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.began is None or state.global_step == self.first_step:
            return
        began, spent_before = time.perf_counter(), self.own_seconds
        training_seconds = began - self.began - self.own_seconds
        if not self.is_measured:
            self.seconds_a_problem = self._guess(training_seconds / (state.global_step - self.first_step))
        right = np.zeros((0, 4))
        while n := self._next_slice(len(right), training_seconds):
            right = np.concatenate([right, self._choices(self.problems[len(right) : len(right) + n])])
            self.own_seconds = spent_before + time.perf_counter() - began
            self.seconds_a_problem, self.is_measured = (self.own_seconds - spent_before) / len(right), True
        self._tell(right, training_seconds, logger.info if state.is_world_process_zero else logger.debug)

    def _guess(self, seconds_a_step: float) -> float:
        """Until there is a measurement: scoring a token takes a third of training on it, which goes forward
        and twice as much backward.
        """
        tokens = sum(
            len(example.input_ids)
            for problem in self.problems
            for example in problem.examples
            if example is not None
        )
        return seconds_a_step / self.tokens_a_step / 3 * tokens / len(self.problems)

    def _next_slice(self, n_done: int, training_seconds: float) -> int:
        """How many problems more the budget allows, the very first one alone to measure; the same on all
        processes.
        """
        affordable = int(MARGIN * (self.share * training_seconds - self.own_seconds) / self.seconds_a_problem)
        if n_done + affordable < self.least:
            affordable = 0
        wanted = max(self.least, n_done, affordable // 2) if self.is_measured else 1
        agreed = [max(0, min(affordable, len(self.problems) - n_done, wanted))]
        broadcast_object_list(agreed)
        return agreed[0]

    def _choices(self, problems: Sequence[FrozenProblem]) -> np.ndarray:
        """For each problem (P, 4) whether weighted best-of-N, vanilla best-of-N, majority and pass@N are
        right.
        """
        logits = iter(
            self.trainer.logits_of(
                [example for problem in problems for example in problem.examples if example is not None]
            )
        )
        rows = []
        for problem in problems:
            candidates = [
                candidate
                if example is None
                else replace(candidate, scores={SCORER: tuple(sigmoid(next(logits)).tolist())})
                for candidate, example in zip(problem.candidates, problem.examples, strict=True)
            ]
            scores = path_scores(candidates, SCORER, self.aggregation)
            chosen = (
                weighted_vote(candidates, scores),
                best_of(candidates, scores),
                majority_vote(candidates),
            )
            rows.append([*map(is_right, chosen), has_correct(candidates)])
        return np.array(rows, dtype=float)

    def _tell(self, right: np.ndarray, training_seconds: float, say: Callable[..., None]) -> None:
        seconds = {
            "time/best_of_n_seconds": round(self.own_seconds, 3),
            "time/training_seconds": round(training_seconds, 3),
        }
        if len(right) < self.least:
            say(
                "best-of-%d: skipped; %d problems take about %.2g s, and of %.2g s (%.2g of the training's) "
                "%.2g s are spent",
                *(self.n, self.least, self.least * self.seconds_a_problem),
                *(self.share * training_seconds, self.share, self.own_seconds),
            )
            self.trainer.log(seconds)
            return
        names = (
            f"best_of_{self.n}_weighted",
            f"best_of_{self.n}",
            f"majority_of_{self.n}",
            f"pass_at_{self.n}",
        )
        found = dict(zip(names, right.mean(axis=0).tolist(), strict=True))
        say(
            "on %d of %d held-out problems: %s; %.2g s so far, %.2f %% of the training's",
            *(
                len(right),
                len(self.problems),
                ", ".join(f"{name} {value:.3f}" for name, value in found.items()),
            ),
            *(self.own_seconds, 100 * self.own_seconds / training_seconds),
        )
        self.trainer.log(
            {
                **{f"eval_{name}": value for name, value in found.items()},
                "eval_n_candidate_problems": len(right),
                **seconds,
            }
        )
