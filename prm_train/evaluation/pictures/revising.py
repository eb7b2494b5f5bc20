"""Pictures of runs with revisions: what each ratio of sequential to parallel attempts solves by difficulty
(Snell et al. 2024, figure 7), and pass@1 along a chain (figure 6).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import gcd

from prm_train.evaluation.pictures.charts import Axis, Series, linear_axis
from prm_train.evaluation.pictures.plots import Plot, accuracy_axis, line_plot
from prm_train.evaluation.pictures.tiles import Grid, Tile, grid_drawing, shades
from prm_train.evaluation.results import FIFTHS, RevisionChains, SearchReport
from prm_train.metrics.estimators import Interval

LEAST_SPAN = 0.1  # of accuracies that the shades tell apart: less is hardly more than noise
CHAIN_STYLES = (
    "c-revisions",
    "c-vote m-square dashed",
    "c-beam m-diamond long",
    "c-logprob m-triangle dotted",
)
MAX_TICKS = 16


def ratio_maps(report: SearchReport) -> Iterator[tuple[str, Grid]]:
    """For each way of showing attempts that was run at two ratios or more, at its largest N: its name and the
    map of accuracies.
    """
    if report.revisions is None:
        return
    for group in dict.fromkeys(each.group for each in report.revisions.chains):
        same = [each for each in report.revisions.chains if each.group == group]
        n = max(n for each in same for n in report.accuracy[each.method])
        # More chains than attempts are as many as attempts
        fitting = [
            replace(each, n_chains=min(each.n_chains, n))
            for each in same
            if n in report.accuracy[each.method]
        ]
        found = {each.n_chains: each for each in sorted(fitting, key=lambda each: each.n_chains)}
        if len(found) > 1:
            yield group, _ratio_map(report, list(found.values()), n)


def _ratio_map(report: SearchReport, chains: Sequence[RevisionChains], n: int) -> Grid:
    columns = [_cells(report, each.method, n) for each in chains]
    rows = list(zip(*columns, strict=True))
    gaps = [max(i.mean for i in row) - min(i.mean for i in row) for row in rows]
    span = max(*gaps, LEAST_SPAN)
    return Grid(
        title=f"Accuracy by ratio of sequential to parallel attempts at N = {n}",
        row_title="",
        column_title="sequential : parallel attempts",
        rows=("all problems", *FIFTHS)[: len(rows)],
        columns=tuple(
            (ratio(n, each.n_chains), f"{each.n_chains} × {n / each.n_chains:.3g}") for each in chains
        ),
        tiles=tuple(tuple(_tiles(row, chains, span)) for row in rows),
    )


def ratio(n: int, n_chains: int) -> str:
    """Attempts in a chain (their mean, where chains differ by one) to chains, in lowest terms."""
    shared = gcd(n, n_chains**2)
    return f"{n // shared}:{n_chains**2 // shared}"


def _cells(report: SearchReport, method: str, n: int) -> tuple[Interval, ...]:
    """On all problems, and on each fifth of them where that is known."""
    return (report.accuracy[method][n], *report.accuracy_by_quintile.get(method, {}).get(n, ()))


def _tiles(row: Sequence[Interval], chains: Sequence[RevisionChains], span: float) -> Iterator[Tile]:
    best = max(interval.mean for interval in row)
    strengths = shades([interval.mean for interval in row], span)
    for interval, each, strength in zip(row, chains, strengths, strict=True):
        mean, low, high = (100 * end for end in (interval.mean, interval.low, interval.high))
        yield Tile(
            (f"{mean:.1f}", f"{low:.0f}–{high:.0f}"),
            "c-revisions",
            strength,
            f"{each.n_chains} chains: {mean:.1f} % ({low:.1f} to {high:.1f})",
            interval.mean == best,
            (interval.mean, interval.low, interval.high),
        )


def grid_plot(grid: Grid) -> Plot:
    """A map for a wide and for a narrow page."""
    wide, narrow = (grid_drawing(grid, width, names) for width, names in ((640, 110), (358, 60)))
    return Plot(wide, narrow, (), "", cells=grid.table)


def chain_plot(report: SearchReport) -> Plot | None:
    """The share of right attempts by their place in the longest chains of each way of showing attempts; None
    without chains of two or more.
    """
    if report.revisions is None:
        return None
    longest: dict[str, RevisionChains] = {}
    for each in report.revisions.chains:
        known = longest.get(each.group)
        if known is None or len(each.right_by_place) > len(known.right_by_place):
            longest[each.group] = each
    lines = [
        Series(label, style, tuple((float(i), at) for i, at in enumerate(each.right_by_place, 1)))
        for (label, each), style in zip(_labelled(longest), CHAIN_STYLES * len(longest), strict=False)
        if len(each.right_by_place) > 1
    ]
    if not lines:
        return None
    y = replace(accuracy_axis(lines), title="attempts that are right, %")
    x, n_trained = _place_axis(lines), report.revisions.n_trained
    if n_trained is not None and n_trained < x.high:
        x = replace(x, marks=((n_trained + 1.0, f"trained after up to {n_trained} attempts"),))
    return line_plot("Share of right attempts by place in a chain", lines, x, y, "place")


def _labelled(longest: dict[str, RevisionChains]) -> Iterator[tuple[str, RevisionChains]]:
    for group, each in longest.items():
        given = group.partition(":")[2].replace(":", ", ")
        yield ("blind chain" if each.n_shown == 0 else f"chain{f', {given}' if given else ''}"), each


def _place_axis(lines: Sequence[Series]) -> Axis:
    last = max(len(one.points) for one in lines)
    if last > MAX_TICKS:
        return linear_axis((0.0, float(last)), "place in the chain")
    return Axis(1, last, tuple((float(i), str(i)) for i in range(1, last + 1)), "place in the chain")
