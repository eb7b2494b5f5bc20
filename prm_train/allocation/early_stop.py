"""What it saves to stop drawing once the answer is clear enough, replayed on samples that are there: nothing
is drawn for it.

- `beta`, `sprt`, `margin`: after each sample, by `strategies.stopping`.
- `routing`: once, after the first few: all N are drawn unless the leading answer has its share of the vote.

Thresholds are chosen on validation problems: the cheapest among those that solve no fewer of them than all N
samples do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Literal

import numpy as np

from prm_train.allocation.savings import resample_weights
from prm_train.evaluation.choosers import Scores, all_alike, best_by, scorer_scores, vote_by
from prm_train.evaluation.choosing import Chosen, has_scores, sample_counts
from prm_train.evaluation.costs import Costs
from prm_train.evaluation.sample_methods import aggregation_of
from prm_train.metrics.difficulty import Floats
from prm_train.metrics.estimators import Interval, paired_difference
from prm_train.search.answer import vote_shares
from prm_train.search.results import ProblemResult
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.stopping import n_needed
from prm_train.strategies.voting import is_right

StopRuleOrRouting = Literal["beta", "sprt", "margin", "routing"]
CONFIDENCES = (0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999)
SCORES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
MARGINS = (0.1, 0.3, 0.5, 0.7, 0.9)
SHARES = (0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


@dataclass(frozen=True)
class Threshold:
    """`confidence` is that of `beta` and `sprt`, the score of `margin`, the share of the vote of `routing`;
    `margin` is that of its rule, `first` the samples that `routing` draws first.
    """

    rule: StopRuleOrRouting
    confidence: float
    margin: float = 0.0
    first: int = 0

    def n_drawn(self, block: Sequence[Candidate], weights: Sequence[float | None]) -> int:
        if self.rule == "routing":
            return self.first if self._is_clear(block[: self.first], weights) else len(block)
        return n_needed(block, weights, self.rule, self.confidence, len(block), self.margin) or len(block)

    def _is_clear(self, few: Sequence[Candidate], weights: Sequence[float | None]) -> bool:
        voters = [
            (candidate, weight)
            for candidate, weight in zip(few, weights, strict=False)  # of more than the first
            if weight is not None and candidate.can_vote
        ]
        return bool(voters) and next(iter(vote_shares(voters).values())) >= self.confidence


@dataclass(frozen=True)
class StopPoint:
    """Of test problems: accuracy and mean tokens, policy and scorer."""

    threshold: Threshold
    accuracy: float
    tokens: float


@dataclass(frozen=True)
class EarlyStop:
    """A rule on at most `n` samples of a method. `points` are the curve of accuracy at cost on test problems,
    `all_samples` what all N give there.

    `chosen` is the threshold that validation problems chose (None: each cost accuracy there), `tokens_saved`
    its share of the tokens of all N that is saved, `accuracy_difference` its accuracy minus that of all N.
    """

    method: str
    rule: StopRuleOrRouting
    n: int
    all_samples: StopPoint
    points: tuple[StopPoint, ...]
    chosen: Threshold | None
    tokens_saved: Interval | None = None
    accuracy_difference: Interval | None = None


@dataclass(frozen=True)
class Stoppable:
    """A selection among samples of a temperature that can stop early, of a scorer or of none."""

    name: str
    scorer: str | None
    temperature: float
    scores: Scores
    rules: tuple[StopRuleOrRouting, ...]

    def choose(self, block: Sequence[Candidate]) -> Candidate | None:
        return (best_by if self.name.endswith("_vanilla") else vote_by)(self.scores, block)


def stoppable_methods(results: Sequence[ProblemResult], chosen: Chosen, n: int) -> list[Stoppable]:
    votes: tuple[StopRuleOrRouting, ...] = ("beta", "sprt", "routing")
    found = [Stoppable("majority", None, chosen.majority[n], all_alike, votes)]
    for scorer in ("prm", "orm"):
        if has_scores(results, scorer):
            for form in ("weighted", "vanilla"):
                name = f"{scorer}_{form}"
                scores = scorer_scores(scorer, aggregation_of(chosen, name, n))
                rules = (*votes, "margin") if form == "weighted" else ("margin",)
                found.append(Stoppable(name, scorer, results[0].temperature, scores, rules))
    return found


def thresholds(rule: StopRuleOrRouting, n: int) -> list[Threshold]:
    match rule:
        case "margin":
            return [Threshold(rule, score, margin) for score, margin in product(SCORES, MARGINS)]
        case "routing":
            firsts = [2**i for i in range(1, n.bit_length()) if 2**i < n]
            return [Threshold(rule, share, first=first) for first, share in product(firsts, SHARES)]
        case _:
            return [Threshold(rule, confidence) for confidence in CONFIDENCES]


class Replay:
    """A method at N on the problems of a search."""

    def __init__(self, costs: Costs, method: Stoppable, n: int) -> None:
        self.method, self.n, self.costs = method, n, costs
        self._seen: dict[tuple[int, int, int], tuple[bool, float]] = {}
        self._weights: dict[tuple[int, int], list[float | None]] = {}

    def run(
        self, n_drawn: Callable[[Sequence[Candidate], Sequence[float | None]], int]
    ) -> tuple[Floats, Floats]:
        """Accuracy and tokens (problem,), means over its blocks."""
        rows = []
        for number, result in enumerate(self.costs.results):
            samples = result.samples[self.method.temperature]
            found = []
            for first in range(0, len(samples) - self.n + 1, self.n):
                block = samples[first : first + self.n]
                if (number, first) not in self._weights:
                    self._weights[number, first] = self.method.scores(block)
                drawn = n_drawn(block, self._weights[number, first])
                found.append(self._outcome(number, first, drawn))
            rows.append(np.mean(found, axis=0))
        table = np.array(rows, dtype=np.float64)
        return table[:, 0], table[:, 1]

    def _outcome(self, number: int, first: int, drawn: int) -> tuple[bool, float]:
        key = number, first, drawn
        if key not in self._seen:
            result, t = self.costs.results[number], self.method.temperature
            block = result.samples[t][first : first + drawn]
            n_prompt = result.cost_of_samples(t).policy.n_prefilled
            paid = self.costs.of_block(block, n_prompt, self.method.scorer).total
            self._seen[key] = is_right(self.method.choose(block)), paid
        return self._seen[key]


def early_stops(validation: Costs, test: Costs, chosen: Chosen, seed: int) -> tuple[EarlyStop, ...]:
    """Of every rule on every method that can stop, at the largest N."""
    n = sample_counts(test.results)[-1]
    found = []
    for method in stoppable_methods(test.results, chosen, n):
        replays = Replay(validation, method, n), Replay(test, method, n)
        found += [early_stop(*replays, rule, seed) for rule in method.rules]
    return tuple(found)


def early_stop(validation: Replay, test: Replay, rule: StopRuleOrRouting, seed: int) -> EarlyStop:
    def whole(block: Sequence[Candidate], weights: Sequence[float | None]) -> int:
        return len(block)

    tried = thresholds(rule, test.n)
    wanted, _ = validation.run(whole)
    on_validation = [(validation.run(each.n_drawn), each) for each in tried]
    enough = [
        (paid.mean(), i)
        for i, ((right, paid), _) in enumerate(on_validation)
        if right.mean() >= wanted.mean()
    ]
    on_test = [test.run(each.n_drawn) for each in tried]
    all_right, all_paid = test.run(whole)
    result = partial(
        EarlyStop,
        test.method.name,
        rule,
        test.n,
        StopPoint(Threshold(rule, 1.0), float(all_right.mean()), float(all_paid.mean())),
        tuple(
            StopPoint(each, float(right.mean()), float(paid.mean()))
            for each, (right, paid) in zip(tried, on_test, strict=True)
        ),
    )
    if not enough:
        return result(None)
    best = min(enough)[1]
    right, paid = on_test[best]
    difference = paired_difference(right, all_right, np.random.default_rng(seed))
    return result(tried[best], saved_share(paid, all_paid, seed), difference)


def saved_share(paid: Floats, all_paid: Floats, seed: int) -> Interval:
    """The share of the tokens of all samples that is not spent; costs are (problem,)."""
    weights = resample_weights(len(paid), seed)
    low, high = np.percentile(1 - (weights @ paid) / (weights @ all_paid), [2.5, 97.5])
    return Interval(float(1 - paid.sum() / all_paid.sum()), float(low), float(high))
