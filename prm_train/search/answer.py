"""The answer to a question that nobody has graded: what was voted for, by which share, and at what cost."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from prm_train.search.budget import Spent
from prm_train.search.results import Cost
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.trace import TraceNode
from prm_train.strategies.voting import class_of


@dataclass(frozen=True)
class EstimatedDifficulty:
    """Of a question, before it was answered: pass@1, and the bin of an allocation, 0 being the easiest."""

    pass_at_1: float
    bin: int


@dataclass(frozen=True)
class RouteTaken:
    """How a router (`prm_train.search.routing`) answered: by which `path` in the end, and why that one.

    `untried`: no question takes the simple path. `hard`: the estimate `pass_at_1` was too low for it (None:
    no estimate is made). `sure`: the `score` of the simple answer was high enough. `unsure`: it was too low.
    `unanswered`: the sample stated no answer. `disputed`: the complex answer's `confidence` was too low, and
    the large policy was asked.
    """

    path: Literal["simple", "complex", "large"]
    reason: Literal["untried", "sure", "hard", "unsure", "unanswered", "disputed"]
    pass_at_1: float | None = None
    score: float | None = None
    confidence: float | None = None  # of the complex answer, where a large policy could be asked
    n_searches: int | None = None  # of a complex path with stages: how many of its searches were done


@dataclass(frozen=True)
class Answer:
    """What was found. `answer` is None where no path that was finished states one.

    `confidence` is the answer's share of the vote, in [0, 1]; with `best_of_n` it is the score of the chosen
    sample. `shares` are those of all answers, the heaviest first. `steps`, their `scores`, the whole `text`
    and its `n_tokens` are those of the heaviest path that states the answer. `unsolved` says why there is no
    answer.

    `stopped` names the rule or the budget that ended the search before all of `n` were drawn (None: neither
    did), `n_voters` how many samples or paths the answer was looked for among. With a budget, `spent` is what
    was spent, on draws that did not vote, too.
    """

    question_id: str
    question: str
    answer: str | None
    confidence: float
    shares: Mapping[str, float]
    steps: tuple[str, ...]
    scores: tuple[float, ...]
    strategy: str
    n: int
    cost: Cost
    unsolved: str | None = None
    trace: tuple[TraceNode, ...] = ()
    stopped: str | None = None
    n_voters: int = 0
    spent: Spent | None = None
    difficulty: EstimatedDifficulty | None = None  # by which an allocation chose the strategy
    text: str = ""
    n_tokens: int = 0
    route: RouteTaken | None = None
    large_cost: Cost | None = None  # of a router's large policy, which `cost` does not count


def named_shares(voters: Sequence[tuple[Candidate, float]]) -> dict[str, float]:
    """`vote_shares` by the first candidate's answer of each class."""
    first = {class_of(candidate): candidate.answer or "" for candidate, _ in reversed(voters)}
    return {first[key]: share for key, share in vote_shares(voters).items()}


def vote_shares(voters: Sequence[tuple[Candidate, float]]) -> dict[str, float]:
    """By class of answers its share of the vote, the heaviest first, ties in the order of the candidates.
    Where all weights are 0 nothing is known, and all count alike.
    """
    votes: dict[str, list[float]] = {}
    is_flat = not any(weight for _, weight in voters)
    for candidate, weight in voters:
        votes.setdefault(class_of(candidate), []).append(1.0 if is_flat else weight)
    sums = {key: math.fsum(weights) for key, weights in votes.items()}
    total = math.fsum(sums.values())
    return {key: sums[key] / total for key in sorted(sums, key=lambda key: -sums[key])}
