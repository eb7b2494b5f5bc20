"""The benchmark of thinking, whole, on a few problems."""

import json
from pathlib import Path

import pytest

from benchmarks.thinking import __main__ as thinking
from benchmarks.thinking import draws
from benchmarks.thinking.draws import DrawnSplit
from benchmarks.thinking.plan import NATURAL, Effort
from data_gen.problems.arithmetic.task import BASE_POLICY
from data_gen.sampling.thinking import ThinkingBudget

SMALL = ("--n_texts", "20", "--n_problems", "3", "--n_draws", "1", "--seed", "7")


def test_a_run_draws_each_effort_and_a_second_one_draws_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = {
        "cut 40": Effort(ThinkingBudget("</think>", 0, 40)),
        NATURAL: Effort(ThinkingBudget("</think>", 0, 60)),
        "forced 60": Effort(ThinkingBudget("</think>", 60, 80)),
    }
    monkeypatch.setattr(draws, "efforts", lambda: some)
    # Its training has tests of its own
    monkeypatch.setattr(thinking, "train", lambda config: config.policy.symlink_to(BASE_POLICY))
    output = tmp_path / "run"
    thinking.main(["run", "--output", str(output), *SMALL])
    rows = [json.loads(line) for line in (output / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 20
    test = DrawnSplit.read(output / "drawn-test.json")
    assert [set(problem.drawn) for problem in test.problems] == [set(some)] * 3
    for problem in test.problems:
        assert all(each.n_thought <= 40 + 8 for each in problem.drawn["cut 40"])  # and the end marker
        assert len(problem.others) == 1
    before = {path.name: path.stat().st_mtime_ns for path in output.glob("drawn-*")}
    monkeypatch.setattr(thinking, "train", lambda config: None)
    thinking.main(["run", "--output", str(output), *SMALL])
    assert {path.name: path.stat().st_mtime_ns for path in output.glob("drawn-*")} == before
