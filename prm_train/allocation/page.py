"""The page of an allocation: its map, what it is worth, and what stopping early saves."""

from pathlib import Path

from data_gen.files.jsonl import write_text
from prm_train.allocation.pictures import (
    BLIND,
    allocation_figures,
    estimates,
    gains_plot,
    map_legend,
    map_plot,
    rows_like,
    stop_plots,
)
from prm_train.allocation.results import AllocationReport
from prm_train.allocation.tables import NOTES, threshold_words
from prm_train.evaluation.methods import method_label
from prm_train.evaluation.pictures.figures import write_all
from prm_train.evaluation.report import page_templates
from prm_train.search.allocation import Allocation

FILE, REPORT_FILE, PAGE_FILE = "allocation.json", "allocation-report.json", "allocation.html"


def show_allocation(folder: Path, figures: Path) -> list[Path]:
    """Write the page of a folder of `prm-train allocate` again, and its pictures; the pictures' files."""
    report, allocation = AllocationReport.read(folder / REPORT_FILE), Allocation.read(folder / FILE)
    write_page(report, allocation, folder / PAGE_FILE)
    return write_all(allocation_figures(report, allocation), figures)


def write_page(report: AllocationReport, allocation: Allocation, path: Path) -> None:
    write_text(path, render(report, allocation))


def render(report: AllocationReport, allocation: Allocation) -> str:
    """The page as HTML."""
    rows = rows_like(report, allocation)
    kinds = estimates(rows, allocation)
    by_kind = {kind: [row for row in rows if row.difficulty == kind] for kind in kinds}
    baselines = list(dict.fromkeys(gain.baseline for row in rows for gain in row.gains))
    return (
        page_templates("prm_train.allocation")
        .get_template("allocation.html.jinja")
        .render(
            report=report,
            allocation=allocation,
            maps=[
                (kind, map_plot(of_kind), map_legend(of_kind))
                for kind, of_kind in by_kind.items()
                if kind != BLIND
            ],
            gains_plot=gains_plot(report, allocation),
            rows=[
                (row, {gain.baseline: gain for gain in row.gains})
                for of_kind in by_kind.values()
                for row in of_kind
            ],
            baselines=baselines,
            notes={kind: NOTES.get(kind, "its cost is counted") for kind in kinds},
            stop_plots=[(method_label(method), plot) for method, plot in stop_plots(report)],
            method_label=method_label,
            threshold_words=threshold_words,
        )
    )
