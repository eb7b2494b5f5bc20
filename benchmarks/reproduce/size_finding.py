"""F6: search with the small policy against answers of a larger one, from reports of `compare-sizes`."""

from collections.abc import Sequence

import numpy as np

from benchmarks.reproduce.claims import Claim, Finding, Side, points_words
from prm_train.allocation.size_results import OPTIMAL, SizeReport, SizeRow
from prm_train.metrics.estimators import N_QUINTILES, Interval

TITLE = "Test-time compute against a larger model"
PAPER = (
    "on easy and medium problems test-time compute beats a model of about 14 times the parameters at equal "
    "FLOPs, where inference is little of the whole; on hard ones, or where it is much, the larger model does "
    "(figure 9)"
)
NOT_RUN = Finding(TITLE, PAPER, None, "Not run.")
LITTLE, MUCH = 0.16, 22.0  # R, as in the paper


def f6(seeds: Sequence[SizeReport]) -> Finding:
    """The compute-optimal way by oracle difficulty against greedy answers, FLOPs by architecture, each policy
    charged for the tokens that it was pretrained on.
    """
    easy = size_claim(seeds, LITTLE, 0, "above")
    hard = size_claim(seeds, MUCH, N_QUINTILES - 1, "below")
    claims = tuple(claim for claim in (easy, hard) if claim is not None)
    shows = len(claims) == 2 and all(claim.holds for claim in claims)
    ratio = np.mean([each.size_ratio for each in seeds])
    words = [
        f"at R = {load:g} on the {which} fifth "
        + (
            "nothing can be compared, since the budget pays for no answer"
            if claim is None
            else f"the small policy solves {points_words(claim.interval)} points more"
        )
        for load, which, claim in ((LITTLE, "easiest", easy), (MUCH, "hardest", hard))
    ]
    return Finding(
        TITLE,
        PAPER,
        shows,
        f"{'Shows' if shows else 'Does not show in full'}: against a policy of {ratio:.1f} times the "
        f"parameters, {' and '.join(words)}.",
        claims,
        {"size_ratio": [round(each.size_ratio, 2) for each in seeds]},
        {"Small minus large policy, points, by fifth of difficulty": table(seeds)},
    )


def row_of(report: SizeReport, load: float, fifth: int) -> SizeRow:
    [found] = [
        row
        for row in report.rows
        if (row.flops, row.pretraining, row.load, row.difficulty, row.bin, row.answer, row.way)
        == ("counted", "own", load, "oracle", fifth, "greedy", OPTIMAL)
    ]
    return found


def size_claim(seeds: Sequence[SizeReport], load: float, fifth: int, side: Side) -> Claim | None:
    """None where a seed has no difference. A seed's rows hold intervals alone, so the one over all seeds is
    the widest: from the lowest end to the highest.
    """
    found = [row_of(each, load, fifth) for each in seeds]
    intervals = tuple(each.difference for each in found if each.difference is not None)
    if len(intervals) < len(found):
        return None
    lows, highs = [each.low for each in intervals], [each.high for each in intervals]
    pooled = Interval(float(np.mean([each.mean for each in intervals])), min(lows), max(highs))
    which = {0: "easiest", N_QUINTILES - 1: "hardest"}.get(fifth, f"{fifth + 1}th")
    words = f"small − large policy, R = {load:g}, the {which} fifth"
    if side == "above":
        return Claim(words, pooled, intervals, pooled.direction > 0)
    # A small policy that has budget left where the stored N end could be better with all of it
    is_spent = all(each.is_whole_budget for each in found)
    return Claim(words, pooled, intervals, pooled.direction < 0 and is_spent)


def table(seeds: Sequence[SizeReport]) -> list[list[str]]:
    """Verdicts of all seeds where there is no difference."""
    rows = [["R", "easiest", "2", "3", "4", "hardest"]]
    of_all = [{row.load for row in each.rows if row.pretraining == "own"} for each in seeds]
    for load in sorted(set.intersection(*of_all)):  # a seed's own R is in it alone
        cells = []
        for fifth in range(N_QUINTILES):
            claim = size_claim(seeds, load, fifth, "above")
            verdicts = dict.fromkeys(row_of(each, load, fifth).verdict for each in seeds)
            cells.append(", ".join(verdicts) if claim is None else points_words(claim.interval))
        rows.append([f"{load:.3g}", *cells])
    return rows
