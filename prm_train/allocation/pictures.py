"""The pictures of an allocation: which method each bin of difficulty gets within each budget, what that
solves at its cost beside best-of-N, and what stopping early solves at its cost.
"""

from collections.abc import Iterator, Sequence

from prm_train.allocation.early_stop import EarlyStop
from prm_train.allocation.results import AllocationReport, AllocationRow
from prm_train.allocation.study import BLIND, FIXED
from prm_train.allocation.tables import threshold_words
from prm_train.evaluation.findings import short_count
from prm_train.evaluation.methods import method_label
from prm_train.evaluation.pictures.charts import Series, decade_axis
from prm_train.evaluation.pictures.figures import Figure, figure_of
from prm_train.evaluation.pictures.plots import Layout, Plot, accuracy_axis, line_plot
from prm_train.evaluation.pictures.styles import style_of
from prm_train.evaluation.pictures.tiles import Grid, Tile, grid_drawing, wrapped
from prm_train.metrics.difficulty import ABSOLUTE_EDGES
from prm_train.metrics.estimators import Interval
from prm_train.search.allocation import ORACLE, PROMPT, SCORE, Allocation

WIDE, NARROW = (800.0, 100.0), (358.0, 54.0)  # widths of a map, and of the names of its rows
SMALL_CHARACTER = 6.0  # width of one in a tile
STRENGTH = 0.28  # of the colour of a tile, so that its text can be read
STOP_LAYOUT = Layout(392, 300, 74)
ESTIMATES = {  # with the style of its line
    ORACLE: "c-plain m-down dotted",
    SCORE: "c-prm",
    PROMPT: "c-particle m-triangle",
    BLIND: "c-dvts m-diamond longdot",
}
RULES = {
    "beta": "c-prm",
    "sprt": "c-orm m-diamond dashed",
    "margin": "c-beam m-square scatter",
    "routing": "c-logprob m-triangle scatter",
}


def rows_like(report: AllocationReport, allocation: Allocation) -> list[AllocationRow]:
    """The rows of a report in the bins, the sharing and the unit of an allocation, for every estimate."""
    bins = "absolute" if tuple(allocation.edges) == tuple(ABSOLUTE_EDGES) else "quantile"
    way = bins, allocation.sharing, allocation.unit
    return [row for row in report.rows if (row.bins, row.sharing, row.unit) == way]


def estimates(rows: Sequence[AllocationRow], allocation: Allocation) -> list[str]:
    """The estimates of difficulty of some rows, that of the allocation first."""
    kinds = dict.fromkeys(row.difficulty for row in rows)
    return sorted(kinds, key=lambda kind: kind != allocation.difficulty)


def method_and_n(choice: str) -> tuple[str, str]:
    """Of a choice as a report tells it: `dvts:width=2 16`."""
    method, _, n = choice.rpartition(" ")
    return method, n


def letters(rows: Sequence[AllocationRow]) -> dict[str, str]:
    """A letter (then two) for each method that some bin gets, in the order of the map."""
    names = dict.fromkeys(method_and_n(choice)[0] for row in rows for choice in row.by_bin)
    return {name: chr(65 + i % 26) * (1 + i // 26) for i, name in enumerate(names)}


def allocation_map(rows: Sequence[AllocationRow], width: float, names: float, by_letter: bool) -> Grid:
    """Of the rows of one estimate: bins from the easiest, budgets from the smallest. `by_letter` has room for
    a letter alone.
    """
    columns = sorted(rows, key=lambda row: row.budget)
    known, n_bins = letters(columns), len(columns[0].by_bin)
    n_characters = int((width - names) / len(columns) / SMALL_CHARACTER) - 1
    return Grid(
        title=f"Method for each bin of {columns[0].difficulty} difficulty within each budget",
        row_title="bin",
        column_title=f"budget, {columns[0].unit} a problem; below: % solved",
        rows=tuple(_bin_names(n_bins)),
        columns=tuple(
            (short_count(row.budget), f"{100 * row.accuracy.mean:.1f}{'' if by_letter else ' %'}")
            for row in columns
        ),
        tiles=tuple(
            tuple(_tile(row.by_bin[number], known, n_characters, by_letter) for row in columns)
            for number in range(n_bins)
        ),
        value_names=("method", "n"),
    )


def _bin_names(n_bins: int) -> Iterator[str]:
    for number in range(n_bins):
        yield "easiest" if number == 0 else "hardest" if number == n_bins - 1 else str(number + 1)


def _tile(choice: str, known: dict[str, str], n_characters: int, by_letter: bool) -> Tile:
    method, n = method_and_n(choice)
    label = method_label(method)
    words = wrapped(label, n_characters, 2)
    if any(word.endswith("…") for word in words):  # the legend has its settings
        words = wrapped(label.partition(" (")[0], n_characters, 2)
    texts = (known[method], n) if by_letter else (f"{known[method]}, N = {n}", *words)
    return Tile(texts, style_of(method).split()[0], STRENGTH, f"{label}, N = {n}", values=(method, n))


def map_plot(rows: Sequence[AllocationRow]) -> Plot:
    """The map of one estimate, by letters that `map_legend` tells; on a wide page by names, too."""
    wide, narrow = (
        allocation_map(rows, *size, by_letter) for size, by_letter in ((WIDE, False), (NARROW, True))
    )
    return Plot(grid_drawing(wide, *WIDE), grid_drawing(narrow, *NARROW), (), "", cells=wide.table)


def map_legend(rows: Sequence[AllocationRow]) -> list[tuple[str, str, str]]:
    """Letter, style and name of each method of a map."""
    known = letters(sorted(rows, key=lambda row: row.budget))
    return [(letter, style_of(name).split()[0], method_label(name)) for name, letter in known.items()]


def gains_plot(report: AllocationReport, allocation: Allocation) -> Plot:
    """Accuracy at what is spent: the allocation by every estimate, the best fixed choice and best-of-N."""
    rows, unit = rows_like(report, allocation), allocation.unit
    curve = [(point.cost[unit], point.accuracy) for point in report.curve]
    lines = [Series(method_label(report.best_of_n), "c-vote m-square", tuple(sorted(curve, key=_x)))]
    fixed = {(gain.spent, gain.accuracy) for row in rows for gain in row.gains if gain.baseline == FIXED}
    if fixed:
        points = tuple((spent, Interval(mean, mean, mean)) for spent, mean in sorted(fixed))
        lines.append(Series("best fixed", "c-logprob m-triangle dashed", points))
    for kind in reversed(estimates(rows, allocation)):
        found = sorted(((row.spent, row.accuracy) for row in rows if row.difficulty == kind), key=_x)
        lines.append(
            Series(
                f"by {kind}" if kind != BLIND else "blind control",
                ESTIMATES.get(kind, "c-mcts"),
                tuple(found),
            )
        )
    x = decade_axis(
        (at for one in lines for at, _ in one.points), f"{unit} spent on a problem, mean (log scale)"
    )
    return line_plot("Accuracy at what an allocation spends", lines, x, accuracy_axis(lines), unit)


def _x(point: tuple[float, Interval]) -> float:
    return point[0]


def stop_plots(report: AllocationReport) -> Iterator[tuple[str, Plot]]:
    """By method, accuracy at cost of every threshold of each rule, and of all samples."""
    for method in dict.fromkeys(stop.method for stop in report.early_stops):
        yield method, stop_plot([stop for stop in report.early_stops if stop.method == method])


def stop_plot(stops: Sequence[EarlyStop]) -> Plot:
    """Of the rules on one method. A rule with two thresholds is no line; the one that validation chose is
    circled, with the paired interval of its difference from all samples.
    """
    whole = stops[0].all_samples
    lines = [Series(f"all {stops[0].n}", "c-vote m-square", ((whole.tokens, _exact(whole.accuracy)),))]
    for stop in stops:
        points = sorted(((each.tokens, _exact(each.accuracy)) for each in stop.points), key=_x)
        lines.append(Series(stop.rule, RULES[stop.rule], tuple(points)))
    for stop in stops:
        at = next((each for each in stop.points if each.threshold == stop.chosen), None)
        if at is not None and stop.chosen is not None and stop.accuracy_difference is not None:
            difference = stop.accuracy_difference
            around = Interval(at.accuracy, whole.accuracy + difference.low, whole.accuracy + difference.high)
            label = f"{stop.rule}, chosen: {threshold_words(stop.chosen)}"
            colour = RULES[stop.rule].split()[0]
            lines.append(Series(label, f"{colour} ring", ((at.tokens, around),), keeps_band=True))
    x = decade_axis((at for one in lines for at, _ in one.points), "tokens a problem (log scale)")
    title = f"Accuracy at cost of {method_label(stops[0].method)} that stops early"
    layouts = STOP_LAYOUT, STOP_LAYOUT
    return line_plot(title, lines, x, accuracy_axis(lines), "tokens", layouts)


def _exact(value: float) -> Interval:
    return Interval(value, value, value)


def allocation_figures(report: AllocationReport, allocation: Allocation) -> Iterator[Figure]:
    """Every picture of the page of an allocation, in its order."""
    rows = rows_like(report, allocation)
    for kind in estimates(rows, allocation):
        if kind != BLIND:
            yield figure_of(
                f"allocation-by-{kind}", map_plot([row for row in rows if row.difficulty == kind])
            )
    yield figure_of("allocation-gains", gains_plot(report, allocation))
    for method, plot in stop_plots(report):
        yield figure_of(f"early-stop-{method}", plot)
