"""F1, F2, F5, F8 and early stops: what the search halves of the seeds say."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.reproduce.claims import (
    Claim,
    Finding,
    Floats,
    Ratio,
    difference_claim,
    factor_words,
    over_seeds,
    percent_words,
    points_words,
    ratio_intervals,
    rounded,
    share,
)
from benchmarks.reproduce.measure_search import LOOKAHEADS, MORE_ORM, ORM, WEIGHTED
from benchmarks.reproduce.measured import Point, SearchHalf
from benchmarks.reproduce.plan import SIZES
from prm_train.allocation.savings import cost_to_reach
from prm_train.allocation.study import BLIND, FIXED, SLACK
from prm_train.evaluation.methods import method_label
from prm_train.search.allocation import ORACLE, PROMPT, SCORE

SHOWN = (4, 16, 64)
GOAL_SAVED, GOAL_DIFFERENCE = 0.5, -0.01
LARGEST, FEW, PAPER_SAVING, LEAST_SAVING = 64, 4, 4.0, 2.0
NAMES = {
    MORE_ORM: "ORM weighted, equal tokens",
    ORM: "ORM weighted, equal solutions",
    **{spec: f"lookahead, k = {factor - 1}" for spec, (factor, _) in LOOKAHEADS.items()},
}
Seeds = Sequence[SearchHalf]


def label(method: str) -> str:
    return NAMES.get(method, method_label(method))


def values(seed: SearchHalf, method: str, n: int) -> Floats:
    return np.array(seed.solved[method][n])


def minus(seeds: Seeds, method: str, other: str, n: int, n_other: int | None = None) -> list[Floats]:
    return [values(each, method, n) - values(each, other, n_other or n) for each in seeds]


def curves(seeds: Seeds, methods: Sequence[str], ns: Sequence[int]) -> list[list[str]]:
    """% solved, mean over seeds: heads, then a row a method."""
    rows = [["% solved", *(f"N = {n}" for n in ns)]]
    for name in methods:
        cells = [
            percent_cell([values(each, name, n).mean() for each in seeds])
            if all(n in each.solved.get(name, {}) for each in seeds)
            else "–"
            for n in ns
        ]
        rows.append([label(name), *cells])
    return rows


def costs(seeds: Seeds, methods: Sequence[str]) -> list[list[str]]:
    """Policy and scorer together: heads, then a row a method."""
    rows = [["GFLOPs a problem", *(f"N = {n}" for n in SHOWN)]]
    for name in methods:
        each = [np.mean([seed.mean_flops[name][n] for seed in seeds]) / 1e9 for n in SHOWN]
        rows.append([label(name), *(f"{cell:.2f}" for cell in each)])
    return rows


def percent_cell(means: Sequence[float]) -> str:
    return f"{100 * float(np.mean(means)):.1f}"


def f1(seeds: Seeds) -> Finding:
    def gap(n: int) -> list[Floats]:
        return [values(each, WEIGHTED, n) - values(each, each.strongest_orm, n) for each in seeds]

    growth = [large - few for large, few in zip(gap(LARGEST), gap(FEW), strict=True)]
    ahead = difference_claim(f"PRM − strongest ORM, N = {LARGEST}", gap(LARGEST), "above")
    grows = difference_claim(
        f"that gap at N = {LARGEST} minus the gap at N = {FEW}", growth, "above", (-2.0, 2.0)
    )
    shows = ahead.holds and grows.holds
    strongest = ", ".join(dict.fromkeys(NAMES[each.strongest_orm] for each in seeds))
    return Finding(
        "PRM against ORM in best-of-N",
        "the PRM is ahead of the ORM, and the gap grows with N (appendix F)",
        shows,
        f"{'Shows' if shows else 'Does not show'}: at N = {LARGEST} the PRM solves "
        f"{points_words(ahead.interval)} points more than the strongest ORM ({strongest}), and the gap is "
        f"{points_words(grows.interval)} points larger than at N = {FEW}.",
        (ahead, grows),
        {"strongest_orm": [each.strongest_orm for each in seeds]},
        {
            "Weighted best-of-N": curves(seeds, (WEIGHTED, ORM, MORE_ORM, "majority"), (1, *SHOWN)),
            "Cost": costs(seeds, (WEIGHTED, ORM, "majority")),
        },
    )


def f2(seeds: Seeds) -> Finding:
    def on(fifths: Sequence[int]) -> list[Floats]:
        return [
            each[np.isin(seed.fifths, fifths)]
            for each, seed in zip(minus(seeds, "beam", WEIGHTED, FEW), seeds, strict=True)
        ]

    claims = (
        difference_claim(f"beam search − best-of-N, N = {FEW}", minus(seeds, "beam", WEIGHTED, FEW), "above"),
        difference_claim(f"…, N = {LARGEST}", minus(seeds, "beam", WEIGHTED, LARGEST), "below"),
        difference_claim(f"…, N = {FEW}, the easiest two fifths", on((0, 1)), "below"),
        difference_claim(f"…, N = {FEW}, the other three fifths", on((2, 3, 4)), "above"),
    )
    shows = all(claim.holds for claim in claims)
    few, large, easy, hard = (points_words(claim.interval) for claim in claims)
    others = ("particle_filter", "particle_filter_tuned", "beam:survivors=sampled", "dvts", "dvts_tuned")
    return Finding(
        "Beam search against best-of-N by budget and difficulty",
        "beam search is ahead at small budgets and behind at large ones; it hurts easy problems and helps "
        "hard ones (figure 3)",
        shows,
        f"{'Shows' if shows else 'Does not show in full'}: beam search minus weighted best-of-N is {few} "
        f"points at N = {FEW} and {large} at N = {LARGEST}; at N = {FEW} {easy} on the easiest two fifths of "
        f"the problems and {hard} on the others.",
        claims,
        {},
        {
            "Beside searches that keep the policy's opinion": curves(
                seeds, (WEIGHTED, "beam", *others), SIZES
            ),
            "Beam search − weighted best-of-N, points, by fifth of difficulty": by_fifth(seeds),
            "Cost": costs(seeds, (WEIGHTED, "beam", *others)),
        },
    )


def by_fifth(seeds: Seeds) -> list[list[str]]:
    rows = [["N", "easiest", "2", "3", "4", "hardest"]]
    for n in SHOWN:
        differences = minus(seeds, "beam", WEIGHTED, n)
        means = [
            np.mean(
                [
                    each[np.array(seed.fifths) == fifth].mean()
                    for each, seed in zip(differences, seeds, strict=True)
                ]
            )
            for fifth in range(5)
        ]
        rows.append([str(n), *(f"{100 * mean:+.1f}".replace("-", "−") for mean in means)])
    return rows


def saved(target: Point, curve: Sequence[Point]) -> Ratio:
    """How many times what a curve needs for the accuracy of a target the target costs; 0 in resamples where
    the curve does not reach it.
    """

    def factors(weights: Floats) -> Floats:
        reached, paid = weights @ np.array(target.accuracy), weights @ np.array(target.flops)
        rights = np.stack([weights @ np.array(each.accuracy) for each in curve], axis=1)
        costs = np.stack([weights @ np.array(each.flops) for each in curve], axis=1)
        order = np.argsort(costs, axis=1, kind="stable")
        costs, rights = (np.take_along_axis(each, order, axis=1) for each in (costs, rights))
        needed, places = cost_to_reach(reached, costs, rights)
        return np.where(places > 0, 0.0, paid / needed)

    return factors


def factor_claim(words: str, seeds: Seeds, n: int, kind: str) -> Claim:
    """That a way to allocate reaches best-of-N for a fourth of the compute."""
    ratios = [
        (saved(each.best_of_n[n], each.allocated[kind]), len(each.best_of_n[n].accuracy)) for each in seeds
    ]
    pooled, own = ratio_intervals(ratios)
    holds = pooled.mean >= PAPER_SAVING and pooled.low > LEAST_SAVING
    return Claim(words, pooled, tuple(own), holds, "factor")


def over_blind(seeds: Seeds, n: int, kind: str) -> Claim:
    """How many times more a way saves than the same methods mixed by shuffled difficulties; 1 in resamples
    where those do not reach the accuracy at all.
    """

    def ratio(seed: SearchHalf) -> Ratio:
        one, other = (saved(seed.best_of_n[n], seed.allocated[each]) for each in (kind, BLIND))

        def of(weights: Floats) -> Floats:
            known = other(weights)
            return np.where(known > 0, one(weights) / np.where(known > 0, known, 1.0), 1.0)

        return of

    pooled, own = ratio_intervals([(ratio(each), len(each.fifths)) for each in seeds])
    return Claim(f"{kind} over {BLIND}", pooled, tuple(own), pooled.low > 1, "factor")


KINDS: Mapping[str, str] = {
    ORACLE: "oracle difficulty (its draws not counted, as in the paper)",
    PROMPT: "difficulty predicted from the prompt (cost counted)",
    SCORE: "difficulty predicted from 8 scored samples (cost counted)",
    BLIND: "blind: the same methods by shuffled difficulties",
    FIXED: "the best fixed choice",
}


def f5(seeds: Seeds) -> Finding:
    claims = {kind: factor_claim(words, seeds, LARGEST, kind) for kind, words in KINDS.items()}
    lower = {kind: factor_claim(words, seeds, 16, kind) for kind, words in KINDS.items()}
    oracle, added = claims[ORACLE], over_blind(seeds, LARGEST, ORACLE)
    adds = "" if added.holds else ", which may be nothing"
    rows = [["times less compute for the accuracy of weighted best-of-N", "N = 64", "N = 16"]]
    rows += [
        [words, factor_words(claims[kind].interval), factor_words(lower[kind].interval)]
        for kind, words in KINDS.items()
    ]
    return Finding(
        "Compute-optimal search against best-of-N",
        "best-of-N's accuracy for up to 4 times less compute, with oracle and with predicted difficulty "
        "(figure 4)",
        oracle.holds,
        f"{'Shows' if oracle.holds else 'Does not show'}: by oracle difficulty the accuracy of weighted "
        f"best-of-{LARGEST} takes {factor_words(oracle.interval)} times fewer FLOPs, the PRM's included; by "
        f"difficulty predicted from the prompt {factor_words(claims[PROMPT].interval)}. The same methods by "
        f"shuffled difficulties save {factor_words(claims[BLIND].interval)}, so that knowing the difficulty "
        f"adds a factor of {factor_words(added.interval)}{adds}.",
        (oracle,),
        {
            "compute_saving": rounded(oracle.interval),
            "by_estimate": {kind: claim.to_json() for kind, claim in claims.items()},
            "by_estimate_at_16": {kind: claim.to_json() for kind, claim in lower.items()},
            "oracle_over_blind": added.to_json(),
        },
        {
            "Factor of compute saved (0 in resamples that do not reach the accuracy)": rows,
            "Within the cost of weighted best-of-N": accuracy_within(seeds),
        },
    )


def accuracy_within(seeds: Seeds) -> list[list[str]]:
    """% solved for what weighted best-of-N costs at most (and a twentieth): heads, then a row a way."""
    rows = [["% solved", *(f"N = {n}" for n in SHOWN)]]
    rows.append(
        [
            label(WEIGHTED),
            *(percent_cell([values(each, WEIGHTED, n).mean() for each in seeds]) for n in SHOWN),
        ]
    )
    for kind, words in KINDS.items():
        cells = []
        for n in SHOWN:
            found = [within(each, kind, n) for each in seeds]
            known = [each for each in found if each is not None]
            cells.append(percent_cell(known) if len(known) == len(seeds) else "–")
        rows.append([words, *cells])
    return rows


def within(seed: SearchHalf, kind: str, n: int) -> float | None:
    """Accuracy of a way with the largest budget that it keeps to; None where there is none."""
    most = SLACK * float(np.mean(seed.best_of_n[n].flops))
    means = [(np.mean(each.flops), float(np.mean(each.accuracy))) for each in seed.allocated[kind]]
    return next((right for paid, right in reversed(means) if paid <= most), None)


def f8(seeds: Seeds) -> Finding:
    claims = []
    for spec, (factor, sizes) in LOOKAHEADS.items():
        for n in sizes:
            budget = factor * n
            differences = [
                values(each, spec, n) - values(each, each.same_budget[budget], budget) for each in seeds
            ]
            others = " / ".join(dict.fromkeys(label(each.same_budget[budget]) for each in seeds))
            words = f"{label(spec)}, N = {n} − {others}, N = {budget}"
            claims.append(difference_claim(words, differences, "below"))
    shows = all(claim.holds for claim in claims)
    listed = "; ".join(f"{claim.words}: {points_words(claim.interval)}" for claim in claims)
    return Finding(
        "Lookahead at equal budget",
        "lookahead search is no better than beam search or best-of-N for the same budget N (k + 1) (figure "
        "3)",
        shows,
        f"{'Shows' if shows else 'Does not show in full'}, in points: {listed}.",
        tuple(claims),
        {"same_budget": [dict(each.same_budget) for each in seeds]},
        {
            "Lookahead": curves(seeds, (WEIGHTED, "beam", *LOOKAHEADS), SIZES),
            "What it really costs": costs(seeds, (WEIGHTED, "beam", *LOOKAHEADS)),
        },
    )


def early_stop_figures(seeds: Seeds) -> dict[str, object]:
    """Empty where some seed had no threshold that was as accurate on validation problems."""
    stops = [each.early_stop for each in seeds]
    if not all(each.accuracy for each in stops):
        return {}
    spent = [(share(np.array(each.tokens), np.array(each.all_tokens)), len(each.tokens)) for each in stops]
    pooled, own = ratio_intervals([(rest_of(ratio), n) for ratio, n in spent])
    differences = [np.array(each.accuracy) - np.array(each.all_accuracy) for each in stops]
    difference = over_seeds(differences, (-1.0, 1.0))
    is_met = pooled.mean >= GOAL_SAVED and difference.low >= GOAL_DIFFERENCE
    words = f"saves {percent_words(pooled)} of all tokens at {points_words(difference)} points"
    goal = "half of the tokens or more, lower end −1 point or more"
    return {
        "tokens_saved": rounded(pooled),
        "accuracy_difference": rounded(difference),
        "tokens_saved_by_seed": [rounded(each) for each in own],
        "thresholds": [each.threshold for each in stops],
        "sentence": f"Weighted best-of-{LARGEST} that stops by the Beta rule {words}. "
        f"The goal, {goal}, is {'met' if is_met else 'not met'}.",
    }


def rest_of(ratio: Ratio) -> Ratio:
    return lambda weights: 1 - ratio(weights)
