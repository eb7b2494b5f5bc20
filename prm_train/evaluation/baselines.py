"""Selections by measures that need no training (`prm_train.strategies.baselines`): what can be chosen of
each on validation problems, and the choosers.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType

from prm_train.evaluation.choosers import Chooser, Scores, best_by, relative_exp, vote_by
from prm_train.strategies.baselines import Baseline
from prm_train.strategies.candidates import Candidate

BORDA_POWERS = (0.5, 1.0, 2.0)
PERCENTAGES = (10, 90, 100)  # Fu et al. 2025 keep a tenth or nine tenths
WAYS = ("mean", "bottom", "lowest", "tail")


def measure_of(name: str, candidates: Sequence[Candidate]) -> list[float | None]:
    """A stored measure as a score; None where there is none."""
    return [candidate.confidence.get(name) for candidate in candidates]


def borda(name: str, power: float, candidates: Sequence[Candidate]) -> list[float | None]:
    """The weights of candidates that can vote by their ranks r = 1, 2, … of n: (n - r + 1) to a power (Kang
    et al. 2025). Of equal measures the earlier ranks higher.
    """
    ranked = _ranked(name, candidates)
    weights = {position: (len(ranked) - rank) ** power for rank, position in enumerate(ranked)}
    return [weights.get(position) for position in range(len(candidates))]


def kept(name: str, percent: int, candidates: Sequence[Candidate]) -> list[float | None]:
    """The measure of the candidates that can vote as their weight, of those with the highest measures; at
    least one is kept (offline DeepConf: those from the quantile on, the lowest being the quantile 0).
    """
    ranked = _ranked(name, candidates)
    n_below = -(-(100 - percent) * (len(ranked) - 1) // 100)  # rounded up
    weights = {
        position: candidates[position].confidence[name] for position in ranked[: len(ranked) - n_below]
    }
    return [weights.get(position) for position in range(len(candidates))]


def _ranked(name: str, candidates: Sequence[Candidate]) -> list[int]:
    """Positions of those that can vote, the highest measure first."""
    voters = [i for i, each in enumerate(candidates) if each.can_vote and name in each.confidence]
    return sorted(voters, key=lambda i: -candidates[i].confidence[name])


def _likelihood_choosers(way: str) -> dict[str, Chooser]:
    scores: Scores = partial(measure_of, f"chunk_likelihood {way}")
    return {
        f"{way}, best": partial(best_by, scores),
        f"{way}, weighted": partial(vote_by, relative_exp(scores)),
    }


CHOOSERS: Mapping[Baseline, Mapping[str, Chooser]] = MappingProxyType(
    {
        "self_certainty": {
            "best": partial(best_by, partial(measure_of, "self_certainty")),
            **{
                f"Borda, power {power:g}": partial(vote_by, partial(borda, "self_certainty", power))
                for power in BORDA_POWERS
            },
        },
        "deepconf": {
            f"{way}, top {percent} %": partial(vote_by, partial(kept, f"deepconf {way}", percent))
            for way in WAYS
            for percent in PERCENTAGES
        },
        "chunk_likelihood": _likelihood_choosers("mean") | _likelihood_choosers("lowest"),
    }
)


def has_measures(name: Baseline, candidates: Sequence[Candidate]) -> bool:
    """Whether the search stored the measures of a baseline."""
    return any(key.split()[0] == name for candidate in candidates for key in candidate.confidence)
