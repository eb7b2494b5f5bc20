"""Rows for a policy that learns what a teacher found (SFT): of each question some of the solutions that were
sampled or that a search kept, whoever wrote them.

    correct     whose answer is right: rejection sampling (STaR, Zelikman et al. 2022; RFT, Yuan et al. 2023)
    best        with the highest scores of a verifier: best-of-N
    vote        of the answer with the highest sum of scores: weighted best-of-N
    majority    of the most frequent answer, without a verifier

Only `correct` reads verdicts, and an unknown one is neither right nor wrong there: it makes no row. The
others read none, so they need no gold answers; what the verdicts say of their rows is counted beside them.

Texts that are equal but for their layout are one. Of a question with more than `max_per_question` left,
`keep` says which stay.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import fsum, inf
from pathlib import Path
from random import Random
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge
from rapidfuzz.distance import Levenshtein

from data_gen.answers.vote_key import answer_key
from data_gen.records.aggregation import Aggregation, aggregate
from data_gen.records.draw_keys import derive_seed
from data_gen.records.sampling import FinishReason
from data_gen.records.solutions import GradedSolution, Problem
from data_gen.records.verdicts import CORRECT, INCORRECT, Verdict, unknown
from data_gen.rows.by_question import RecordsByQuestion
from data_gen.rows.layouts import DistillRow
from data_gen.rows.search_candidates import SAMPLES, FoundCandidate, SearchCandidates, is_search


@dataclass(frozen=True)
class DistillSettings:
    """Which solutions of a question a policy is to learn."""

    choose: Literal["correct", "best", "vote", "majority"] = field(
        default="correct",
        metadata={
            "help": "which solutions become distill rows. correct: those with a right answer; best: those "
            "with the highest scores; vote: those of the answer with the highest sum of scores; majority: "
            "those of the most frequent answer. Only the first reads verdicts"
        },
    )
    max_per_question: Annotated[int, Ge(1)] | None = field(
        default=4, metadata={"help": "maximum number of distill rows of one question; null: all"}
    )
    keep: Literal["score", "random", "spread"] = field(
        default="score",
        metadata={
            "help": "which of a question's solutions are kept where there are more. score: those with the "
            "highest scores, without scores the first drawn; random: any; spread: each as far as possible "
            "in edits from those kept before it"
        },
    )
    method: str = field(
        default=SAMPLES,
        metadata={
            "help": "whose candidates are taken from folders of `search` among the runs: samples, or a "
            "search as results.jsonl names it, as particle_filter"
        },
    )
    n: Annotated[int, Ge(1)] | None = field(
        default=None,
        metadata={
            "help": "how many samples of a search are taken, or the N of its method; null: all, the largest"
        },
    )
    scorer: Literal["prm", "orm"] = field(
        default="prm", metadata={"help": "whose scores of a search's candidates choose and keep"}
    )
    aggregation: Aggregation = field(
        default="min", metadata={"help": "how the step scores of a PRM make one score"}
    )

    def __post_init__(self) -> None:
        if self.choose == "best" and self.keep != "score":
            raise ValueError(f"keep: got {self.keep} with choose best, expected score: the best are kept")


@dataclass(frozen=True)
class TaughtSolution:
    """A solution that may be learnt. `answer_class` None: it states no answer; `score` None: nobody scored
    it; `source`: the method that gave it; `n_votes`: of how many equal paths of a search.
    """

    text: str
    answer_class: str | None
    verdict: Verdict
    is_finished: bool
    score: float | None
    source: str
    n_votes: int = 1


class Teachers:
    """The solutions of sampled runs and the candidates of searches, by question."""

    def __init__(self, runs: Sequence[Path], problems: dict[str, Problem], settings: DistillSettings) -> None:
        """Raises InputError where a run holds neither."""
        sampled = [run / "solutions.jsonl" for run in runs if not is_search(run)]
        self._settings = settings
        self._sampled = RecordsByQuestion(sampled, GradedSolution, problems)
        self._searches = [
            SearchCandidates(run, settings.method, settings.n) for run in runs if is_search(run)
        ]

    def of(self, problem: Problem) -> list[TaughtSolution]:
        """In the order of the runs and of their draws, those of sampled runs first."""
        drawn = sorted(self._sampled.of(problem), key=lambda each: each.solution.index)
        found = [search.of(problem) or () for search in self._searches]
        return [*map(_of_sample, drawn), *(self._of_candidate(each) for some in found for each in some)]

    def _of_candidate(self, candidate: FoundCandidate) -> TaughtSolution:
        settings, answer = self._settings, candidate.answer
        known = CORRECT if candidate.is_correct else INCORRECT
        scores = candidate.scores.get(settings.scorer)
        return TaughtSolution(
            candidate.text,
            None if answer is None else candidate.answer_class or answer_key(answer),
            unknown("") if candidate.is_unknown else known,
            candidate.is_finished,
            aggregate(scores, settings.aggregation) if scores else None,
            settings.method,
            candidate.multiplicity,
        )


def _of_sample(graded: GradedSolution) -> TaughtSolution:
    return TaughtSolution(
        graded.solution.text,
        None if graded.answer is None else answer_key(graded.answer),
        graded.verdict,
        graded.solution.finish_reason is not FinishReason.LENGTH,
        None,
        SAMPLES,
    )


def distill_rows(
    problem: Problem,
    taught: Sequence[TaughtSolution],
    settings: DistillSettings,
    max_characters: int | None,
    seed: int,
) -> tuple[list[DistillRow], Counter[str]]:
    """The rows of a question, and how many solutions make none by reason: truncated, too_long,
    `unknown: ...`, incorrect, no_answer, no_score, other_answer, duplicate, over_cap.
    """
    left_out = Counter[str]()
    usable = []
    for each in taught:
        fault = _fault(each, settings, max_characters)
        if fault is None:
            usable.append(each)
        else:
            left_out[fault] += 1
    chosen = _elected(usable, settings)
    left_out["other_answer"] += len(usable) - len(chosen)
    by_key: dict[str, TaughtSolution] = {}
    for each in sorted(chosen, key=lambda each: -inf if each.score is None else each.score, reverse=True):
        by_key.setdefault(text_key(each.text), each)
    distinct = list(by_key.values())
    left_out["duplicate"] += len(chosen) - len(distinct)
    kept = _kept(distinct, settings, derive_seed(seed, "distill", problem.problem_id))
    left_out["over_cap"] += len(distinct) - len(kept)
    rows = [
        DistillRow(
            problem.problem_id, problem.question, each.text, each.source, each.score, each.verdict.kind
        )
        for each in kept
    ]
    return rows, +left_out


def text_key(text: str) -> str:
    """Equal for texts that differ in blanks, empty lines and forms of one character alone."""
    lines = (" ".join(line.split()) for line in unicodedata.normalize("NFKC", text).splitlines())
    return "\n".join(line for line in lines if line)


def _fault(each: TaughtSolution, settings: DistillSettings, max_characters: int | None) -> str | None:
    if not each.is_finished:
        return "truncated"
    if max_characters is not None and len(each.text) > max_characters:
        return "too_long"
    if settings.choose == "correct":
        if each.verdict.is_unknown:
            return f"unknown: {each.verdict.reason}" if each.verdict.reason else "unknown"
        return None if each.verdict.is_correct else "incorrect"
    if each.answer_class is None:
        return "no_answer"
    return "no_score" if settings.choose != "majority" and each.score is None else None


def _elected(usable: Sequence[TaughtSolution], settings: DistillSettings) -> list[TaughtSolution]:
    """Of the answer that a vote elects, the earliest of equals; all of them where there is no vote. Every
    copy of a text votes.
    """
    if settings.choose not in ("vote", "majority") or not usable:
        return list(usable)
    votes: dict[str | None, list[float]] = defaultdict(list)
    for each in usable:
        weight = 1.0 if settings.choose == "majority" else each.score or 0.0
        votes[each.answer_class].append(weight * each.n_votes)
    elected = max(votes, key=lambda answer: fsum(votes[answer]))
    return [each for each in usable if each.answer_class == elected]


def _kept(distinct: list[TaughtSolution], settings: DistillSettings, seed: int) -> list[TaughtSolution]:
    """`distinct` are the best first."""
    most = settings.max_per_question
    if most is None or len(distinct) <= most:
        return distinct
    match settings.keep:
        case "score":
            return distinct[:most]
        case "random":
            return [distinct[i] for i in sorted(Random(seed).sample(range(len(distinct)), most))]
        case "spread":
            return [distinct[i] for i in _far_apart([each.text for each in distinct], most)]


def _far_apart(texts: Sequence[str], n: int) -> list[int]:
    """The first text, then each time the one whose nearest among those taken is farthest in edits."""
    taken = [0]
    nearest = np.full(len(texts), np.inf)
    while len(taken) < n:
        last = texts[taken[-1]]
        nearest = np.minimum(nearest, [Levenshtein.distance(last, text) for text in texts])
        nearest[taken] = -1
        taken.append(int(nearest.argmax()))
    return taken
