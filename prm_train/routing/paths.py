"""What the simple and the complex path give on the problems of a search, and what they cost, replayed on
samples and searches that are there: nothing is drawn for it.

Each stored sample of a problem stands in turn for the one that the simple path draws, so that a problem shows
what a router does on average and not on one draw. Behind a vote among N samples at the same temperature it is
one of those N, and the complex path is the vote of its own block: what both need is paid for once. Methods
that stop early look at their samples in order, so only the first of each block stands for the simple path's.
A search in a tree draws for itself, and is paid for besides (its prompt, too, though the caches hold it).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prm_train.allocation.arms import ArmMaker
from prm_train.encoding.aggregation import Aggregation
from prm_train.evaluation.choosing import Chosen
from prm_train.evaluation.costs import Costs
from prm_train.evaluation.results import TokensPerProblem
from prm_train.evaluation.sample_methods import SampleMethod, sample_methods
from prm_train.metrics.difficulty import Floats
from prm_train.metrics.estimators import blocks
from prm_train.search.allocation import Choice, Unit
from prm_train.search.answer import vote_shares
from prm_train.search.routing.router import ScorerName, sureness
from prm_train.search.solve_settings import BEST_OF_N, MAJORITY
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.voting import class_of, is_right, path_scores, tree_votes

NO_SCORE = -1.0  # of a sample that states no answer: below every threshold
Costed = Mapping[Unit, Floats]  # (problem, draw), of tokens, and of FLOPs where they are known
OfSearch = tuple[Floats, Costed, Floats, Floats, Floats]  # right, cost, confidence, counts, sureness


@dataclass(frozen=True, eq=False)
class Paths:
    """All (problem, draw) but `pass_at_1` and `read` (problem,): a draw is the sample of the simple path.

    `score` is its score or `NO_SCORE`; `escalated` is the cost of both paths. `confidence` is that of the
    complex answer, as `solve` states it, 0 without one, and `sure` how sure it is (`router.sureness`).
    `n_drawn` are the samples that the complex path begins with and that a larger vote has among its own (0:
    another scorer's, or a search in a tree). `wrong_stage` is 1 where a stage's answer stood though it is
    wrong and what follows is right. `asks_large` is 1 where a large policy is asked
    behind it. `counts` is 1 for draws that stand for the simple path's, otherwise 0. `pass_at_1` is what a
    prompt says (None: nothing is estimated), `read` what reading it costs.
    """

    score: Floats
    simple_right: Floats
    simple: Costed
    complex_right: Floats
    complex: Costed
    escalated: Costed
    confidence: Floats
    counts: Floats
    sure: Floats
    n_drawn: int = 0
    wrong_stage: Floats | None = None
    asks_large: Floats | None = None
    pass_at_1: Floats | None = None
    read: Costed | None = None

    @property
    def units(self) -> list[Unit]:
        return [unit for unit in self.simple if unit in self.complex]

    def only(self, problems: NDArray[np.bool_]) -> "Paths":
        """Of some of the problems (problem,)."""

        def cut(costs: Costed) -> Costed:
            return {unit: each[problems] for unit, each in costs.items()}

        return Paths(
            self.score[problems],
            self.simple_right[problems],
            cut(self.simple),
            self.complex_right[problems],
            cut(self.complex),
            cut(self.escalated),
            self.confidence[problems],
            self.counts[problems],
            self.sure[problems],
            self.n_drawn,
            None if self.wrong_stage is None else self.wrong_stage[problems],
            None if self.asks_large is None else self.asks_large[problems],
            None if self.pass_at_1 is None else self.pass_at_1[problems],
            None if self.read is None else cut(self.read),
        )


def joined(parts: Sequence[Paths], place: Sequence[int]) -> Paths:
    """Of each problem that of the part at its `place`."""
    rows = np.arange(len(place)), np.asarray(place)

    def pick(values: Sequence[Floats]) -> Floats:
        found: Floats = np.stack(values, axis=1)[rows]
        return found

    first = parts[0]
    return replace(
        first,
        complex_right=pick([each.complex_right for each in parts]),
        complex={unit: pick([each.complex[unit] for each in parts]) for unit in first.units},
        escalated={unit: pick([each.escalated[unit] for each in parts]) for unit in first.units},
        confidence=pick([each.confidence for each in parts]),
        counts=pick([each.counts for each in parts]),
        sure=pick([each.sure for each in parts]),
        n_drawn=min(each.n_drawn for each in parts),
    )


class PathMaker:
    """Of the problems of a search, with the settings that `chosen` has and `scorer` as judge of the simple
    path.
    """

    def __init__(self, costs: Costs, chosen: Chosen, scorer: ScorerName, how: Aggregation) -> None:
        self.costs, self.results = costs, costs.results
        self.scorer: ScorerName = scorer
        self.aggregation: Aggregation = how
        self.arms = ArmMaker(costs.results, chosen, costs)
        self._methods = {each.name: each for each in sample_methods(costs.results, chosen)}
        n_draws = min(len(result.scored) for result in self.results)
        self._draws = [result.scored[:n_draws] for result in self.results]
        scores = [path_scores(draws, scorer, how) for draws in self._draws]
        self._score = np.array(
            [
                [
                    NO_SCORE if score is None or not draw.can_vote else score
                    for draw, score in zip(draws, own, strict=True)
                ]
                for draws, own in zip(self._draws, scores, strict=True)
            ]
        )
        self._right = np.array([[float(is_right(draw)) for draw in draws] for draws in self._draws])
        self._simple, self._drawn = self._alone(scorer), self._alone(None)

    def _alone(self, scorer: str | None) -> Costed:
        """What one sample costs."""
        n_prompts = [each.cost_of_samples(each.temperature).policy.n_prefilled for each in self.results]
        return _arrays(
            [
                [self.costs.of_block([draw], n_prompt, scorer) for draw in draws]
                for draws, n_prompt in zip(self._draws, n_prompts, strict=True)
            ]
        )

    def paths(self, choice: Choice) -> Paths:
        """With a choice as the complex path."""
        method = self._methods.get(choice.method)
        found = self._of_tree(choice) if method is None else self._of_samples(choice, method)
        right, cost, confidence, counts, sure = found
        is_shared = method is not None and choice.temperature == self.results[0].temperature
        more: dict[Unit, Floats] = {}
        for unit in cost:
            paid = self._drawn[unit] if choice.scorer != self.scorer else self._simple[unit]
            more[unit] = cost[unit] + self._simple[unit] - (paid if is_shared else 0.0)
        is_whole = choice.scorer == self.scorer and choice.stop_early is None
        n_drawn = choice.n if is_shared and is_whole else 0
        return Paths(
            self._score, self._right, self._simple, right, cost, more, confidence, counts, sure, n_drawn
        )

    def _of_samples(self, choice: Choice, method: SampleMethod) -> OfSearch:
        """Of the block of each draw."""
        n, (temperature, choose) = choice.n, method.at[choice.n]
        right, confidence, counts, sure = (np.zeros_like(self._right) for _ in range(4))
        costs: list[list[TokensPerProblem]] = []
        n_whole = right.shape[1] // n * n
        counts[:, : n_whole : 1 if method.n_drawn is len else n] = 1.0
        for row, result in enumerate(self.results):
            parts = blocks(result.samples[temperature], n)
            found = self.costs.of_blocks(result, n, temperature, method.scorer, method.n_drawn)
            places = [min(draw // n, len(parts) - 1) for draw in range(right.shape[1])]
            is_solved = [float(is_right(choose(block))) for block in parts]
            known = np.array([confidence_of(choice, block[: method.n_drawn(block)]) for block in parts])
            right[row] = [is_solved[place] for place in places]
            confidence[row], sure[row] = known[places].T
            costs.append([found[place] for place in places])
        return right, _arrays(costs), confidence, counts, sure

    def _of_tree(self, choice: Choice) -> OfSearch:
        block, shape = self.arms.arm(choice.method, choice.n).mean, self._right.shape
        right = np.broadcast_to(block.accuracy[:, None], shape)
        cost = {unit: np.broadcast_to(each[:, None], shape) for unit, each in block.cost.items()}
        del cost["generations"]
        spec = choice.method
        if spec not in self.results[0].trees:  # by another vote than its own
            spec = spec.removesuffix(f"_{choice.vote}")
        runs = [result.trees[spec][choice.n] for result in self.results]
        known = np.array([confidence_of(choice, run.candidates) for run in runs])
        confidence, sure = (np.broadcast_to(each[:, None], shape) for each in known.T)
        return right, cost, confidence, np.ones(shape), sure


def confidence_of(choice: Choice, candidates: Sequence[Candidate]) -> tuple[float, float]:
    """As `prm_train.search.answer.Answer` has it, the share of the vote or with `best_of_n` the best score;
    and how sure the answer is (`sureness`). Both 0 without an answer.
    """
    scores = path_scores(candidates, choice.scorer or "", choice.aggregation or "last")
    if choice.vote is not None:
        weights = tree_votes(candidates, choice.scorer or "", choice.aggregation or "last", choice.vote)
    else:
        weights = [1.0] * len(candidates) if choice.strategy == MAJORITY else scores
    voters = [
        (candidate, weight, score)
        for candidate, weight, score in zip(candidates, weights, scores, strict=True)
        if weight is not None and candidate.can_vote
    ]
    if not voters:
        return 0.0, 0.0
    if choice.strategy == BEST_OF_N:
        best = max(weight for _, weight, _ in voters)
        return best, best
    leader, share = next(iter(vote_shares([(each, weight) for each, weight, _ in voters]).items()))
    *_, score = max((each for each in voters if class_of(each[0]) == leader), key=lambda each: each[1])
    return share, sureness(share, score if choice.scorer else None, choice.strategy)


def _arrays(rows: Sequence[Sequence[TokensPerProblem]]) -> Costed:
    found: dict[Unit, Floats] = {"tokens": np.array([[each.total for each in row] for row in rows])}
    flops = [[each.flops for each in row] for row in rows]
    if all(each is not None for row in flops for each in row):
        found["flops"] = np.array(flops, dtype=np.float64)
    return found
