"""The report of a search run: one HTML page to read, a JSON file for programs, and a table for the terminal.

The page (`report.html.jinja`) is a single file without scripts and with nothing to fetch, made for a phone, a
wide screen, paper, light and dark. Its numbers are those of a `SearchReport` (`results`), its sentences come
from `findings` and its drawings from `plots`; here they are only laid out. Whoever fills the record has the
ledger and the scorers and takes the intervals from `estimators`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from data_gen.files.jsonl import write_text
from prm_train.evaluation import findings
from prm_train.evaluation.findings import CHANCE
from prm_train.evaluation.methods import CEILING, METHODS, method_label, stops_early
from prm_train.evaluation.pictures import plots
from prm_train.evaluation.pictures.charts import interval_glyph, linear_axis, swatch
from prm_train.evaluation.pictures.revising import chain_plot, grid_plot, ratio_maps
from prm_train.evaluation.pictures.styles import styles_of
from prm_train.evaluation.results import PairedDifference, SearchReport, StageCost, VerifierQuality
from prm_train.metrics.estimators import Interval, expected_calibration_error


@dataclass(frozen=True)
class TableRow:
    """A method's row in the table of accuracies: an interval (None: not measured) for each N, and which are
    the best of their column.
    """

    method: str
    label: str
    style: str
    description: str
    cells: tuple[Interval | None, ...]
    is_best: tuple[bool, ...]


def write_report(report: SearchReport, path: Path) -> None:
    """Write the page to `path` and the record beside it as JSON, each under its name only when it is
    complete.
    """
    write_text(path, render(report))
    report.write(path.with_suffix(".json"))


def page_templates(package: str = "prm_train.evaluation") -> Environment:
    """What makes pages of records: every text of a record is escaped. Templates are those of a package, and
    the style sheets those of reports.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name, ".") for name in (package, "prm_train.evaluation")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": findings.percent,
        "span": findings.span,
        "points": findings.points,
        "short_count": findings.short_count,
        "duration": findings.duration,
        "unbroken": unbroken,
        "swatch": swatch,
    }
    return environment


def render(report: SearchReport) -> str:
    """The page as HTML."""
    rows, drawn = table_rows(report), plots.drawn_methods(report)
    return (
        page_templates()
        .get_template("report.html.jinja")
        .render(
            report=report,
            drawn_rows=[row for row in rows if row.method in drawn],
            verdict=findings.verdict(report),
            declines=findings.declines(report),
            describe_difference=findings.describe_difference,
            correction=findings.correction(report.paired),
            coverage_plot=plots.coverage_plot(report.coverage) if report.coverage else None,
            coverage_sentences=findings.coverage_sentences(report.coverage) if report.coverage else [],
            rows=rows,
            accuracy_plot=plots.accuracy_plot(report),
            quintile_plots=(
                plots.quintile_plots(report, report.accuracy_by_quintile)
                if report.accuracy_by_quintile
                else []
            ),
            predicted_plots={
                findings.PREDICTED.get(kind, kind): plots.quintile_plots(report, table)
                for kind, table in report.accuracy_by_predicted_quintile.items()
            },
            ratio_plots=[(group, grid_plot(grid)) for group, grid in ratio_maps(report)],
            chain_plot=chain_plot(report),
            token_plot=plots.token_plot(report) if report.tokens else None,
            flops_plot=plots.flops_plot(report),
            reliability_plot=plots.reliability_plot(report.reliability) if report.reliability else None,
            calibration_error=expected_calibration_error(report.reliability) if report.reliability else None,
            loss_plots=[
                plots.loss_plot(model, [c for c in report.losses if c.model == model])
                for model in _models(report)
            ],
            paired_rows=_paired_rows(report.paired),
            verifier_rows=_verifier_rows(report.verifiers),
            total=total_cost(report.run.stages),
        )
    )


def table_rows(report: SearchReport) -> list[TableRow]:
    """One row a method. The best of a column is the highest mean, the ceiling left out; its lead may lie
    within the intervals.
    """
    styles = styles_of(report.methods)
    rivals = [report.accuracy[name] for name in report.methods if name != CEILING]
    best = {
        n: max((curve[n].mean for curve in rivals if n in curve), default=None) for n in report.sample_counts
    }
    rows = []
    for name in report.methods:
        cells = tuple(report.accuracy[name].get(n) for n in report.sample_counts)
        numbered = zip(report.sample_counts, cells, strict=True)
        is_best = tuple(name != CEILING and cell is not None and cell.mean == best[n] for n, cell in numbered)
        texts = [METHODS[name].description] if name in METHODS else []
        texts += [f"Here: {report.settings[name]}."] if name in report.settings else []
        rows.append(TableRow(name, method_label(name), styles[name], " ".join(texts), cells, is_best))
    return rows


def unbroken(sentence: str) -> str:
    """The sentence with its numbers held together by non-breaking spaces and joiners, so that no line ends
    inside one.
    """
    return re.sub(
        r" %| = ", lambda found: found.group().replace(" ", "\N{NO-BREAK SPACE}"), sentence
    ).replace("–", "–\N{WORD JOINER}")


def total_cost(stages: Iterable[StageCost]) -> StageCost:
    """The sum over stages."""
    known = list(stages)
    return StageCost(
        "total",
        wall_seconds=sum(stage.wall_seconds for stage in known),
        cpu_seconds=sum(stage.cpu_seconds for stage in known),
        n_generated=sum(stage.n_generated for stage in known),
        n_prefilled=sum(stage.n_prefilled for stage in known),
        n_cached=sum(stage.n_cached for stage in known),
        n_scorer_new=sum(stage.n_scorer_new for stage in known),
        n_scorer_reused=sum(stage.n_scorer_reused for stage in known),
        flops=sum(stage.flops for stage in known),
    )


def summary_table(report: SearchReport) -> str:
    """Plain text for a terminal of 80 columns: methods by N with intervals below the means, single samples,
    then the verdict.
    """
    # Votes that stop early solve what those of all samples solve; what they save stands in the report
    rows = [row for row in table_rows(report) if not stops_early(row.method)]
    names = max(15, *(len(row.label) for row in rows)) + 1
    width = min(9, (80 - names) // max(len(report.sample_counts), 1))
    lines = [
        "Test problems solved, % (95 % interval below)",
        "",
        " " * names + "".join(f"{f'N={n}':>{width}}" for n in report.sample_counts),
    ]
    for row in rows:
        means = (f"{100 * cell.mean:.1f}" if cell else "–" for cell in row.cells)
        spans = (f"{100 * cell.low:.0f}–{100 * cell.high:.0f}" if cell else "" for cell in row.cells)
        lines.append(f"{row.label:<{names}}" + "".join(f"{mean:>{width}}" for mean in means))
        lines.append(" " * names + "".join(f"{span:>{width}}" for span in spans))
    for single in report.single_samples:
        mean, span = 100 * single.accuracy.mean, findings.span(single.accuracy)
        lines.append(f"{single.label:<{names}}{mean:>{width}.1f}   ({span})")
    lines += [
        "",
        *(_paired_line(pair) for pair in report.paired),
        *filter(None, [findings.correction(report.paired)]),
        "",
        *findings.verdict(report),
        *findings.declines(report),
    ]
    return "\n".join(lines)


def _paired_line(pair: PairedDifference) -> str:
    interval = pair.difference
    numbers = (
        f"{findings.points(interval.mean)} ({findings.points(interval.low)} to "
        f"{findings.points(interval.high)}) points"
    )
    return f"{numbers:<34} {findings.describe_difference(pair)}"


def _paired_rows(pairs: Iterable[PairedDifference]) -> list[tuple[PairedDifference, Markup]]:
    known = list(pairs)
    axis = linear_axis(
        [0.0, *(end for pair in known for end in (pair.difference.low, pair.difference.high))], ""
    )
    return [
        (pair, interval_glyph(pair.difference, axis, 0.0, findings.describe_difference(pair)))
        for pair in known
    ]


def _verifier_rows(verifiers: Iterable[VerifierQuality]) -> list[tuple[VerifierQuality, Markup]]:
    known = list(verifiers)
    axis = linear_axis([CHANCE, 1.0, *(verifier.within_problem_auroc.low for verifier in known)], "")
    rows = []
    for verifier in known:
        interval = verifier.within_problem_auroc
        spoken = (
            f"{verifier.name}: {interval.mean:.3f}, from {interval.low:.3f} to {interval.high:.3f}, "
            f"chance is {CHANCE}"
        )
        rows.append((verifier, interval_glyph(interval, axis, CHANCE, spoken)))
    return rows


def _models(report: SearchReport) -> list[str]:
    return list(dict.fromkeys(curve.model for curve in report.losses))
