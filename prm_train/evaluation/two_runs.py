"""Two runs beside each other: what each method solves in both, and in what the runs differ.

A difference is B minus A. Where both runs searched the same test problems (the same ids with the same
questions), their verdicts are compared within each problem, which leaves out what makes problems easy or
hard. Otherwise the runs are independent, and the two bootstrap intervals that their reports hold become one
of the difference.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from data_gen.files.stored_record import StoredRecord
from data_gen.settings.errors import InputError
from prm_train.evaluation.choosing import Chosen
from prm_train.evaluation.comparison import Comparison
from prm_train.evaluation.differing import Differing, differing_facts, differing_methods, differing_settings
from prm_train.evaluation.results import SearchReport, StageCost
from prm_train.evaluation.shards import FinishedSearch, read_search
from prm_train.metrics.estimators import Z_95, Interval, paired_difference, paired_values
from prm_train.metrics.many_comparisons import LEVEL, holm_adjusted, sign_flip_p_value
from prm_train.strategies.voting import TreeVote

SEED = 0  # of the bootstrap over problems
Correct = Mapping[str, Mapping[int, NDArray[np.float64]]]


@dataclass(frozen=True)
class RunDifference:
    """Accuracy of a method at `n` samples in both runs, and B minus A; `p_holm` is corrected for all
    differences between the runs.
    """

    method: str
    n: int
    first: Interval
    second: Interval
    difference: Interval
    p_value: float
    p_holm: float = 1.0

    @property
    def by_run(self) -> dict[str, Interval]:
        return {"A": self.first, "B": self.second}

    @property
    def direction(self) -> int:
        """+1 if B solves more, -1 if it solves less, 0 if that cannot be told."""
        return self.difference.direction if self.p_holm < LEVEL else 0


@dataclass(frozen=True)
class TwoRuns(StoredRecord):
    """What `prm-train report A B` shows. `pairing` says whether differences are paired, and why; `only` lists
    the methods that one run alone has, at which N.
    """

    WRITTEN_BY = "`prm-train report`"

    first: str
    second: str
    is_paired: bool
    pairing: str
    differences: tuple[RunDifference, ...]
    only: Mapping[str, Mapping[str, tuple[int, ...]]]
    facts: tuple[Differing, ...]
    settings: tuple[Differing, ...]
    methods: tuple[Differing, ...]
    first_costs: tuple[StageCost, ...]
    second_costs: tuple[StageCost, ...]


@dataclass(frozen=True)
class FinishedRun:
    """A folder with a report, the report, and the settings that validation chose, where they are stored."""

    folder: Path
    report: SearchReport
    chosen: Chosen | None

    @property
    def test_folders(self) -> list[Path]:
        return [self.folder / name for name in self.report.run.searches.get("test", ())]


def read_run(folder: Path) -> FinishedRun:
    """Raises InputError where there is no report."""
    if not (folder / "report.json").is_file():
        raise InputError(
            f"{folder}: no report there: it holds no report.json; expected the output folder of `prm-train "
            "evaluate` or of a quickstart"
        )
    report, path = SearchReport.read(folder / "report.json"), folder / "chosen.json"
    return FinishedRun(folder, report, Chosen.read(path) if path.is_file() else None)


def compare_runs(first: FinishedRun, second: FinishedRun) -> TwoRuns:
    """Raises InputError if a report is not that of the searches that it names, or no method was measured at
    the same N in both runs.
    """
    why_not, searches = _searches_to_pair(first, second)
    if searches is None:
        is_paired, pairing, found = False, why_not, list(_unpaired(first.report, second.report))
    else:
        n = len(searches[0].results)
        is_paired, pairing = True, f"both runs searched the same {n} test problems"
        tables = [_correct(run, search) for run, search in zip((first, second), searches, strict=True)]
        found = list(_paired(first, second, *tables))
    if not found:
        raise InputError(
            f"{first.folder} and {second.folder}: no method was measured at the same N in both; expected at "
            "least one to compare"
        )
    p_values = holm_adjusted([each.p_value for each in found])
    one, other = first.report, second.report
    return TwoRuns(
        str(first.folder),
        str(second.folder),
        is_paired,
        pairing,
        tuple(replace(each, p_holm=p) for each, p in zip(found, p_values, strict=True)),
        {"A": only_in(one, other), "B": only_in(other, one)},
        differing_facts(one.run, other.run),
        differing_settings(one.run.config_text, other.run.config_text),
        differing_methods(one.settings, other.settings),
        one.run.stages,
        other.run.stages,
    )


def only_in(one: SearchReport, other: SearchReport) -> dict[str, tuple[int, ...]]:
    """By method, the N at which it was measured in `one` alone."""
    missing = {
        name: tuple(sorted(set(one.accuracy[name]) - set(other.accuracy.get(name, ()))))
        for name in one.methods
    }
    return {name: ns for name, ns in missing.items() if ns}


def unpaired_difference(first: Interval, second: Interval) -> Interval:
    """B minus A of independent runs, from the 95 % interval of each: squares of the distances to the ends are
    added (Newcombe 1998; Zou and Donner 2008), which keeps them as lopsided as they are.
    """
    difference = second.mean - first.mean
    low = math.hypot(second.mean - second.low, first.high - first.mean)
    high = math.hypot(second.high - second.mean, first.mean - first.low)
    return Interval(difference, difference - low, difference + high)


def normal_p_value(difference: Interval) -> float:
    """Two-sided p-value of "no difference", as if the interval were that of a normal distribution."""
    deviation = (difference.high - difference.low) / (2 * Z_95)
    if not deviation:
        return float(not difference.mean)
    return math.erfc(abs(difference.mean) / deviation / math.sqrt(2))


def _shared(one: SearchReport, other: SearchReport) -> Iterator[tuple[str, int]]:
    for name in one.methods:
        for n in sorted(set(one.accuracy[name]) & set(other.accuracy.get(name, ()))):
            yield name, n


def _unpaired(one: SearchReport, other: SearchReport) -> Iterator[RunDifference]:
    for name, n in _shared(one, other):
        first, second = one.accuracy[name][n], other.accuracy[name][n]
        difference = unpaired_difference(first, second)
        yield RunDifference(name, n, first, second, difference, normal_p_value(difference))


def _paired(first: FinishedRun, second: FinishedRun, one: Correct, other: Correct) -> Iterator[RunDifference]:
    for name, n in _shared(first.report, second.report):
        ours, theirs = other[name][n], one[name][n]
        yield RunDifference(
            name,
            n,
            first.report.accuracy[name][n],
            second.report.accuracy[name][n],
            paired_difference(ours, theirs, np.random.default_rng(SEED)),
            sign_flip_p_value(paired_values(ours, theirs), np.random.default_rng(SEED)),
        )


def _searches_to_pair(
    first: FinishedRun, second: FinishedRun
) -> tuple[str, tuple[FinishedSearch, FinishedSearch] | None]:
    """The searches of both runs, or why they cannot be compared problem by problem."""
    for run in (first, second):
        if not run.test_folders:
            return f"the report in {run.folder} does not name its searches (an earlier version)", None
        if run.chosen is None:
            return f"{run.folder} holds no chosen.json", None
        missing = [folder for folder in run.test_folders if not (folder / "results.jsonl").is_file()]
        if missing:
            return f"the search of {run.folder} is not in {missing[0]} any more", None
    one, other = read_search(first.test_folders), read_search(second.test_folders)
    ids, others = (
        {result.problem.problem_id: result.problem.question for result in search.results}
        for search in (one, other)
    )
    if ids != others:
        n_shared = len(ids.items() & others.items())
        counts = f"{len(ids)} and {len(others)}, of which {n_shared} are in both"
        return f"the test problems differ: {counts}", None
    return "", (one, other)


def _correct(run: FinishedRun, search: FinishedSearch) -> Correct:
    """What each method solved of each problem. Raises InputError if that is not what the report says."""
    assert run.chosen is not None
    votes: Sequence[TreeVote] = get_args(TreeVote)  # whichever the report has
    table = Comparison(search.results, run.chosen, SEED, tuple(votes), search.config.step_separator).correct()
    for name, curve in run.report.accuracy.items():
        for n, interval in curve.items():
            found = table[name][n].mean() if n in table.get(name, {}) else None
            if found is None or not math.isclose(found, interval.mean, abs_tol=1e-9):
                raise InputError(
                    f"{run.folder / 'report.json'}: {name} at N = {n} solves {interval.mean:.4g}, got "
                    f"{found if found is None else round(float(found), 4)} from {run.test_folders[0]} and "
                    "chosen.json; expected the report of these searches: run `prm-train evaluate` again"
                )
    return table
