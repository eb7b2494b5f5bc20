"""What an allocation is worth, as a person reads it on a terminal."""

from collections.abc import Iterator, Sequence

from prm_train.allocation.early_stop import EarlyStop, Threshold
from prm_train.allocation.results import AllocationReport, AllocationRow, BinAccuracy, Gain
from prm_train.allocation.savings import Saving
from prm_train.evaluation.findings import points
from prm_train.evaluation.methods import method_label
from prm_train.search.allocation import Allocation

NOTES = {
    "oracle": "its cost is not counted",
    "blind": "a control: that of other problems, shuffled, at no cost",
}


def report_table(report: AllocationReport, allocation: Allocation) -> str:
    rows = [
        row
        for row in report.rows
        if (row.unit, row.sharing) == (allocation.unit, allocation.sharing) and row.bins == "quantile"
    ]
    left_out = f" ({report.n_failed} that failed are left out)" if report.n_failed else ""
    lines = [
        f"{report.n_problems} test problems{left_out} in {report.n_folds} folds, {report.n_arms} choices of "
        f"method and N; budgets in {allocation.unit} a problem, {allocation.sharing}",
        "",
        *_curve_lines(report, allocation),
    ]
    for kind in dict.fromkeys(row.difficulty for row in rows):
        lines += ["", f"by {kind} difficulty ({NOTES.get(kind, 'its cost is counted')}), quantile bins"]
        lines += [line for row in rows if row.difficulty == kind for line in _row_lines(row)]
    lines += ["", f"allocation.json: by {allocation.difficulty}, the easiest bin first"]
    lines += [f"  {each.budget:>10,.4g}: {'; '.join(map(str, each.choices))}" for each in allocation.budgets]
    lines += ["", *bin_lines(report.bin_table), "", *stop_lines(report.early_stops)]
    return "\n".join(lines)


def _curve_lines(report: AllocationReport, allocation: Allocation) -> Iterator[str]:
    yield f"{method_label(report.best_of_n)}: N, {allocation.unit}, % solved"
    for point in report.curve:
        yield f"  {point.n:>4} {point.cost[allocation.unit]:>12,.4g} {100 * point.accuracy.mean:>6.1f}"


def _row_lines(row: AllocationRow) -> Iterator[str]:
    interval = row.accuracy
    yield (
        f"  {row.budget:>10,.4g}: {100 * interval.mean:.1f} % ({100 * interval.low:.0f} to "
        f"{100 * interval.high:.0f}) for {row.spent:,.4g}"
    )
    for gain in row.gains:
        yield f"              {gain_words(gain)}"


def gain_words(gain: Gain) -> str:
    difference = gain.difference
    return (
        f"{points(difference.mean)} ({points(difference.low)} to {points(difference.high)}) points on "
        f"{method_label(gain.baseline)} for {gain.spent:,.4g}; {saving_words(gain.saving)}"
    )


def saving_words(saving: Saving) -> str:
    limit = {"above": "at least ", "below": "at most ", "inside": ""}[saving.where]
    words = f"{limit}{saving.factor:.2f} times less compute ({saving.low:.2f} to {saving.high:.2f})"
    return f"{words}, unreached in {saving.share_above:.0%}" if saving.share_above else words


def bin_lines(table: Sequence[BinAccuracy]) -> Iterator[str]:
    """The most accurate methods in each bin within the largest budget; on the problems that choose them."""
    if not table:
        return
    budget = max(row.budget for row in table)
    rows = [row for row in table if row.budget == budget]
    yield f"% solved in each bin, the easiest first, by a method's best N within {budget:,.4g} (flattered)"
    for row in sorted(rows, key=lambda row: -sum(each or 0.0 for each in row.accuracy))[:12]:
        cells = (
            f"{100 * right:>5.1f} ({n})" if right is not None else "–"
            for right, n in zip(row.accuracy, row.n, strict=True)
        )
        yield f"  {method_label(row.method):<44}" + "".join(f"{cell:>12}" for cell in cells)


def stop_lines(stops: Sequence[EarlyStop]) -> Iterator[str]:
    yield "stopping early, thresholds chosen on validation: tokens saved, accuracy against all samples"
    for stop in stops:
        head = f"  {method_label(stop.method)}, {stop.rule}, N = {stop.n}: "
        saved, difference = stop.tokens_saved, stop.accuracy_difference
        if stop.chosen is None or saved is None or difference is None:
            yield head + "no threshold was as accurate on validation"
            continue
        yield (
            f"{head}{saved.mean:.0%} ({saved.low:.0%} to {saved.high:.0%}) at "
            f"{threshold_words(stop.chosen)}; {points(difference.mean)} ({points(difference.low)} to "
            f"{points(difference.high)}) points"
        )


def threshold_words(threshold: Threshold) -> str:
    words = f"{threshold.confidence:g}"
    if threshold.rule == "margin":
        return f"{words}, margin {threshold.margin:g}"
    return f"{words} of the first {threshold.first}" if threshold.rule == "routing" else words
