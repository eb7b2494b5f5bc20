"""A comparison of sizes as a person reads it on a terminal: with FLOPs that are counted, against greedy
answers; sizes.json has all.
"""

from collections.abc import Iterator, Sequence

from prm_train.allocation.size_results import OPTIMAL, PolicyFacts, Pretraining, SizeReport, SizeRow
from prm_train.evaluation.methods import method_label
from prm_train.metrics.estimators import N_QUINTILES

TOKENS_WORDS: dict[Pretraining, str] = {
    "same": "both pretrained on as many tokens",
    "own": "each pretrained on its own number of tokens",
}
SIGNS = {"small": "S", "large": "L", "level": "=", "unreached": "?"}
LEGEND = (
    "points, small minus large, with 95 % intervals: S small is better, L large is, = level, ? the budget "
    "pays for more than was stored, – for nothing"
)


def size_table(report: SizeReport) -> str:
    lines = [
        f"{report.n_problems} problems; {_size(report.large)} parameters that answer once against "
        f"{_size(report.small)}, {report.size_ratio:.1f} times fewer, that search, their scorer included",
        _pretraining(report),
        LEGEND,
    ]
    shown = [row for row in report.rows if (row.flops, row.answer) == ("counted", "greedy")]
    for tokens in dict.fromkeys(row.pretraining for row in shown):
        lines += ["", f"FLOPs by architecture, large answering greedily, {TOKENS_WORDS[tokens]}"]
        lines += _lines([row for row in shown if row.pretraining == tokens])
    return "\n".join([*lines, "", _otherwise(report.rows)])


def _size(policy: PolicyFacts) -> str:
    return f"{policy.n_parameters / 1e6:,.2f} M"


def _pretraining(report: SizeReport) -> str:
    small, large = (each.n_pretraining_tokens for each in (report.small, report.large))
    if not small or not large or report.own_load is None:
        return "pretraining tokens are not known, so those of both count as equal"
    words = f"R = {report.own_load:.4g} where these problems are answered once"
    return f"pretraining tokens: small {small:,}, large {large:,}; {words}"


def _otherwise(rows: Sequence[SizeRow]) -> str:
    """How much hangs on how FLOPs are counted."""
    by_kind = [[row.verdict for row in rows if row.flops == kind] for kind in ("parameters", "counted")]
    n_other = sum(one != other for one, other in zip(*by_kind, strict=True))
    return f"with 6 N and 2 N FLOPs a token instead, {n_other} of {len(by_kind[0])} verdicts are others"


def _lines(rows: Sequence[SizeRow]) -> Iterator[str]:
    """For each way and estimate of difficulty a line for each R: all problems, then the fifths."""
    titles = ("all", "easiest", "2", "3", "4", "hardest")
    yield f"  {'R':>9} {'budget':>9} {'times':>6}" + "".join(f"{title:>20}" for title in titles)
    for way, difficulty in sorted(dict.fromkeys((row.way, row.difficulty) for row in rows), key=_is_curve):
        yield f"  {OPTIMAL if way == OPTIMAL else method_label(way)}, fifths by {difficulty} difficulty"
        own = [row for row in rows if (row.way, row.difficulty) == (way, difficulty)]
        for load in dict.fromkeys(row.load for row in own):
            by_bin = {row.bin: row for row in own if row.load == load}
            cells = (_cell(by_bin[place]) for place in (None, *range(N_QUINTILES)))
            whole = by_bin[None]
            yield f"  {load:>9.4g} {whole.budget:>9.3g} {whole.factor:>6.4g}" + "".join(
                f"{c:>20}" for c in cells
            )


def _is_curve(head: tuple[str, str]) -> tuple[bool, str]:
    return head[0] != OPTIMAL, head[0]


def _cell(row: SizeRow) -> str:
    found = row.difference
    if found is None:
        return "–"
    mean, low, high = (f"{100 * each:+.0f}".replace("-", "−") for each in (found.mean, found.low, found.high))
    return f"{mean} ({low} to {high}) {SIGNS[row.verdict]}"
