"""What the draws of `benchmarks.coverage` say: its figures, and the table that shows them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from data_gen.process.machine import machine_name
from prm_train.metrics.coverage import Coverage, coverage
from prm_train.metrics.estimators import N_RESAMPLES, Interval, bootstrap_interval
from prm_train.metrics.repeated_draws import best_of_repeated, random_subsets, vote_of_repeated

if TYPE_CHECKING:
    from benchmarks.coverage import CoverageConfig, DrawnProblem, DrawnText

KS = (1, 3, 10, 30, 100, 300, 1_000, 2_500, 5_000, 10_000)
MIN_SUBSETS, MAX_SUBSETS, N_DRAWS_OF_SUBSETS = 200, 2_000, 6_000  # of small k more, which cost less
FITTED_UP_TO = (100, 2_500)  # k of further fits of the laws, which foresee what all draws solve
COMMAND = "python -m benchmarks.coverage"


@dataclass
class Totals:
    """Over the problems as they pass: one value a problem, by method and k; nothing of their texts."""

    ks: tuple[int, ...]
    solved: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    variance: dict[str, dict[int, list[float]]] = field(default_factory=dict)  # of the means over subsets
    n_correct: list[int] = field(default_factory=list)
    n_unknown: int = 0
    n_texts: list[int] = field(default_factory=list)
    n_generated: int = 0
    n_distinct: int = 0
    n_scored: dict[str, int] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    peak_mb: list[int] = field(default_factory=list)
    misses: Counter[str] = field(default_factory=Counter)

    def add(self, drawn: "DrawnProblem", rng: np.random.Generator) -> None:
        texts = drawn.texts
        counts, right = [each.count for each in texts], [each.is_correct for each in texts]
        for name, scores in best_scores(texts).items():
            for k in self.ks:
                self._note(name, k, np.array([best_of_repeated(counts, scores, right, k)]))
        answers = [each.answer for each in texts]
        votes = vote_weights(texts)
        for k in self.ks:
            n_subsets = min(max(N_DRAWS_OF_SUBSETS // k, MIN_SUBSETS), MAX_SUBSETS)
            subsets = random_subsets(counts, k, n_subsets, rng)
            for name, weights in votes.items():
                self._note(name, k, vote_of_repeated(subsets, answers, weights, right))
        self.misses.update(misses_of(drawn))
        self.n_correct.append(sum(each.count for each in texts if each.is_correct))
        self.n_unknown += sum(each.count for each in texts if each.is_unknown)
        self.n_texts.append(len(texts))
        self.n_generated += drawn.n_generated
        self.n_distinct += drawn.n_distinct
        self.cpu_seconds += drawn.cpu_seconds
        self.peak_mb.append(drawn.peak_mb)
        for name, n in drawn.n_scored.items():
            self.n_scored[name] = self.n_scored.get(name, 0) + n

    def _note(self, name: str, k: int, of_subsets: np.ndarray) -> None:
        self.solved.setdefault(name, {}).setdefault(k, []).append(float(of_subsets.mean()))
        n = len(of_subsets)
        variance = float(of_subsets.var(ddof=1)) / n if n > 1 else 0.0
        self.variance.setdefault(name, {}).setdefault(k, []).append(variance)

    def largest_error(self) -> float:
        """The largest standard error that the random subsets make in a mean over problems."""
        means = [
            float(np.sqrt(np.sum(each)) / len(each))
            for of_k in self.variance.values()
            for each in of_k.values()
        ]
        return max(means)


def best_scores(texts: Sequence["DrawnText"]) -> dict[str, list[float | None]]:
    """By method the score of each text; None for what cannot be chosen."""
    can_vote = [each.answer is not None for each in texts]
    found = {"logprob": [each.logprob if able else None for each, able in zip(texts, can_vote, strict=True)]}
    for name in texts[0].scores:
        found[name] = [
            each.scores[name] if able else None for each, able in zip(texts, can_vote, strict=True)
        ]
    return found


def vote_weights(texts: Sequence["DrawnText"]) -> dict[str, list[float]]:
    """By method the weight of each text; 0 for one that a scorer could not read. Whole numbers where ties are
    to be exact.
    """
    n = sum(each.count for each in texts)
    # All others together weigh less than one that passes
    by_rule = [float(n + 1) if each.passes_rule else 1.0 for each in texts]
    found = {"majority": [1.0] * len(texts), "rule": by_rule}
    for name in texts[0].scores:
        found[f"{name}_vote"] = [each.scores[name] or 0.0 for each in texts]
    if "prm" in texts[0].scores:
        pairs = zip(texts, by_rule, strict=True)
        found["rule_prm"] = [(each.scores["prm"] or 0.0) * weight for each, weight in pairs]
    return found


def misses_of(drawn: "DrawnProblem") -> Iterator[str]:
    """What is to be counted of a problem: whether its table of `knead` is asked for, whether the PRM's vote
    among all draws is wrong, and what its favourite is where that is wrong.
    """
    has_knead = "knead" in drawn.problem.question
    if has_knead:
        yield "problems with knead"
    texts = [each for each in drawn.texts if each.answer is not None and each.scores.get("prm") is not None]
    if not texts:
        return
    votes: dict[str | None, float] = {}
    for each in texts:
        votes[each.answer] = votes.get(each.answer, 0.0) + each.count * (each.scores["prm"] or 0.0)
    elected = max(votes, key=votes.__getitem__)
    if not any(each.is_correct for each in texts if each.answer == elected):
        yield "prm_vote"
        if has_knead:
            yield "prm_vote with knead"
    favourite = max(texts, key=lambda each: each.scores["prm"] or 0.0)
    if not favourite.is_correct:
        yield "prm"
        if favourite.count == 1:
            yield "prm, drawn once"
        if favourite.passes_rule:
            yield "prm, passes the rule"


# --- figures


def figures(problems: Iterable["DrawnProblem"], config: "CoverageConfig") -> dict[str, Any]:
    ks = tuple(k for k in KS if k <= config.n_draws)
    totals, rng = Totals(ks), np.random.default_rng(0)
    for drawn in problems:
        totals.add(drawn, rng)
    n = len(totals.n_correct)
    whole = coverage(totals.n_correct, config.n_draws, ks, rng)
    passing = pass_rates(totals.n_correct, config.n_draws, ks)
    solved = {
        "pass": passing,
        **{name: np.array([of_k[k] for k in ks]) for name, of_k in totals.solved.items()},
    }
    return {
        "command": COMMAND,
        "machine": machine_name(),
        "n_problems": n,
        "n_draws": config.n_draws,
        "solved": {
            name: by_k(ks, [bootstrap_interval(each, rng) for each in of_k]) for name, of_k in solved.items()
        },
        "recovered": {
            name: by_k(ks, [ratio(each, every, rng) for each, every in zip(of_k, passing, strict=True)])
            for name, of_k in solved.items()
            if name != "pass"
        },
        "laws": [law_figures(law) for law in whole.laws],
        "foreseen": [
            foreseen(coverage(totals.n_correct, config.n_draws, few, rng), few, config.n_draws)
            for last in FITTED_UP_TO
            if len(few := tuple(k for k in ks if k <= last)) < len(ks)
        ],
        "misses_among_all_draws": dict(sorted(totals.misses.items())),
        "n_never_solved": sum(each == 0 for each in totals.n_correct),
        "largest_error_of_subsets": round(totals.largest_error(), 5),
        "n_unknown_draws": totals.n_unknown,
        "distinct_texts": {"mean": round(float(np.mean(totals.n_texts)), 1), "most": max(totals.n_texts)},
        "tokens": {
            "drawn": totals.n_generated,
            "distinct": totals.n_distinct,
            **{f"scored_{name}": each for name, each in totals.n_scored.items()},
        },
        "cpu_seconds": round(totals.cpu_seconds),
        "peak_mb": {
            "first_problem": totals.peak_mb[0],
            "half": totals.peak_mb[n // 2],
            "last": totals.peak_mb[-1],
        },
    }


def pass_rates(n_correct: Sequence[int], n: int, ks: Sequence[int]) -> np.ndarray:
    """pass@k (k, problem)."""
    from data_gen.grading.pass_at_k import pass_at_k

    return np.array([[pass_at_k(n, each, k) for each in n_correct] for k in ks])


def ratio(values: np.ndarray, every: np.ndarray, rng: np.random.Generator) -> Interval | None:
    """Of two means over problems, resampled together; None where nothing is solved in some resample."""
    places = rng.integers(len(values), size=(N_RESAMPLES, len(values)))
    below = every[places].mean(axis=1)
    if below.min() == 0:
        return None
    found = float(values.mean() / every.mean())
    low, high = np.percentile(values[places].mean(axis=1) / below, [2.5, 97.5])
    return Interval(found, min(float(low), found), max(float(high), found))


def by_k(ks: Sequence[int], intervals: Sequence[Interval | None]) -> dict[str, Any]:
    return {str(k): shown(each) for k, each in zip(ks, intervals, strict=True)}


def shown(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else {name: round(value, 4) for name, value in asdict(interval).items()}


def law_figures(law: Any) -> dict[str, Any]:
    return {
        "form": law.form,
        "a": shown(law.a),
        "b": shown(law.b),
        "n_points": law.n_points,
        "largest_residual": round(law.largest_residual, 4),
        "band": {str(k): shown(each) for k, each in law.band.items()},
    }


def foreseen(fitted: Coverage, ks: Sequence[int], n: int) -> dict[str, Any]:
    """What laws that are fitted to the k given say of `n` draws; an interval only where the band reaches."""
    laws = {
        law.form: {
            "largest_residual": round(law.largest_residual, 4),
            "solved": shown(law.band[n]) if n in law.band else round(law.at(n), 4),
        }
        for law in fitted.laws
    }
    return {"fitted_to_k_up_to": max(ks), "k": n, "laws": laws}


# --- the table

WORDS = {
    "pass": "one of k is right",
    "majority": "majority",
    "logprob": "likeliest text",
    "rule": "rule, then majority",
    "orm": "best of k by ORM",
    "orm_vote": "ORM-weighted vote",
    "prm": "best of k by PRM",
    "prm_vote": "PRM-weighted vote",
    "rule_prm": "rule, then PRM-weighted vote",
}


def table(found: dict[str, Any], only: Sequence[str] = ()) -> str:
    """Accuracy in per cent with its interval, and below it what is recovered of pass@k; at `only` some k."""
    ks = [k for k in found["solved"]["pass"] if not only or k in only]
    lines = [f"| {found['n_problems']} problems, k = | " + " | ".join(f"{int(k):,}" for k in ks) + " |"]
    lines.append("|---|" + "---|" * len(ks))
    for name, words in WORDS.items():
        if name in found["solved"]:
            lines.append(f"| {words} | " + " | ".join(cell(found["solved"][name][k]) for k in ks) + " |")
    for name, words in WORDS.items():
        if name in found["recovered"]:
            row = [cell(found["recovered"][name][k]) for k in ks]
            lines.append(f"| of pass@k: {words} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def cell(interval: dict[str, float] | None) -> str:
    if interval is None:
        return "–"
    mean, low, high = (100 * interval[name] for name in ("mean", "low", "high"))
    return f"{mean:.1f} ({low:.0f}–{high:.0f})"
