"""A larger policy as the last step of a router: behind the complex path stands one sample of it, for
questions where that path's answer has too little confidence.

Its answers are those of a search of its own on the same problems. A token of it costs more than one of the
small policy, so with a large policy FLOPs are saved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prm_train.allocation.size_study import single_answers
from prm_train.evaluation.costs import Costs
from prm_train.metrics.difficulty import Floats
from prm_train.routing.paths import Costed, Paths
from prm_train.search.allocation import Unit

N_CONFIDENCES = 10
ALWAYS = 2.0  # as a threshold of confidences, which are at most 1


@dataclass(frozen=True, eq=False)
class LargeAnswers:
    """One sample of the large policy: how often it is right, and what it costs, both (problem,)."""

    right: Floats
    cost: Costed

    def only(self, problems: NDArray[np.bool_]) -> "LargeAnswers":
        return LargeAnswers(self.right[problems], {unit: each[problems] for unit, each in self.cost.items()})


def large_answers(costs: Costs, problem_ids: Sequence[str]) -> LargeAnswers:
    """Of these problems, in their order. Raises ValueError where the policy's FLOPs are not known."""
    by_id = {each.problem.problem_id: each for each in costs.results}
    found = single_answers(
        Costs([by_id[each] for each in problem_ids], costs.separator, costs.flops), "sampled"
    )
    return LargeAnswers(found.accuracy, {"tokens": found.tokens, "flops": found.flops})


def with_large(paths: Paths, large: LargeAnswers, large_from: float) -> Paths:
    """The same with the large policy behind the complex path."""
    asks = paths.confidence < large_from

    def more(costs: Costed) -> Mapping[Unit, Floats]:
        return {unit: costs[unit] + asks * large.cost[unit][:, None] for unit in paths.units}

    return replace(
        paths,
        complex_right=np.where(asks, large.right[:, None], paths.complex_right),
        complex=more(paths.complex),
        escalated=more(paths.escalated),
        asks_large=asks.astype(np.float64),
    )


def large_candidates(paths: Paths) -> list[float]:
    """Thresholds that are tried, ascending, up to every question that the simple path does not answer."""
    shares = np.arange(1, N_CONFIDENCES) / N_CONFIDENCES
    return [*np.quantile(paths.confidence, shares, method="higher").tolist(), ALWAYS]
