"""F3, F4 and F7: what the revision halves of the seeds say."""

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.reproduce.claims import (
    Finding,
    Floats,
    Ratio,
    difference_claim,
    percent_words,
    points_words,
    ratio_claim,
    ratio_intervals,
    rounded,
    share,
)
from benchmarks.reproduce.measured import RevisionHalf, Values
from benchmarks.revisions import BLIND, CHAINS, N_MAX, SEEING

TRAINED = 5  # places of a chain that a trajectory of training can reach: four attempts and the one after
PAPER_FLIPS = 0.38
Seeds = Sequence[RevisionHalf]
Rows = Sequence[Values]


def f3(seeds: Seeds) -> Finding:
    right = [np.array(each.right) for each in seeds]
    within = [each[:, 1:TRAINED].mean(axis=1) for each in right]
    first = difference_claim(
        f"places 2–{TRAINED} − place 1",
        [each - all_places[:, 0] for each, all_places in zip(within, right, strict=True)],
        "above",
    )
    past = difference_claim(
        f"places {TRAINED + 1}–{N_MAX} − places 2–{TRAINED}",
        [all_places[:, TRAINED:].mean(axis=1) - each for each, all_places in zip(within, right, strict=True)],
        "above",
    )
    shows = first.holds and past.holds
    rows = [["% right at place", *map(str, range(1, N_MAX + 1))]]
    for name, of in (("attempts", right), ("blind", [np.array(each.blind) for each in seeds])):
        means = np.mean([each.mean(axis=0) for each in of], axis=0)
        rows.append([name, *(f"{100 * mean:.0f}" for mean in means)])
    return Finding(
        "pass@1 along a chain of revisions",
        "pass@1 rises with each revision, past the four attempts of training (figure 6)",
        shows,
        f"{'Shows' if shows else 'Does not show in full'}: attempts at places 2–{TRAINED} are right "
        f"{points_words(first.interval)} points more often than the first one, those past the trained length "
        f"{points_words(past.interval)} points more often than these.",
        (first, past),
        {"right_by_place": [[round(float(x), 4) for x in each.mean(axis=0)] for each in right]},
        {"Right attempts by place": rows},
    )


def solved(seed: RevisionHalf, n_chains: int) -> Floats:
    """By the hierarchical vote at the largest N."""
    return np.array(seed.solved[f"{SEEING[n_chains]}, hierarchical"][N_MAX])


def f4(seeds: Seeds) -> Finding:
    claim = difference_claim(
        f"one chain of {N_MAX} − {N_MAX} in parallel",
        [solved(each, 1) - solved(each, N_MAX) for each in seeds],
        "above",
    )
    by_fifth = {
        n: [np.mean([solved(each, n)[np.array(each.fifths) == i].mean() for each in seeds]) for i in range(5)]
        for n in CHAINS
    }
    best = [max(CHAINS, key=lambda n: by_fifth[n][i]) for i in range(5)]
    ratios = [f"{n}:{N_MAX // n}" for n in best]
    rows = [["chains : attempts in each", "all", "easiest", "2", "3", "4", "hardest"]]
    for n in CHAINS:
        whole = np.mean([solved(each, n).mean() for each in seeds])
        rows.append([f"{n}:{N_MAX // n}", *(f"{100 * float(x):.1f}" for x in (whole, *by_fifth[n]))])
    others = {
        f"{BLIND[1]}, hierarchical": "one chain whose attempts see nothing",
        "policy, ORM-weighted": "policy before training, ORM-weighted",
        "policy, majority": "policy before training, majority",
    }
    for name, words in others.items():
        whole = np.mean([np.mean(each.solved[name][N_MAX]) for each in seeds])
        rows.append([words, f"{100 * float(whole):.1f}", *["–"] * 5])
    return Finding(
        "Sequential against parallel at equal N",
        "revisions in sequence are a little better than as many in parallel; the best ratio depends on "
        "difficulty (figures 6 and 7)",
        claim.holds,
        f"{'Shows' if claim.holds else 'Does not show'}: one chain of {N_MAX} minus {N_MAX} attempts in "
        f"parallel is {points_words(claim.interval)} points. Best ratio of chains to attempts by fifth of "
        f"difficulty, the easiest first (a table, no test): {', '.join(ratios)}.",
        (claim,),
        {"best_ratio_by_fifth": ratios},
        {f"% solved by the hierarchical vote at N = {N_MAX}": rows},
    )


def flips(rows: Rows) -> tuple[Floats, Floats]:
    """Of each problem: right attempts that a wrong one follows, and right attempts that any follows."""
    right = np.array(rows)
    before, after = right[:, :-1], right[:, 1:]
    return (before * (1 - after)).sum(axis=1), before.sum(axis=1)


def f7(seeds: Seeds) -> Finding:
    def shares(of: Callable[[RevisionHalf], Rows]) -> list[tuple[Ratio, int]]:
        return [(share(*flips(of(each))), len(each.fifths)) for each in seeds]

    raw, chosen, blind = (shares(of) for of in (lambda x: x.right, lambda x: x.chosen, lambda x: x.blind))
    claim = ratio_claim(
        "flips of the choice so far − flips of attempts",
        [(minus(one, other), n) for (one, n), (other, _) in zip(chosen, raw, strict=True)],
        "below",
    )
    before, after, alone = (ratio_intervals(each)[0] for each in (raw, chosen, blind))
    return Finding(
        "Right attempts that become wrong",
        f"{100 * PAPER_FLIPS:.0f} % of right attempts become wrong in the next one; choosing within the "
        "chain mends it (section 6.1)",
        claim.holds,
        f"{'Shows' if claim.holds else 'Does not show'}: {percent_words(before)} of right attempts are "
        f"followed by a wrong one ({percent_words(alone)} if attempts see nothing), and "
        f"{percent_words(after)} of right choices among the attempts so far.",
        (claim,),
        {"attempts": rounded(before), "choices": rounded(after), "independent": rounded(alone)},
    )


def minus(one: Ratio, other: Ratio) -> Ratio:
    return lambda weights: one(weights) - other(weights)
