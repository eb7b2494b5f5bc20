"""The plots of a report as files for a paper: each as an SVG that needs no page around it, and its numbers as
CSV.

On a page a plot takes its colours from the page's style sheet, by variables that programs for drawings do not
know. In a file it has them spelled out, those of a light page on white.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from data_gen.files.jsonl import write_text
from prm_train.evaluation.pictures import plots
from prm_train.evaluation.pictures.charts import Series
from prm_train.evaluation.pictures.revising import chain_plot, grid_plot, ratio_maps
from prm_train.evaluation.report import page_templates
from prm_train.evaluation.results import SearchReport
from prm_train.metrics.estimators import N_QUINTILES

FONT = 'text { font-family: system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }'
PANELS = (plots.WIDE, plots.NARROW)  # in a file of its own, a plot names its lines


@dataclass(frozen=True)
class Figure:
    """A plot with the name of its files; `x_name` is the column of its data that is drawn from left to
    right.
    """

    name: str
    drawing: Markup
    lines: tuple[Series, ...]
    x_name: str
    references: tuple[tuple[str, float], ...] = ()
    cells: tuple[tuple[object, ...], ...] = ()  # of a picture of rows and columns, the header first


def figures(report: SearchReport) -> Iterator[Figure]:
    """Every plot of the page, in its order."""
    yield figure_of("accuracy", plots.accuracy_plot(report))
    yield from _by_fifth("difficulty", report, report.accuracy_by_quintile)
    for kind, table in report.accuracy_by_predicted_quintile.items():
        yield from _by_fifth(f"difficulty-by-{kind}", report, table)
    if report.coverage:
        yield figure_of("coverage", plots.coverage_plot(report.coverage))
    yield from revision_figures(report)
    if report.tokens:
        yield figure_of("tokens", plots.token_plot(report))
    computation = plots.flops_plot(report)
    if computation is not None:
        yield figure_of("flops", computation)
    if report.reliability:
        drawn = plots.reliability_line(report.reliability), plots.reliability_counts(report.reliability)
        yield Figure("reliability", plots.reliability_plot(report.reliability), drawn, "mean_score")
    for model in dict.fromkeys(curve.model for curve in report.losses):
        curves = [curve for curve in report.losses if curve.model == model]
        lines = tuple(plots.loss_lines(model, curves))
        yield Figure(f"loss-{model.lower()}", plots.loss_plot(model, curves), lines, "update")


def revision_figures(report: SearchReport) -> Iterator[Figure]:
    for number, (_, grid) in enumerate(ratio_maps(report), 1):
        yield figure_of(f"ratio-{number}", grid_plot(grid))
    chains = chain_plot(report)
    if chains is not None:
        yield figure_of("chain", chains)


def write_figures(report: SearchReport, folder: Path) -> list[Path]:
    """Write NAME.svg and NAME.csv of each figure of a report; the files written."""
    return write_all(figures(report), folder)


def write_all(drawn: Iterable[Figure], folder: Path) -> list[Path]:
    """NAME.svg and NAME.csv of each."""
    written = []
    style = figure_style()
    for figure in drawn:
        for ending, text in (("svg", as_file(figure.drawing, style)), ("csv", as_csv(figure))):
            path = folder / f"{figure.name}.{ending}"
            write_text(path, text)
            written.append(path)
    return written


def as_csv(figure: Figure) -> str:
    """One row a cell, or a point: the line, its x, the value and the ends of its 95 % interval (empty where
    it has none); a value at any x has none.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    if figure.cells:
        writer.writerows(figure.cells)
        return file.getvalue()
    writer.writerow(["line", figure.x_name, "value", "low", "high"])
    for one in figure.lines:
        for x, each in one.points:
            has_interval = each.low < each.high
            writer.writerow(
                [one.label, f"{x:.15g}", each.mean, *((each.low, each.high) if has_interval else ("", ""))]
            )
    writer.writerows([name, "", value, "", ""] for name, value in figure.references)
    return file.getvalue()


def as_file(drawing: Markup, style: str) -> str:
    """The drawing as a file of its own."""
    opening, _, rest = str(drawing).partition(">")
    name, _, attributes = opening.partition(" ")
    back = '<rect width="100%" height="100%" fill="#fff"/>'
    return f'{name} xmlns="http://www.w3.org/2000/svg" {attributes}><style>{style}</style>{back}{rest}\n'


def figure_style() -> str:
    """The style sheet of plots with every variable spelled out: `svg .line { stroke: var(--c) }` becomes a
    rule for each colour.
    """
    templates = page_templates()
    page, charts = (templates.get_template(f"{name}.css.jinja").render() for name in ("page", "charts"))
    light = page[: page.index("@media")]
    values = dict(re.findall(r"--([\w]+): (#\w+);", light))
    classes = dict(re.findall(r"\.(c-\w+) \{ --c: var\(--(\w+)\); \}", charts))
    rules = re.findall(r"([^{}]+?) *\{ *([^{}]*?) *\}", charts)
    return "\n".join([FONT, *_spelled_out(((a.strip(), b) for a, b in rules), values, classes)])


def _spelled_out(
    rules: Iterable[tuple[str, str]], values: dict[str, str], classes: dict[str, str]
) -> Iterator[str]:
    for selector, body in rules:
        if "--c:" in body:
            continue
        known = re.sub(r"var\(--(\w+)\)", lambda found: values.get(found[1], found[0]), body)
        if "var(--c)" not in known:
            yield f"{selector} {{ {known} }}"
            continue
        # What is drawn has the colour itself, or stands in a group that has it, with all else it is styled by
        *groups, last = selector.removeprefix("svg ").split()
        group = "".join(groups)
        for name, colour in classes.items():
            coloured = known.replace("var(--c)", values[colour])
            alone = "" if groups else f", .{name}{last}"
            yield f"{group}.{name} {last}{alone} {{ {coloured} }}"


def figure_of(name: str, plot: plots.Plot) -> Figure:
    return Figure(name, plot.wide, plot.lines, plot.x_name, plot.references, plot.cells)


def _by_fifth(name: str, report: SearchReport, table: plots.Fifths) -> Iterator[Figure]:
    if table:
        for number, plot in enumerate(plots.quintile_plots(report, table, PANELS), 1):
            which = {1: "-easiest", N_QUINTILES: "-hardest"}.get(number, "")
            yield figure_of(f"{name}-{number}{which}", plot)
