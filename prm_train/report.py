"""`prm-train report A B`: two runs compared, as JSON, HTML and a few lines; or the figures of one, as files.

    prm-train report runs/a/report runs/b/report --output runs/a-and-b
    prm-train report runs/a/report --figures figures

A and B are folders with a report.json. Where figures are written, the one may be a folder of `prm-train
allocate`, whose page is written again, too. Nothing is searched or scored again.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from data_gen.files.jsonl import write_text
from data_gen.settings.parse import parse_config, run_command
from prm_train.allocation.page import REPORT_FILE, show_allocation
from prm_train.evaluation.findings import percent, points, span
from prm_train.evaluation.methods import METHODS, method_label, method_phrase
from prm_train.evaluation.pictures.figures import write_figures
from prm_train.evaluation.pictures.plots import two_runs_plot
from prm_train.evaluation.report import page_templates, total_cost
from prm_train.evaluation.results import StageCost
from prm_train.evaluation.two_runs import RunDifference, TwoRuns, compare_runs, read_run
from prm_train.metrics.estimators import Interval
from prm_train.metrics.many_comparisons import LEVEL

DIRECTION_WORDS = {1: "B solves more", -1: "B solves less", 0: "not told from 0"}


@dataclass(frozen=True)
class ReportConfig:
    """Compare two finished runs, or write the figures of one as files."""

    runs: tuple[Path, ...] = field(
        metadata={"help": "folders with a report.json: two to compare, or one for its figures"}
    )
    output: Path | None = field(
        default=None, metadata={"help": "folder for comparison.html and comparison.json of two runs"}
    )
    figures: Path | None = field(
        default=None,
        metadata={
            "help": "folder for the plots of one run's report (or of one allocation), each as SVG with its "
            "data as CSV"
        },
    )

    def __post_init__(self) -> None:
        wanted, why = (1, "one, whose figures are written") if self.figures else (2, "two to compare")
        if len(self.runs) != wanted:
            raise ValueError(f"runs: got {len(self.runs)} folders, expected {why}")
        if self.figures and self.output:
            raise ValueError(f"output: got {self.output} with figures, expected it where two are compared")


def headline(runs: TwoRuns) -> RunDifference:
    """The first method of the catalogue that both have, at its largest N."""
    order = [name for name in METHODS if any(each.method == name for each in runs.differences)]
    name = order[0] if order else runs.differences[0].method
    return max((each for each in runs.differences if each.method == name), key=lambda each: each.n)


def verdict(runs: TwoRuns) -> list[str]:
    """What the comparison shows, in sentences."""
    told = headline(runs)
    n, name = told.n, method_phrase(told.method)
    in_a, in_b = (f"{percent(each.mean)} in {run} ({span(each)})" for run, each in told.by_run.items())
    better, worse = (sum(each.direction == sign for each in runs.differences) for sign in (1, -1))
    n_all = len(runs.differences)
    return [
        f"At N = {n}, {name} solves {in_a} and {in_b}: {in_points(told.difference)}, {shows(told)}.",
        f"Of {n_all} differences B solves more in {better} and less in {worse}; others are not told from 0."
        if better or worse
        else f"None of the {n_all} differences is told from 0.",
    ]


def shows(found: RunDifference) -> str:
    """What a difference shows: an interval beside 0 shows nothing where so many are looked at."""
    if found.difference.direction and not found.direction:
        return "not told from 0 with the correction for all differences here"
    return DIRECTION_WORDS[found.direction]


def in_points(difference: Interval) -> str:
    low, high = points(difference.low), points(difference.high)
    return f"{points(difference.mean)} points ({low} to {high})"


def how_compared(runs: TwoRuns) -> str:
    """How the intervals of the differences were made, for the head of the table."""
    how = (
        f"Paired: {runs.pairing}. Intervals are bootstraps of the difference within each problem, p-values "
        "those of a sign-flip test."
        if runs.is_paired
        else f"Not paired: {runs.pairing}. Intervals combine the bootstrap of each run, as of independent "
        "runs; p-values take them for normal."
    )
    return (
        f"B minus A in percentage points, its 95 % interval, and below what A and B solve, %. {how} Bold: "
        f"told from 0 with Holm's correction for all {len(runs.differences)} differences, below {LEVEL:g}."
    )


def table(runs: TwoRuns) -> tuple[list[int], list[tuple[str, list[RunDifference | None]]]]:
    """Every N, and a row a method with its difference (None: not in both) at each."""
    counts = sorted({each.n for each in runs.differences})
    names = list(dict.fromkeys(each.method for each in runs.differences))
    at = {(each.method, each.n): each for each in runs.differences}
    return counts, [(method_label(name), [at.get((name, n)) for n in counts]) for name in names]


def curves(runs: TwoRuns) -> dict[str, tuple[dict[int, Interval], dict[int, Interval]]]:
    """By method, what A and B solve at each N that both have."""
    found: dict[str, tuple[dict[int, Interval], dict[int, Interval]]] = {}
    for each in runs.differences:
        in_a, in_b = found.setdefault(each.method, ({}, {}))
        in_a[each.n], in_b[each.n] = each.first, each.second
    return found


def side_by_side(runs: TwoRuns) -> Iterator[tuple[str, StageCost | None, StageCost | None]]:
    """Costs of both by the name of the stage."""
    first, second = ({each.stage: each for each in some} for some in (runs.first_costs, runs.second_costs))
    for name in {**first, **second}:
        yield name, first.get(name), second.get(name)


def render(runs: TwoRuns) -> str:
    """The page as HTML."""
    counts, rows = table(runs)
    return (
        page_templates()
        .get_template("two_runs.html.jinja")
        .render(
            runs=runs,
            verdict=verdict(runs),
            how=how_compared(runs),
            counts=counts,
            rows=rows,
            plot=two_runs_plot(curves(runs)),
            only={run: in_words(some) for run, some in runs.only.items() if some},
            costs=list(side_by_side(runs)),
            totals=[total_cost(some) for some in (runs.first_costs, runs.second_costs)],
        )
    )


def in_words(only: Mapping[str, tuple[int, ...]]) -> str:
    return "; ".join(f"{method_label(name)} at N = {', '.join(map(str, ns))}" for name, ns in only.items())


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(ReportConfig, _as_options(sys.argv[1:] if argv is None else argv))
    if config.figures is not None and (config.runs[0] / REPORT_FILE).is_file():
        written = show_allocation(config.runs[0], config.figures)
        sys.stdout.write(f"{len(written) // 2} figures, as SVG and CSV: {config.figures}\n")
        return
    finished = [read_run(folder) for folder in config.runs]
    if config.figures is not None:
        written = write_figures(finished[0].report, config.figures)
        sys.stdout.write(f"{len(written) // 2} figures, as SVG and CSV: {config.figures}\n")
        return
    runs = compare_runs(*finished)
    sys.stdout.write("\n".join([*verdict(runs), how_compared(runs)]) + "\n")
    if config.output is not None:
        write_text(config.output / "comparison.html", render(runs))
        runs.write(config.output / "comparison.json")
        sys.stdout.write(f"\ncomparison: {config.output / 'comparison.html'}\n")


def _as_options(argv: Sequence[str]) -> list[str]:
    """`A B --key value` as `--runs A,B --key value`."""
    words = list(takewhile(lambda word: not word.startswith("-"), argv))
    return [*(["--runs", *words] if words else []), *argv[len(words) :]]


if __name__ == "__main__":
    run_command(main, "report")
