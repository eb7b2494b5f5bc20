"""Revision trajectories: wrong attempts, then a right answer that resembles the last of them (Snell et al.
2024, section 6.1 and App. H).

For every right answer to a question a number m of earlier attempts is drawn uniformly from 0 to 4, or to as
many wrong attempts as there are. The wrong attempt closest to the right answer by edit distance over
characters comes last, so that there is something to revise; m - 1 others, drawn at random, come before it. A
model is trained on the right answer alone, given the question and the attempts::

    question, random wrong attempt, random wrong attempt, closest wrong attempt -> right answer                  (m
                                                                                                                 =
                                                                                                                 3)

Three things are added to the paper, each a setting. Wrong attempts must be trustworthy: where a policy is
right nine times in ten and the grader misses 1 % of that, two in five of the attempts shown last are right
ones (benchmarks/revision_rows.py), the closest being the likeliest to be right. So the second opinion of
`data_gen.rows.filters` comes first, and a question is dropped if what may still be such misses is too large a
share of its wrong attempts. Questions with many right answers are capped. And rows that keep an answer that
is already right may be added: the paper's models turn 38 % of their right answers into wrong ones.
"""  # noqa: E501

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Annotated, Literal, get_args

import numpy as np
from annotated_types import Ge, Interval, Lt
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from data_gen.records.chats import ChainPrompts, Message, chain_prompt
from data_gen.records.draw_keys import derive_seed
from data_gen.records.solutions import GradedSolution, Problem
from data_gen.rows.filters import right_and_wrong
from data_gen.rows.layouts import RevisionKind, RevisionRow

Metric = Literal["characters", "normalized"]


@dataclass(frozen=True)
class RevisionSettings:
    """How trajectories are made of a question's solutions."""

    max_attempts: Annotated[int, Ge(0)] = field(
        default=4, metadata={"help": "maximum number of earlier attempts in a trajectory"}
    )
    distance: Metric = field(
        default="characters",
        metadata={
            "help": "how the last attempt is chosen, by its distance from the right answer: edits between "
            "the "
            "two texts, or edits / length of the longer one"
        },
    )
    balanced: bool = field(
        default=True,
        metadata={
            "help": "spread the numbers of attempts evenly over a question's answers; false: draw each "
            "number by itself"
        },
    )
    max_per_question: Annotated[int, Ge(1)] | None = field(
        default=16,
        metadata={
            "help": "maximum number of right answers of a question that become trajectories; null: all, as "
            "in the paper"
        },
    )
    p_false_negative: Annotated[float, Ge(0), Lt(1)] = field(
        default=0.01, metadata={"help": "share of right answers that grading is expected to call wrong"}
    )
    floor: Annotated[float, Ge(0)] = field(
        default=4.0,
        metadata={
            "help": "drop a question unless it has more wrong attempts than this many times the right ones "
            "that "
            "grading is expected to call wrong"
        },
    )
    keep_share: Annotated[float, Interval(ge=0, le=1)] = field(
        default=0.0,
        metadata={
            "help": "share of the trajectories after which a row is added that keeps the right answer as it "
            "is"
        },
    )


@dataclass(frozen=True)
class Target:
    """A right answer, the wrong attempts by their distance to it, and how many of them it is shown after."""

    graded: GradedSolution
    characters: NDArray[np.int64]  # edits to each wrong attempt  (N)
    closest: int  # position of the closest wrong attempt under the metric, -1 if there is none
    n_attempts: int


def revision_rows(
    problem: Problem,
    usable: Sequence[GradedSolution],
    settings: RevisionSettings,
    prompts: ChainPrompts,
    seed: int,
) -> tuple[list[RevisionRow], Counter[str], "DistanceAudit"]:
    """The trajectories of one question, how many right answers were left out by reason, and the distances
    behind the choices.

    `usable` are distinct solutions with a verdict, as `usable_solutions` returns them.
    """
    right, wrong = right_and_wrong(usable)
    audit = DistanceAudit()
    if is_below_floor(len(right), len(wrong), settings):
        return [], Counter({"too few wrong attempts to trust": len(right)}), audit
    chosen = choose_answers(problem, right, settings.max_per_question, seed)
    rows = []
    for target in targets(problem, chosen, wrong, settings, seed):
        audit.add(target, wrong)
        attempts = earlier_attempts(problem, target, wrong, target.n_attempts, seed)
        kind: RevisionKind = "revision" if attempts else "first_attempt"
        rows.append(_row(problem, attempts, target, kind, prompts))
        random = _random(seed, "keep", problem, target.graded)
        if settings.max_attempts and random.random() < settings.keep_share:
            n_before = random.randint(0, min(settings.max_attempts - 1, len(wrong)))
            before = earlier_attempts(problem, target, wrong, n_before, seed)
            rows.append(_row(problem, [*before, target.graded], target, "keep", prompts))
    return rows, Counter({"over max_per_question": len(right) - len(chosen)}), audit


def is_below_floor(n_right: int, n_wrong: int, settings: RevisionSettings) -> bool:
    """Whether too many of the wrong attempts may be right: n_wrong <= floor * p / (1 - p) * n_right with p =
    p_false_negative.

    Of n right answers p n were called wrong, so p / (1 - p) are expected for each that was recognised. A
    question without wrong attempts has none to distrust; its answers become first attempts.
    """
    p = settings.p_false_negative
    return 0 < n_wrong <= settings.floor * p / (1 - p) * n_right


def choose_answers(
    problem: Problem, right: Sequence[GradedSolution], most: int | None, seed: int
) -> list[GradedSolution]:
    """At most `most` of the right answers, at random, in their order."""
    if most is None or len(right) <= most:
        return list(right)
    ranks = [derive_seed(seed, "trajectory", problem.problem_id, each.solution.text) for each in right]
    last = sorted(ranks)[most - 1]
    return [each for each, rank in zip(right, ranks, strict=True) if rank <= last]


def targets(
    problem: Problem,
    right: Sequence[GradedSolution],
    wrong: Sequence[GradedSolution],
    settings: RevisionSettings,
    seed: int,
) -> list[Target]:
    """Each right answer with its closest wrong attempt (ties go to the lower sample index) and its number of
    earlier attempts.
    """
    characters = character_distances(right, wrong)
    closest = (
        [-1] * len(right)
        if not wrong
        else choose_closest(characters, right, wrong, settings.distance).tolist()
    )
    counts = attempt_counts(problem, right, min(settings.max_attempts, len(wrong)), settings.balanced, seed)
    return [Target(*fields) for fields in zip(right, characters, closest, counts, strict=True)]


def attempt_counts(
    problem: Problem, right: Sequence[GradedSolution], most: int, balanced: bool, seed: int
) -> list[int]:
    """m for each right answer, uniform on 0..most; balanced: each run of most + 1 answers takes every value
    once, in random order.
    """
    if not balanced:
        return [_random(seed, "n_attempts", problem, each).randint(0, most) for each in right]
    counts: list[int] = []
    while len(counts) < len(right):
        block = list(range(most + 1))
        Random(derive_seed(seed, "n_attempts", problem.problem_id, len(counts))).shuffle(block)
        counts += block
    return counts[: len(right)]


def earlier_attempts(
    problem: Problem, target: Target, wrong: Sequence[GradedSolution], n_attempts: int, seed: int
) -> list[GradedSolution]:
    """The attempts in the order in which they are shown: random ones first, the closest last."""
    if not n_attempts:
        return []
    others = [each for position, each in enumerate(wrong) if position != target.closest]
    return [
        *_random(seed, "earlier attempts", problem, target.graded).sample(others, n_attempts - 1),
        wrong[target.closest],
    ]


def character_distances(
    right: Sequence[GradedSolution], wrong: Sequence[GradedSolution]
) -> NDArray[np.int64]:
    """Levenshtein distances of the texts in characters.  (right, wrong)"""
    if not right or not wrong:
        return np.zeros((len(right), len(wrong)), dtype=np.int64)
    texts = [each.solution.text for each in right], [each.solution.text for each in wrong]
    return np.asarray(cdist(*texts, scorer=Levenshtein.distance, dtype=np.int64))


def choose_closest(
    characters: NDArray[np.int64],
    right: Sequence[GradedSolution],
    wrong: Sequence[GradedSolution],
    metric: Metric,
) -> NDArray[np.int64]:
    """Position of the closest wrong attempt for each right answer, the first of equals.  (right,)"""
    if metric == "characters":
        return characters.argmin(axis=1)
    lengths = np.maximum.outer(
        [len(each.solution.text) for each in right], [len(each.solution.text) for each in wrong]
    )
    return (characters / np.maximum(lengths, 1)).argmin(axis=1)


def _row(
    problem: Problem,
    attempts: Sequence[GradedSolution],
    target: Target,
    kind: RevisionKind,
    prompts: ChainPrompts,
) -> RevisionRow:
    return RevisionRow(
        problem_id=problem.problem_id,
        prompt=chain_prompt(problem, [each.solution.text for each in attempts], prompts),
        completion=(Message("assistant", target.graded.solution.text),),
        kind=kind,
        n_attempts=len(attempts),
        edit_distance=int(target.characters[target.closest]) if kind == "revision" else None,
        sample_indices=(*(each.solution.index for each in attempts), target.graded.solution.index),
        question=problem.question,
    )


def _random(seed: int, what: str, problem: Problem, graded: GradedSolution) -> Random:
    """Noise named by what it is for and by the texts, not by the order in which solutions came."""
    return Random(derive_seed(seed, what, problem.problem_id, graded.solution.text))


# --- what the distances look like


class DistanceAudit:
    """Whether the closest attempts are closer than random ones, and how often the choice hangs on the metric.
    In characters.
    """

    # What is summed, for each number of attempts; the last five over the right answers that had two or more
    # wrong attempts to choose from.
    SUMS = ("trajectories", "with_choice", "closest", "random", "ties", "other_under_normalized")

    def __init__(self) -> None:
        self._sums: defaultdict[int, NDArray[np.float64]] = defaultdict(lambda: np.zeros(len(self.SUMS)))

    def add(self, target: Target, wrong: Sequence[GradedSolution]) -> None:
        self._sums[target.n_attempts][0] += 1
        if len(wrong) < 2:
            return
        distances = target.characters
        by_characters, by_share = (
            choose_closest(distances[None], [target.graded], wrong, metric)[0] for metric in get_args(Metric)
        )
        n_closest = int((distances == distances.min()).sum())
        self._sums[target.n_attempts][1:] += (
            1,
            distances.min(),
            distances.mean(),
            n_closest > 1,
            by_characters != by_share,
        )

    def merge(self, other: "DistanceAudit") -> None:
        for n_attempts, sums in other._sums.items():
            self._sums[n_attempts] += sums

    def table(self) -> dict[str, dict[str, float | int | None]]:
        """One entry a number of attempts, and `all`; `random_mean` is what a random choice of the last
        attempt would give.
        """
        entries = {str(n_attempts): _entry(self._sums[n_attempts]) for n_attempts in sorted(self._sums)}
        return {"all": _entry(sum(self._sums.values(), np.zeros(len(self.SUMS)))), **entries}

    def lines(self) -> list[str]:
        """The table as text, one line a number of attempts."""
        head = (
            f"{'attempts':>8} {'trajectories':>12} {'with choice':>11} {'closest':>8} {'random':>8} "
            f"{'ties':>5} {'other if normalized':>19}"
        )
        return [head, *(_line(name, entry) for name, entry in self.table().items())]


def _line(name: str, entry: dict[str, float | int | None]) -> str:
    cells = ("-" if value is None else str(value) for value in entry.values())
    return f"{name:>8} " + " ".join(
        f"{cell:>{width}}" for cell, width in zip(cells, (12, 11, 8, 8, 5, 19), strict=True)
    )


def _entry(sums: NDArray[np.float64]) -> dict[str, float | int | None]:
    n_trajectories, n_with_choice, closest, random, n_ties, n_other = sums.tolist()
    return {
        "n_trajectories": int(n_trajectories),
        "n_with_choice": int(n_with_choice),
        "closest_mean": round(closest / n_with_choice, 2) if n_with_choice else None,
        "random_mean": round(random / n_with_choice, 2) if n_with_choice else None,
        "n_ties": int(n_ties),
        "n_other_under_normalized": int(n_other),
    }
