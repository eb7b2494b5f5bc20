"""The page of an allocation and its pictures, of records that are small enough to read."""

import dataclasses

import pytest

from data_gen.sampling.draw_settings import DrawSettings
from prm_train.allocation.early_stop import EarlyStop, StopPoint, Threshold
from prm_train.allocation.page import render
from prm_train.allocation.pictures import (
    allocation_figures,
    allocation_map,
    gains_plot,
    map_legend,
    rows_like,
    stop_plot,
)
from prm_train.allocation.results import AllocationReport, AllocationRow, AllocationRun, CurvePoint, Gain
from prm_train.allocation.savings import Saving
from prm_train.evaluation.pictures.figures import as_csv
from prm_train.metrics.difficulty import PassRateFit
from prm_train.metrics.estimators import Interval
from prm_train.search.allocation import Allocation, BudgetChoices, Choice
from tests.prm_train.evaluation.test_report import Page, around

SAVING = Saving(3.5, 1.9, 3.6, "above", 0.56, 0.0)


def row(difficulty: str, budget: float, accuracy: float, by_bin: tuple[str, ...]) -> AllocationRow:
    gains = (
        Gain("best fixed choice", 0.5, 0.8 * budget, around(accuracy - 0.5), SAVING),
        Gain("prm_weighted", 0.4, budget, around(accuracy - 0.4), SAVING),
    )
    return AllocationRow(
        difficulty, "quantile", "mean", "tokens", budget, around(accuracy), 0.9 * budget, by_bin, gains
    )


ROWS = (
    row("oracle", 100, 0.6, ("majority 1", "majority 1", "prm_weighted 4")),
    row("oracle", 1000, 0.9, ("majority 1", "prm_weighted 4", "dvts:survivors=sampled_prior 16")),
    row("score", 1000, 0.8, ("majority 1", "prm_weighted 4", "prm_weighted 4")),
    row("blind", 100, 0.5, ("majority 1",) * 3),
)
STOP = EarlyStop(
    "majority",
    "beta",
    64,
    StopPoint(Threshold("beta", 1.0), 0.5, 4000.0),
    (StopPoint(Threshold("beta", 0.9), 0.5, 2000.0), StopPoint(Threshold("beta", 0.6), 0.4, 500.0)),
    Threshold("beta", 0.9),
    Interval(0.5, 0.4, 0.6),
    Interval(0.0, -0.02, 0.01),
)
REPORT = AllocationReport(
    n_problems=30,
    n_failed=0,
    n_arms=9,
    n_folds=5,
    prior=20.0,
    seed=0,
    best_of_n="prm_weighted",
    curve=(
        CurvePoint(1, around(0.4), {"tokens": 90.0}),
        CurvePoint(4, around(0.7), {"tokens": 900.0}),
    ),
    rows=(
        *ROWS,
        dataclasses.replace(ROWS[0], unit="generations"),
        dataclasses.replace(ROWS[0], bins="absolute"),
    ),
    early_stops=(STOP, dataclasses.replace(STOP, method="prm_weighted", chosen=None, tokens_saved=None)),
    run=AllocationRun("prm-train allocate --seed 7", "prm-train 0.1.0, commit abc", "2026-01-02"),
)
CHOICE = Choice("majority", 1, "majority", 1.0)
ALLOCATION = Allocation(
    models={"policy": "0123456789abcdef"},
    difficulty="score",
    fit=PassRateFit((1.0,), 0.0, 0.0),
    draws=DrawSettings(),
    aggregation="last",
    n_draws=2,
    edges=(0.3, 0.6),
    unit="tokens",
    sharing="mean",
    budgets=(BudgetChoices(1000.0, (CHOICE,) * 3, 0.8, 900.0),),
)


def test_the_map_has_a_row_a_bin_and_a_column_a_budget() -> None:
    rows = rows_like(REPORT, ALLOCATION)
    assert rows == list(ROWS)
    oracle = [each for each in rows if each.difficulty == "oracle"]
    grid = allocation_map(oracle[::-1], 800, 100, by_letter=False)
    assert grid.columns == (("100", "60.0 %"), ("1 k", "90.0 %"))
    assert grid.rows == ("easiest", "2", "hardest")
    assert [[tile.texts[0] for tile in line if tile] for line in grid.tiles] == [
        ["A, N = 1", "A, N = 1"],
        ["A, N = 1", "B, N = 4"],
        ["B, N = 4", "C, N = 16"],
    ]
    last = grid.tiles[2][1]
    assert last is not None
    assert (last.style, last.shown) == ("c-dvts", "DVTS (survivors=sampled_prior), N = 16")
    # of seven budgets each has 100 pixels, which have no room for settings
    narrow = allocation_map([oracle[1]] * 7, 800, 100, by_letter=False).tiles[2][0]
    assert narrow is not None
    assert narrow.texts == ("C, N = 16", "DVTS")
    letters = allocation_map(oracle, 358, 54, by_letter=True).tiles[2][1]
    assert letters is not None
    assert letters.texts == ("C", "16")
    assert map_legend(oracle)[2] == ("C", "c-dvts", "DVTS (survivors=sampled_prior)")


def test_accuracy_is_drawn_at_what_was_spent() -> None:
    lines = {one.label: one.points for one in gains_plot(REPORT, ALLOCATION).lines}
    assert list(lines) == ["PRM weighted", "best fixed", "blind control", "by oracle", "by score"]
    assert [x for x, _ in lines["PRM weighted"]] == [90.0, 900.0]
    assert [(x, at.mean) for x, at in lines["best fixed"]] == [(80.0, 0.5), (800.0, 0.5)]
    assert [(x, at.mean) for x, at in lines["by oracle"]] == [(90.0, 0.6), (900.0, 0.9)]


def test_a_rule_is_a_curve_of_its_thresholds_with_the_chosen_one_circled() -> None:
    """On 284 pixels from 34 on, tokens from 500 / 1.1 to 4000 * 1.1 on a logarithmic axis: 2000 is at
    34 + 284 * log(4.4) / log(9.68).
    """
    plot = stop_plot([STOP])
    whole, rule, chosen = plot.lines
    assert (whole.label, whole.points[0][0]) == ("all 64", 4000.0)
    assert [(x, at.mean) for x, at in rule.points] == [(500.0, 0.4), (2000.0, 0.5)]
    ((x, interval),) = chosen.points
    assert (chosen.label, x) == ("beta, chosen: 0.9", 2000.0)
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.5, 0.48, 0.51))
    assert 'cx="219.4"' in plot.wide
    assert ">beta<" in plot.wide
    assert ">beta, chosen" not in plot.wide.replace("<title>beta, chosen", "")  # a circle needs no name
    without = dataclasses.replace(STOP, chosen=None)
    assert len(stop_plot([without]).lines) == 2


def test_the_page_is_well_formed_and_says_what_made_it() -> None:
    html = render(REPORT, ALLOCATION)
    assert Page(html).open == []
    assert "None" not in html
    for text in (
        "<code>prm-train allocate --seed 7</code>",
        "policy <code>0123456789ab</code> · prm-train 0.1.0, commit abc · 2026-01-02",
        "≥ 3.50× (1.90–3.60)",
        "56 % unreached",
        "none was as accurate there",
    ):
        assert text in html
    assert Page(render(dataclasses.replace(REPORT, run=None, early_stops=()), ALLOCATION)).open == []


def test_every_picture_is_a_file_with_its_data() -> None:
    found = {figure.name: as_csv(figure).splitlines() for figure in allocation_figures(REPORT, ALLOCATION)}
    assert list(found) == [
        *("allocation-by-score", "allocation-by-oracle", "allocation-gains"),
        *("early-stop-majority", "early-stop-prm_weighted"),
    ]
    assert found["allocation-by-oracle"][:2] == [
        "row,column,column_detail,method,n",
        "easiest,100,60.0 %,majority,1",
    ]
    assert "by score,900,0.8,0.76,0.8400000000000001" in found["allocation-gains"]
    assert "beta,2000,0.5,," in found["early-stop-majority"]
