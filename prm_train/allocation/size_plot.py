"""The figure of section 7 of Snell et al. 2024: accuracy of the small policy's searches against FLOPs, by
difficulty, and stars where a budget that makes both cost the same meets the accuracy of the large policy.

A star above the line of its colour: the larger policy is the better use of these FLOPs. Lines end where the
stored N end.
"""

from pathlib import Path

from markupsafe import Markup

from data_gen.files.jsonl import write_text
from prm_train.allocation.size_results import SizeReport, SizeRow
from prm_train.evaluation.methods import method_label
from prm_train.evaluation.pictures.charts import (
    Frame,
    Series,
    axes,
    decade_axis,
    drawing,
    end_labels,
    line,
    linear_axis,
    tag,
)
from prm_train.evaluation.pictures.figures import as_file, figure_style
from prm_train.evaluation.results import FIFTHS
from prm_train.search.allocation import ORACLE

STYLES = ("c-prm", "c-particle", "c-beam", "c-orm", "c-vote")
WIDTH, HEIGHT, MARGIN = 800.0, 440.0, 158.0


def stars(report: SizeReport) -> list[SizeRow]:
    """Of FLOPs that are counted, as many pretraining tokens, greedy answers, and the method of the curves."""
    way = report.curves[0].way
    return [
        row
        for row in report.rows
        if (row.flops, row.pretraining, row.difficulty, row.answer, row.way)
        == ("counted", "same", ORACLE, "greedy", way)
        and row.bin is not None
    ]


def size_plot(report: SizeReport) -> Markup:
    found = stars(report)
    lines = [Series(FIFTHS[each.bin], STYLES[each.bin], each.points) for each in report.curves]
    costs = [x for one in lines for x, _ in one.points]
    ends = [end for one in lines for _, interval in one.points for end in (interval.low, interval.high)]
    way = method_label(report.curves[0].way)
    x = decade_axis(
        [*costs, *(row.budget for row in found)], f"FLOPs a question ({way} and its draws; log scale)"
    )
    y = linear_axis([0.0, 1.0, *ends], "test problems solved, %", scale=100)
    frame = Frame(x, y, 34.0, 26.0, WIDTH - 34.0 - MARGIN, HEIGHT - 70.0)
    labels = [(*frame.at(one.points[-1][0], one.points[-1][1].mean), one.label, one.style) for one in lines]
    parts = [axes(frame), *(line(frame, one) for one in lines), *(_star(frame, row) for row in found)]
    parts.append(end_labels(frame, labels, MARGIN))
    spoken = "; ".join(f"R = {row.load:g}, {FIFTHS[row.bin or 0]}: {row.verdict}" for row in found)
    return drawing(f"Small policy against large at equal FLOPs: {spoken}.", WIDTH, HEIGHT, parts)


def _star(frame: Frame, row: SizeRow) -> Markup:
    accuracy = row.large.mean
    x, y = frame.at(row.budget, accuracy)
    shown = f"large policy, R = {row.load:g}, {FIFTHS[row.bin or 0]}: {accuracy:.3f}; verdict: {row.verdict}"
    mark = tag("text", tag("title", shown), "★", class_="name middle", x=x, y=y + 5)
    return tag("g", mark, class_=STYLES[row.bin or 0])


def write_size_plot(report: SizeReport, path: Path) -> None:
    write_text(path, as_file(size_plot(report), figure_style()))
