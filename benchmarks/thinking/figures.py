"""What docs/thinking.md asks for, of the draws of one or several seeds. A problem's accuracy is the mean over
its draws; intervals are over problems and, where there are several, seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.thinking.draws import N_READ, Drawn, DrawnProblem
from benchmarks.thinking.plan import CUTS, FORCED, NATURAL, PENALTIES
from prm_train.metrics.difficulty import difficulty_bin, fit_pass_rates, quantile_edges
from prm_train.metrics.estimators import difficulty_quintiles
from prm_train.metrics.training_seeds import interval_over_seeds

Floats = NDArray[np.float64]
Seed = Mapping[str, Sequence[DrawnProblem]]  # validation and test
CURVE = (*(f"cut {each}" for each in CUTS), NATURAL, *(f"forced {each}" for each in FORCED))
SWITCHED = (NATURAL, *(f"penalty {each:g}" for each in PENALTIES))
# What the prediction reads is drawn by then, so a shorter thought saves nothing
CHOICES = tuple(name for name in CURVE if name not in {f"cut {each}" for each in CUTS if each < N_READ})
N_BINS = 5


def figures(seeds: Sequence[Seed]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    tests = [each["test"] for each in seeds]
    return {
        "budget": {name: effort_figures(tests, name, rng) for name in CURVE},
        "penalty": {name: effort_figures(tests, name, rng) for name in SWITCHED},
        "by_difficulty": [fifth_figures(tests, fifth, rng) for fifth in range(5)],
        "adaptive": adaptive_figures(seeds, rng),
    }


def accuracy(problems: Sequence[DrawnProblem], name: str) -> Floats:
    return np.array([np.mean([each.is_right for each in problem.drawn[name]]) for problem in problems])


def tokens(problems: Sequence[DrawnProblem], name: str) -> Floats:
    return np.array([np.mean([each.n_tokens for each in problem.drawn[name]]) for problem in problems])


def effort_figures(
    tests: Sequence[Sequence[DrawnProblem]], name: str, rng: np.random.Generator
) -> dict[str, Any]:
    """Accuracy and cost of one effort, and its accuracy above the natural one's of the same problems."""
    drawn = [each for test in tests for problem in test for each in problem.drawn[name]]
    own = [accuracy(test, name) for test in tests]
    changes = [mine - accuracy(test, NATURAL) for mine, test in zip(own, tests, strict=True)]
    return {
        "accuracy": shown(own, rng),
        "above_natural": shown(changes, rng, (-1.0, 1.0)),
        "tokens": round(float(np.mean([each.n_tokens for each in drawn])), 1),
        "thought_tokens": round(float(np.mean([each.n_thought for each in drawn])), 1),
        "attempts": round(float(np.mean([len(each.are_right) for each in drawn])), 3),
        **abandoned(drawn),
    }


def abandoned(drawn: Sequence[Drawn]) -> dict[str, float]:
    """Overthinking (`lost`): of thoughts whose first attempt was right, the share whose answer is wrong.
    `gained`: of those whose first attempt was wrong, the share whose answer is right. Underthinking (TIP,
    Wang et al. 2025): of wrong answers, the mean share of the thought behind its first right attempt (0 where
    there is none).
    """
    begun_right = [each for each in drawn if each.are_right[0]]
    begun_wrong = [each for each in drawn if not each.are_right[0]]
    wasted = [wasted_share(each) for each in drawn if not each.is_right]
    return {
        "first_right": round(len(begun_right) / len(drawn), 4),
        "lost": share([not each.is_right for each in begun_right]),
        "gained": share([each.is_right for each in begun_wrong]),
        "underthinking": round(float(np.mean(wasted)), 4) if wasted else 0.0,
    }


def wasted_share(drawn: Drawn) -> float:
    for is_right, end in zip(drawn.are_right, drawn.ends, strict=True):
        if is_right:
            return 1 - end / max(drawn.n_characters, 1)
    return 0.0


def fifth_figures(
    tests: Sequence[Sequence[DrawnProblem]], fifth: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Of the natural effort, by fifths of the problems; how hard one is, other draws say."""
    chosen = []
    for test in tests:
        rates = [np.mean([each.is_right for each in problem.others]) for problem in test]
        places = np.flatnonzero(difficulty_quintiles(rates) == fifth).tolist()
        chosen.append([test[place] for place in places])
    most = f"forced {FORCED[-1]}"
    return {
        "natural": effort_figures(chosen, NATURAL, rng),
        "least": effort_figures(chosen, CURVE[2], rng),
        "most": effort_figures(chosen, most, rng),
    }


# --- effort by predicted difficulty


def adaptive_figures(seeds: Sequence[Seed], rng: np.random.Generator) -> dict[str, Any]:
    """Effort chosen by predicted difficulty against each fixed effort, at no more tokens than it took on
    validation problems. Everything is fitted and chosen on validation problems.
    """
    found = {}
    for name in CURVE[2:]:
        changes, spent, fixed = [], [], []
        for seed in seeds:
            choice = Choice(seed["validation"], float(tokens(seed["validation"], name).mean()))
            adaptive = [_one(problem, choice(problem)) for problem in seed["test"]]
            changes.append(np.array([right for right, _ in adaptive]) - accuracy(seed["test"], name))
            spent.append(np.mean([n for _, n in adaptive]))
            fixed.append(tokens(seed["test"], name).mean())
        found[name] = {
            "above_fixed": shown(changes, rng, (-1.0, 1.0)),
            "tokens": round(float(np.mean(spent)), 1),
            "tokens_of_fixed": round(float(np.mean(fixed)), 1),
        }
    return found


def features(problem: DrawnProblem) -> list[float]:
    """Known before anything is chosen: the question's length, and how sure the policy is of the first tokens
    of one thought, which every effort begins with.
    """
    return [problem.n_operations, problem.drawn[NATURAL][0].mean_logprob]


class Choice:
    """An effort for each bin of predicted difficulty, fitted and chosen on these problems."""

    def __init__(self, problems: Sequence[DrawnProblem], most_tokens: float) -> None:
        rates = accuracy(problems, NATURAL)
        self.fit = fit_pass_rates([features(each) for each in problems], rates)
        predicted = self.fit.predict([features(each) for each in problems])
        self.edges = quantile_edges(predicted, N_BINS)
        bins = np.array([difficulty_bin(each, self.edges) for each in predicted])
        table = {name: (accuracy(problems, name), tokens(problems, name)) for name in CHOICES}
        self.efforts = _within(bins, table, most_tokens)

    def __call__(self, problem: DrawnProblem) -> str:
        predicted = float(self.fit.predict([features(problem)])[0])
        return self.efforts[difficulty_bin(predicted, self.edges)]


def _within(
    bins: NDArray[np.int64], table: Mapping[str, tuple[Floats, Floats]], most_tokens: float
) -> list[str]:
    """An effort for each bin: of all ways to give them out whose mean over problems is within `most_tokens`
    the one with the highest accuracy, and of equal ones the cheapest. Where none is, the cheapest of all.
    """
    names, n = list(table), len(bins)
    right, spent = (
        np.array([[table[name][kind][bins == each].sum() / n for name in names] for each in range(N_BINS)])
        for kind in (0, 1)
    )  # (bin, effort)
    ways = np.indices((len(names),) * N_BINS).reshape(N_BINS, -1)  # (bin, way)
    solved, cost = (
        sum((values[each, ways[each]] for each in range(N_BINS)), np.zeros(ways.shape[1]))
        for values in (right, spent)
    )
    fits = cost <= most_tokens + 1e-9
    best = np.lexsort((cost, np.where(fits, -solved, 0.0), ~fits))[0]
    return [names[way] for way in ways[:, best]]


def _one(problem: DrawnProblem, name: str) -> tuple[float, float]:
    drawn = problem.drawn[name]
    return float(np.mean([each.is_right for each in drawn])), float(
        np.mean([each.n_tokens for each in drawn])
    )


# --- numbers


def share(values: Sequence[bool]) -> float:
    return round(float(np.mean(values)), 4) if values else 0.0


def shown(
    values: Sequence[Floats], rng: np.random.Generator, bounds: tuple[float, float] = (0.0, 1.0)
) -> dict[str, float]:
    interval = interval_over_seeds(values, rng, "own", bounds=bounds)
    return {name: round(value, 4) for name, value in asdict(interval).items()}
