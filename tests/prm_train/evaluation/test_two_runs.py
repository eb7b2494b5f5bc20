"""Two runs compared, by hand."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from data_gen.settings.errors import InputError
from data_gen.settings.parse import run_command
from prm_train.evaluation.differing import Differing
from prm_train.evaluation.results import SearchReport
from prm_train.evaluation.two_runs import (
    TwoRuns,
    compare_runs,
    normal_p_value,
    read_run,
    unpaired_difference,
)
from prm_train.metrics.estimators import Z_95, Interval
from prm_train.report import main, render, verdict
from tests.prm_train.evaluation.test_report import FULL, RUN, Page, around
from tests.prm_train.evaluation.test_shards import evaluate, write_search


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs a and b on the same six problems, of which b solves the last three alone; c is on five of them and
    one more.
    """
    folder = tmp_path_factory.mktemp("searched")
    for name, first in (("a", 0), ("b", 0), ("c", 1)):
        (folder / name).mkdir()
        write_search(folder / name / "validation", 10)
        results = write_search(folder / name / "test", first) / "results.jsonl"
        if name == "b":
            lines = results.read_text().splitlines(keepends=True)
            wrong = [line.replace('"is_correct":true', '"is_correct":false') for line in lines[:3]]
            results.write_text("".join([*wrong, *lines[3:]]))
        evaluate(folder / name)
    return folder


def compared(searched: Path, other: str) -> TwoRuns:
    return compare_runs(*(read_run(searched / name / "report") for name in ("a", other)))


def test_runs_on_the_same_problems_are_compared_within_each_problem(searched: Path) -> None:
    runs = compared(searched, "b")
    assert runs.is_paired
    assert runs.pairing == "both runs searched the same 6 test problems"
    found = {(each.method, each.n): each for each in runs.differences}["pass_at_n", 2]
    assert (found.first.mean, found.second.mean, found.difference.mean) == (1.0, 0.5, -0.5)
    assert found.p_value == 2 / 2**3  # three problems differ, all to one side: two of eight choices of signs
    assert found.direction == 0
    assert runs.facts == runs.settings == runs.methods == ()


def test_a_run_compared_with_itself_differs_nowhere(searched: Path) -> None:
    runs = compared(searched, "a")
    assert {each.difference.mean for each in runs.differences} == {0.0}
    assert {each.p_holm for each in runs.differences} == {1.0}
    assert verdict(runs)[1] == f"None of the {len(runs.differences)} differences is told from 0."


def test_runs_on_other_problems_are_compared_by_their_intervals(searched: Path) -> None:
    runs = compared(searched, "c")
    assert not runs.is_paired
    assert runs.pairing == "the test problems differ: 6 and 6, of which 5 are in both"
    found = {(each.method, each.n): each for each in runs.differences}["pass_at_n", 2]
    assert found.difference == unpaired_difference(found.first, found.second)


def test_the_distances_to_the_ends_of_two_independent_intervals_add_as_squares() -> None:
    found = unpaired_difference(Interval(0.5, 0.46, 0.53), Interval(0.75, 0.71, 0.87))
    assert found.mean == pytest.approx(0.25)
    assert found.low == pytest.approx(0.25 - 0.05)  # 4 down of B, 3 up of A
    assert found.high == pytest.approx(0.25 + math.hypot(0.12, 0.04))


def test_the_p_value_of_two_standard_deviations_is_five_percent_less_a_little() -> None:
    found = normal_p_value(Interval(0.2, 0.2 - 0.1 * Z_95, 0.2 + 0.1 * Z_95))
    assert found == pytest.approx(0.0455, abs=1e-4)
    assert normal_p_value(Interval(0.0, -0.1, 0.1)) == 1


def test_a_report_that_is_not_of_its_searches_is_refused(searched: Path, tmp_path: Path) -> None:
    report = SearchReport.read(searched / "a" / "report" / "report.json")
    wrong = {**report.accuracy, "pass_at_n": {2: Interval(0.9, 0.8, 1.0)}}
    run = replace(report.run, searches={"test": (str(searched / "a" / "test"),)})
    replace(report, accuracy=wrong, run=run).write(tmp_path / "report.json")
    (tmp_path / "chosen.json").write_text((searched / "a" / "report" / "chosen.json").read_text())
    with pytest.raises(InputError, match=r"pass_at_n at N = 2 solves 0\.9, got 1\.0 from "):
        compare_runs(read_run(searched / "a" / "report"), read_run(tmp_path))


def test_what_the_runs_do_not_share_is_told(tmp_path: Path) -> None:
    config = {"output": "x", "search": {"n": 4, "sizes": [4, 16]}}
    others = {"output": "y", "search": {"n": 8, "sizes": [4, 16], "prm": None}}
    accuracy = {name: curve for name, curve in FULL.accuracy.items() if name != "beam"}
    for name, seed, settings, table in (("a", 1, config, FULL.accuracy), ("b", 2, others, accuracy)):
        (tmp_path / name).mkdir()
        run = replace(RUN, seed=seed, config_text=json.dumps(settings), models={"prm": f"of {name}"})
        words = {"majority": f"T = 0.{seed}"}
        replace(FULL, run=run, accuracy=table, settings=words).write(tmp_path / name / "report.json")
    runs = compare_runs(read_run(tmp_path / "a"), read_run(tmp_path / "b"))
    assert runs.only == {"A": {"beam": (4,)}, "B": {}}
    assert runs.facts == (Differing("seed", "1", "2"), Differing("prm", "of a", "of b"))
    assert runs.settings == (Differing("search.n", "4", "8"), Differing("search.prm", "–", "null"))
    assert runs.methods == (Differing("majority", "T = 0.1", "T = 0.2"),)
    html = render(runs)
    assert Page(html).open == []
    for told in (
        "In A alone: beam search at N = 4.",
        "search.n",
        "of b",
        "1 min 00 s",
        "does not name its",
        ">B: majority<",
    ):
        assert told in html
    runs.write(tmp_path / "comparison.json")
    assert TwoRuns.read(tmp_path / "comparison.json") == runs


def test_a_difference_beside_0_is_no_finding_where_it_is_one_of_many(tmp_path: Path) -> None:
    for name, mean in (("a", 0.46), ("b", 0.53)):  # 7 points, half a width of 5.66: p = 0.015, times four
        (tmp_path / name).mkdir()
        accuracy = {"majority": {1: around(mean), 4: around(0.5), 16: around(0.5), 64: around(0.5)}}
        replace(FULL, accuracy=accuracy).write(tmp_path / name / "report.json")
    runs = compare_runs(read_run(tmp_path / "a"), read_run(tmp_path / "b"))
    found = runs.differences[0]
    assert found.difference.direction == 1
    assert found.p_holm == pytest.approx(4 * found.p_value)
    assert (found.p_holm > 0.05, found.direction) == (True, 0)


def test_a_folder_without_a_report_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run_command(lambda: main([str(tmp_path), str(tmp_path)]), "report")
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith(f"report: error: {tmp_path}: no report there: it holds no report.json; expected ")
    assert told.count("\n") == 1


def test_the_command_leaves_a_page_and_its_numbers(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [str(searched / name / "report") for name in ("a", "b")]
    main([*folders, "--output", str(tmp_path)])
    assert "−50.0 points" in capsys.readouterr().out
    assert TwoRuns.read(tmp_path / "comparison.json").is_paired
    assert "Paired: both runs searched the same 6" in (tmp_path / "comparison.html").read_text()
