"""F6 from reports whose rows are written by hand."""

from dataclasses import replace

import pytest

from benchmarks.reproduce.size_finding import f6
from prm_train.allocation.size_results import OPTIMAL, PolicyFacts, SizeReport, SizeRow
from prm_train.metrics.estimators import Interval

FACTS = PolicyFacts("small", 100, 50.0, {"counted": 200.0})


def row(load: float, fifth: int, mean: float) -> SizeRow:
    return SizeRow(
        "counted", "own", load, "oracle", fifth, 100, "greedy", OPTIMAL, 1e6, 4.0,
        Interval(0.5, 0.4, 0.6), "level",
        difference=Interval(mean, mean - 0.05, mean + 0.05),
    )  # fmt: skip


def report(own_load: float, easiest: float, hardest: float) -> SizeReport:
    """Of a seed; `easiest` is the difference on that fifth at R = 0.16, `hardest` on that one at R = 22."""
    rows = [
        row(load, fifth, {(0.16, 0): easiest, (22.0, 4): hardest}.get((load, fifth), 0.0))
        for load in (0.16, 0.79, 22.0, own_load)
        for fifth in range(5)
    ]
    same = [replace(each, pretraining="same", difference=Interval(-0.9, -0.95, -0.85)) for each in rows]
    return SizeReport(FACTS, FACTS, 500, 14.0, 1.0, own_load, 5, 0, (*same, *rows))


def test_the_larger_policy_is_better_where_inference_is_much_and_problems_are_hard():
    found = f6([report(0.001, 0.2, -0.3), report(0.002, 0.1, -0.1)])
    assert found.shows
    assert [claim.interval.mean for claim in found.claims] == pytest.approx([0.15, -0.2])
    assert (found.claims[0].interval.low, found.claims[0].interval.high) == pytest.approx((0.05, 0.25))
    assert "14.0 times the parameters, at R = 0.16 on the easiest fifth" in found.sentence
    [table] = found.tables.values()
    assert [line[0] for line in table] == ["R", "0.16", "0.79", "22"]  # not the seeds' own R
    assert table[1][1] == "+15.0 (+5.0 to +25.0)"


def test_one_seed_whose_interval_holds_0_is_enough_not_to_show():
    found = f6([report(0.001, 0.2, -0.3), report(0.002, 0.2, -0.02)])
    assert [claim.holds for claim in found.claims] == [True, False]
    assert not found.shows


def test_a_budget_that_pays_for_no_answer_is_said():
    one = report(0.001, 0.2, -0.3)
    rows = [
        replace(each, difference=None, verdict="unaffordable") if each.load == 22.0 else each
        for each in one.rows
    ]
    found = f6([replace(one, rows=tuple(rows))])
    assert not found.shows
    assert "the budget pays for no answer" in found.sentence
    [table] = found.tables.values()
    assert ["22", *["unaffordable"] * 5] in table


def test_a_small_policy_that_has_budget_left_is_not_shown_to_be_worse():
    """With all of it, it might be better; where it is better already, it is better."""
    seed = report(0.001, 0.2, -0.3)
    cut_off = replace(seed, rows=tuple(replace(each, is_whole_budget=False) for each in seed.rows))
    assert [claim.holds for claim in f6([cut_off]).claims] == [True, False]
    assert not f6([seed, cut_off]).shows
