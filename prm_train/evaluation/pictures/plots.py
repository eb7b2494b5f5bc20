"""The plots of a report: which numbers go into which chart. `styles` says how each method looks in all of
them.

Plots come in a wide and a narrow version, of which the page shows the one that fits.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from prm_train.evaluation.methods import CEILING, method_label, stops_early
from prm_train.evaluation.pictures.charts import (
    Axis,
    Frame,
    Series,
    axes,
    decade_axis,
    dodges,
    drawing,
    end_labels,
    line,
    linear_axis,
    log2_axis,
    tag,
)
from prm_train.evaluation.pictures.styles import style_of, styles_of
from prm_train.evaluation.results import FIFTHS, LossCurve, SearchReport, TokensPerProblem
from prm_train.metrics.coverage import Coverage
from prm_train.metrics.estimators import Interval, ReliabilityBin

# Which lines a plot has room for, the most important first; the table has all methods.
IMPORTANCE = (
    *("prm_weighted", "particle_filter", "beam", "majority", "pass_at_n", "orm_weighted", "dvts"),
    *("beam_prior", "logprob", "rebase", "mcts", "best_first", "lookahead", "prm_vanilla", "orm_vanilla"),
)
MAX_LINES = 9
MAX_COMPARED = 3  # methods of which the lines of two runs can be told apart
Curve = Mapping[int, Interval] | Mapping[float, Interval]
Fifths = Mapping[str, Mapping[int, tuple[Interval, ...]]]
N_TITLE = "N, samples a problem"
MARGIN = 6.0  # between whiskers and the ends of an axis


@dataclass(frozen=True)
class Layout:
    """Pixels of a plot; `names` is the margin in which lines are named, 0 where they are not."""

    width: float
    height: float
    names: float

    def frame(self, x: Axis, y: Axis) -> Frame:
        left, top, right, bottom = 34.0, 26.0, max(self.names, 12.0), 44.0
        return Frame(x, y, left, top, self.width - left - right, self.height - top - bottom)


WIDE, NARROW = Layout(800, 440, 158), Layout(358, 400, 118)
WIDE_PANEL, NARROW_PANEL = Layout(250, 210, 0), Layout(171, 180, 0)
LOSS = Layout(358, 260, 84)


@dataclass(frozen=True)
class Plot:
    """The same plot for a wide and for a narrow page, and the lines that it shows; `x_name` is what their x
    is, in a word. `references` are values at any x. A picture of rows and columns has `cells` instead: its
    data, the header first.
    """

    wide: Markup
    narrow: Markup
    lines: tuple[Series, ...]
    x_name: str
    references: tuple[tuple[str, float], ...] = ()
    cells: tuple[tuple[object, ...], ...] = ()


def drawn_methods(report: SearchReport) -> list[str]:
    """The methods that a plot shows, in their order: those of most importance, each search in a tree with its
    tuned settings where it has them. Votes that stop early differ in cost alone, and stand in the table.
    """

    tuned = {name.removesuffix("_tuned") for name in report.methods if name.endswith("_tuned")}

    def is_shown(name: str) -> bool:
        is_of_tuned = any(name == each or name.startswith((f"{each}_", f"{each}:")) for each in tuned)
        return not stops_early(name) and (name.endswith("_tuned") or not is_of_tuned)

    def rank(name: str) -> int:
        base = name.removesuffix("_tuned")
        return IMPORTANCE.index(base) if base in IMPORTANCE else len(IMPORTANCE)

    shown = list(filter(is_shown, report.methods))
    chosen = set(sorted(shown, key=rank)[:MAX_LINES])
    return [name for name in shown if name in chosen]


def accuracy_plot(report: SearchReport) -> Plot:
    """Accuracy against N for every method, with the accuracy of a single sample as horizontal lines."""
    lines = _method_lines(report, report.accuracy)
    references = [(single.label, single.accuracy.mean) for single in report.single_samples]
    x = log2_axis(report.sample_counts, f"{N_TITLE} (each tick doubles it)")
    y = accuracy_axis(lines, (value for _, value in references))
    title = "Accuracy against the number of samples"
    return line_plot(title, lines, x, y, "n", references=references)


def two_runs_plot(curves: Mapping[str, tuple[Curve, Curve]]) -> Plot:
    """Accuracy against N in two runs of the methods that matter most: A dashed, B solid."""
    names = [name for name in IMPORTANCE if name in curves and name != CEILING][:MAX_COMPARED]
    lines = [
        Series(
            f"{run}: {method_label(name)}",
            style_of(name).split()[0] + ending,
            tuple((float(n), interval) for n, interval in sorted(curve.items())),
        )
        for name in names or list(curves)[:MAX_COMPARED]
        for run, ending, curve in zip("AB", (" dashed", ""), curves[name], strict=True)
    ]
    x = log2_axis((n for one in lines for n, _ in one.points), f"{N_TITLE} (each tick doubles it)")
    return line_plot("Accuracy in both runs", lines, x, accuracy_axis(lines), "n")


def coverage_plot(coverage: Coverage) -> Plot:
    """pass@k against k, and the power laws fitted to it."""
    curve = tuple((float(k), interval) for k, interval in sorted(coverage.curve.items()))
    lines = [Series("pass@k", "c-prm", curve, keeps_band=True)]
    for law, style in zip(coverage.laws, ("c-logprob dashed quiet", "c-beam dotted quiet"), strict=False):
        known = law.band or {k: Interval(*3 * (law.at(k),)) for k in coverage.curve}
        fitted = tuple((float(k), interval) for k, interval in sorted(known.items()))
        lines.append(
            Series("log law" if law.form == "log" else "failure law", style, fitted, keeps_band=True)
        )
    every = (k for one in lines for k, _ in one.points)
    x = log2_axis(every, "k, draws of a problem (each tick doubles it)")
    last = float(max(coverage.curve))
    if last < x.high:
        x = replace(x, marks=((last, "drawn up to here"),))
    title = "Share of problems that k draws solve"
    return line_plot(title, lines, x, accuracy_axis(lines), "k")


def token_plot(report: SearchReport) -> Plot:
    """Accuracy against the tokens that are computed for a problem, by the policy and the scorer."""
    return _cost_plot(
        report,
        lambda cost: cost.total,
        "Accuracy against tokens spent on a problem",
        "tokens a problem, generated + prefilled + scored (log scale)",
        "tokens",
    )


def flops_plot(report: SearchReport) -> Plot | None:
    """Accuracy against floating point operations; None where they are not known of any method."""
    if all(cost.flops is None for curve in report.tokens.values() for cost in curve.values()):
        return None
    return _cost_plot(
        report,
        lambda cost: cost.flops,
        "Accuracy against computation spent on a problem",
        "floating point operations a problem (log scale)",
        "flops",
    )


def _cost_plot(
    report: SearchReport,
    cost_of: Callable[[TokensPerProblem], float | None],
    title: str,
    axis_title: str,
    x_name: str,
) -> Plot:
    """At the N for which the cost was counted."""
    curves = {
        name: {
            cost: report.accuracy[name][n]
            for n, each in sorted(report.tokens[name].items())
            if n in report.accuracy[name] and (cost := cost_of(each)) is not None
        }
        for name in report.methods
        if name in report.tokens
    }
    lines = _method_lines(report, {name: curve for name, curve in curves.items() if curve})
    x = decade_axis((value for one in lines for value, _ in one.points), axis_title)
    return line_plot(title, lines, x, accuracy_axis(lines), x_name)


def quintile_plots(
    report: SearchReport,
    table: Fifths,
    layouts: tuple[Layout, Layout] = (WIDE_PANEL, NARROW_PANEL),
) -> list[Plot]:
    """One plot a difficulty quintile of a table of a report, easiest first; all share their axes. They are
    small and do not name their lines, unless `layouts` are others.
    """
    counts = {n for curve in table.values() for n in curve}
    x, y = log2_axis(counts, N_TITLE), linear_axis((0.0, 1.0), "solved, %", scale=100)
    panels = []
    for quintile, name in enumerate(FIFTHS):
        curves = {
            method: {n: fifths[quintile] for n, fifths in curve.items()} for method, curve in table.items()
        }
        title, lines = f"Accuracy on the {name} of the problems", _method_lines(report, curves)
        panels.append(line_plot(title, lines, x, y, "n", layouts))
    return panels


def reliability_line(bins: Iterable[ReliabilityBin]) -> Series:
    """Share of right steps against the mean score of a bin."""
    return _without_intervals("PRM", "c-prm", ((b.mean_score, b.share_correct) for b in bins))


def reliability_counts(bins: Iterable[ReliabilityBin]) -> Series:
    """How many steps a bin holds against their mean score."""
    return _without_intervals("steps in the bin", "c-prm", ((b.mean_score, b.count) for b in bins))


def reliability_plot(bins: Iterable[ReliabilityBin]) -> Markup:
    """Share of right steps against the PRM's score: on the diagonal a score is a probability. Bars below say
    how many steps a bin holds.
    """
    known, width, height = list(bins), 358.0, 440.0
    unit = linear_axis((0.0, 1.0), "PRM score, mean of the bin")
    frame = Frame(unit, Axis(0, 1, unit.ticks, "share of steps that are right"), 40, 26, 306, 280)
    (x1, y1), (x2, y2) = frame.at(0, 0), frame.at(1, 1)
    parts = [
        axes(frame),
        tag("line", class_="reference", x1=x1, y1=y1, x2=x2, y2=y2),
        line(frame, reliability_line(known)),
    ]
    top, deepest = frame.bottom + 76, max(b.count for b in known)
    parts.append(
        tag("text", f"steps in the bin (tallest bar: {deepest:,})", class_="axis-title", x=0, y=top - 10)
    )
    for b in known:
        (x, _), bar = frame.at(b.mean_score, 0), max(50 * b.count / deepest, 1.0)
        shown = tag("title", f"{b.count} steps with a mean score of {b.mean_score:.2f}")
        parts.append(tag("rect", shown, class_="bar c-prm", x=x - 9, y=top + 50 - bar, width=18, height=bar))
    spoken = "; ".join(f"score {b.mean_score:.2f}: {b.share_correct:.2f} right of {b.count}" for b in known)
    return drawing(f"Reliability of the PRM. {spoken}.", width, height, parts)


def loss_lines(model: str, curves: Iterable[LossCurve]) -> list[Series]:
    """Training and validation loss of one model against its updates."""
    colour = {"PRM": "c-prm", "ORM": "c-orm"}.get(model, "c-vote")
    lines = []
    for curve in curves:
        style = f"{colour} quiet" if curve.split == "train" else colour
        lines.append(_without_intervals(curve.split, style, zip(curve.updates, curve.losses, strict=True)))
    return lines


def loss_plot(model: str, curves: Iterable[LossCurve]) -> Markup:
    """The lines of `loss_lines`."""
    lines = loss_lines(model, curves)
    values = [(x, interval.mean) for one in lines for x, interval in one.points]
    x, y = (
        linear_axis([0.0, *(x for x, _ in values)], "updates"),
        linear_axis([loss for _, loss in values], f"{model} loss"),
    )
    return line_drawing(f"Loss of the {model}", lines, LOSS.frame(x, y), LOSS)


def _without_intervals(label: str, style: str, points: Iterable[tuple[float, float]]) -> Series:
    return Series(label, style, tuple((float(x), Interval(y, y, y)) for x, y in points))


def _method_lines(report: SearchReport, curves: Mapping[str, Curve]) -> list[Series]:
    """One line a method in the order in which they are drawn: the one to look at first lies on top."""
    styles = styles_of(report.methods)
    names = [name for name in reversed(drawn_methods(report)) if curves.get(name)]
    return [
        Series(
            method_label(name), styles[name], tuple((float(x), i) for x, i in sorted(curves[name].items()))
        )
        for name in names
    ]


def accuracy_axis(lines: Iterable[Series], others: Iterable[float] = ()) -> Axis:
    ends = [end for one in lines for _, interval in one.points for end in (interval.low, interval.high)]
    return linear_axis([*ends, *others], "test problems solved, %", scale=100)


def line_plot(
    title: str,
    lines: list[Series],
    x: Axis,
    y: Axis,
    x_name: str,
    layouts: tuple[Layout, Layout] = (WIDE, NARROW),
    references: Sequence[tuple[str, float]] = (),
) -> Plot:
    wide, narrow = (line_drawing(title, lines, layout.frame(x, y), layout, references) for layout in layouts)
    return Plot(wide, narrow, tuple(lines), x_name, tuple(references))


def line_drawing(
    title: str,
    lines: list[Series],
    frame: Frame,
    layout: Layout,
    references: Iterable[tuple[str, float]] = (),
) -> Markup:
    found = dodges(frame, lines)
    shifts: Sequence[float | None] = found or [None] * len(lines)
    if found:
        frame = replace(frame, inset=max(found) + MARGIN)
    parts, ends = [axes(frame)], []
    for name, value in references:
        _, y = frame.at(frame.x.low, value)
        parts.append(tag("line", class_="reference", x1=frame.left, x2=frame.right, y1=y, y2=y))
        ends.append((frame.right, y, name, "c-plain"))
    parts += [line(frame, one, shift) for one, shift in zip(lines, shifts, strict=True)]
    ends += [
        (*frame.at(one.points[-1][0], one.points[-1][1].mean), one.label, one.style)
        for one in lines
        if "ring" not in one.style.split()  # it stands on a line that has a name
    ]
    if layout.names:
        parts.append(end_labels(frame, ends, layout.names))
    return drawing(f"{title}. {' '.join(_spoken(one) for one in lines)}", layout.width, layout.height, parts)


def _spoken(series: Series, n_points: int = 8) -> str:
    """The line in words: about `n_points` of its points."""
    told = series.points[:: -(-len(series.points) // n_points)]
    return f"{series.label}: {', '.join(f'{interval.mean:.2f} at {x:.4g}' for x, interval in told)}."
