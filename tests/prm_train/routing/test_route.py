"""`prm-train route fit` on results that are small enough to work out by hand: those of the tests of allocate.

Easy problems have three right samples of four, hard ones one; the PRM gives right ones 0.9, wrong ones 0.1. A
sample costs 5 for the prompt, 2 and 17 of the PRM: 24. Four that vote by their scores cost 42 and solve all.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from data_gen.sampling.draw_settings import DrawSettings
from data_gen.settings.errors import InputError
from prm_train.evaluation.choosing import choose_settings
from prm_train.evaluation.costs import Costs
from prm_train.evaluation.difficulty import target_rates
from prm_train.evaluation.shards import FinishedSearch, read_search
from prm_train.metrics.difficulty import PassRateFit
from prm_train.route import main, makers_of, searched
from prm_train.routing.paths import NO_SCORE, PathMaker
from prm_train.routing.plan import plan_of
from prm_train.routing.report import RouteReport
from prm_train.routing.settings import RouteConfig
from prm_train.routing.stages import Mix
from prm_train.routing.study import FitSettings, fit_router, judge
from prm_train.search.allocation import Allocation, BudgetChoices
from prm_train.search.routing.router import Router
from tests.prm_train.allocation.test_allocate import result, write_search


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_search(tmp_path / "validation", ["easy", "hard"] * 3)
    write_search(tmp_path / "test", ["easy", "hard"] * 6)
    return tmp_path


def fit(folder: Path, *arguments: str, test: bool = True) -> tuple[RouteReport, Router]:
    judged = [f"--test={folder / 'test'}"] if test else []
    options = (f"--validation={folder / 'validation'}", f"--output={folder / 'route'}", *judged)
    main(["fit", *options, "--prompt_head", "false", *arguments])
    return RouteReport.read(folder / "route" / "route-report.json"), Router.read(
        folder / "route" / "router.json"
    )


def test_the_router_takes_right_samples_and_searches_for_the_rest(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of an easy problem's samples three stand for 24 and one goes on for 42: 28.5; of a hard one's 37.5."""
    caplog.set_level(logging.INFO)
    report, router = fit(folder, "--method", "prm_weighted")
    assert (router.accept_from, router.simple_from, router.fit) == (0.9, 0.0, None)
    assert [(each.method, each.n) for each in router.complex] == [("prm_weighted", 4)]
    assert router.models == {"policy": "p1", "prm": "s1"}
    assert (report.n_fitted, report.n_judged, report.judged_on) == (6, 12, "test problems")
    assert report.router.cost["tokens"] == pytest.approx(33.0)
    assert report.router.simple_share == 0.5
    assert report.always_complex.cost["tokens"] == 42.0
    assert (report.router.accuracy.mean, report.always_complex.accuracy.mean) == (1.0, 1.0)
    assert (report.always_simple.accuracy.mean, report.always_simple.cost["tokens"]) == (0.5, 24.0)
    saved = report.saved["tokens"]
    assert saved.mean == pytest.approx(9 / 42)
    # all easy: 13.5 of 42; all hard: 4.5
    assert 4.5 / 42 < saved.low < saved.mean < saved.high < 13.5 / 42
    assert report.accuracy_difference.mean == 0.0
    # by lot one half costs 33, too, and solves 0.75
    assert report.over_mix.mean == pytest.approx(0.25)
    assert (report.wrong.n_wrong_simple, report.wrong.n_right_complex) == (0.0, 0.0)
    first, last = report.curve[0], report.curve[-1]
    assert (first.point.accuracy.mean, first.point.cost["tokens"], first.accept_from) == (0.5, 24.0, 0.0)
    assert (last.point.accuracy.mean, last.point.cost["tokens"], last.point.simple_share) == (1.0, 42.0, 0.0)
    assert report.run is not None
    assert report.run.command.startswith("prm-train route --validation ")
    assert "tokens saved: 21.4 %" in caplog.text
    assert "its answer stands from a score of 0.9000" in caplog.text


def test_without_a_method_the_cheapest_path_that_solves_as_many_is_chosen(folder: Path) -> None:
    """Of those that solve all, which cost 42 alike, the first is the reference."""
    report, router = fit(folder)
    assert (report.reference_path, report.reference.cost["tokens"]) == ("prm_vanilla 4", 42.0)
    assert (report.reference.accuracy.mean, report.router.accuracy.mean) == (1.0, 1.0)
    assert router.complex[0].n == 4
    assert report.saved["tokens"].mean == pytest.approx(9 / 42)
    cheap, router = fit(folder, "--reference", "prm_weighted", "--reference_n", "2")
    assert (cheap.reference.accuracy.mean, cheap.reference.cost["tokens"]) == (0.75, 30.0)
    # easy ones cost a sample or two, hard ones two: (3 x 24 + 30) / 4 and the like, by what stands
    assert cheap.router.accuracy.mean >= 0.75
    assert cheap.router.cost["tokens"] < 30.0
    with pytest.raises(
        InputError, match=r"reference: solves 100.0% of the problems .* complex path solves less"
    ):
        fit(folder, "--reference", "prm_weighted", "--method", "majority")


def test_without_test_problems_other_folds_judge(folder: Path) -> None:
    """Two folds, one of which may hold more easy problems than the other: each is judged by the other."""
    report, router = fit(folder, "--n_folds", "2", "--method", "prm_weighted", test=False)
    assert (report.n_judged, report.judged_on) == (6, "of them, by folds that did not fit them")
    assert report.router.cost["tokens"] == pytest.approx(33.0)
    assert report.saved["tokens"].mean == pytest.approx(9 / 42)
    assert router.accept_from == 0.9


def test_a_tolerance_buys_samples_that_are_wrong_and_they_are_counted(folder: Path) -> None:
    report, router = fit(folder, "--tolerance", "0.5", "--caution", "0", "--method", "prm_weighted")
    assert router.accept_from == 0.0
    assert report.accuracy_difference.mean == -0.5
    # one of four samples of 6 easy problems, and three of four of 6 hard ones
    assert report.wrong.n_wrong_simple == pytest.approx(6 * 0.25 + 6 * 0.75)
    assert report.wrong.wrong_simple.mean == pytest.approx(0.5)


def test_the_complex_path_of_a_draw_is_that_of_its_block_and_shares_it() -> None:
    """Blocks of two: of a hard problem the first has nothing right, the second a right sample."""
    results = [result("h", "hard")]
    chosen = choose_settings(results)
    maker = PathMaker(Costs(results, "\n", {}), chosen, "prm", "min")
    pairs = maker.paths(maker.arms.arm("prm_weighted", 2).choice)
    assert pairs.complex_right.tolist() == [[0.0, 0.0, 1.0, 1.0]]
    assert pairs.simple_right.tolist() == [[0.0, 0.0, 0.0, 1.0]]
    assert pairs.score.tolist() == [[0.1, 0.1, 0.1, 0.9]]
    assert pairs.simple["tokens"].tolist() == [[24.0] * 4]
    assert pairs.complex["tokens"].tolist() == pairs.escalated["tokens"].tolist() == [[30.0] * 4]
    # a majority reads no scores: that of the sample is paid for besides, its draw is not
    majority = maker.paths(maker.arms.arm("majority", 2).choice)
    assert majority.complex["tokens"].tolist() == [[9.0] * 4]
    assert majority.escalated["tokens"].tolist() == [[9.0 + 17.0] * 4]
    assert majority.counts.tolist() == [[1.0] * 4]
    # of the last two answers, 1 and 9, by 0.1 and 0.9; a majority is even
    assert pairs.confidence.tolist() == [[1.0, 1.0, pytest.approx(0.9), pytest.approx(0.9)]]
    assert majority.confidence.tolist() == [[1.0, 1.0, 0.5, 0.5]]
    # as sure as the share times the score; a majority, which reads none, as its share
    assert pairs.sure.tolist() == [[0.1, 0.1, pytest.approx(0.81), pytest.approx(0.81)]]
    assert majority.sure.tolist() == majority.confidence.tolist()
    assert (pairs.n_drawn, majority.n_drawn) == (2, 0)
    # who stops early looks at the first of a block first
    early = maker.paths(maker.arms.arm("prm_weighted_margin", 2).choice)
    assert early.counts.tolist() == [[1.0, 0.0, 1.0, 0.0]]
    assert NO_SCORE < 0.0


class Prompts:
    """Reads of a prompt what its pass@1 is; as `PromptReader`."""

    def __init__(self, search: FinishedSearch) -> None:
        self._rates = {each.problem.question: np.mean(target_rates([each], 0)) for each in search.results}

    def read(self, questions: Sequence[str]) -> tuple[np.ndarray, list[int]]:
        return np.array([[self._rates[each]] for each in questions]), [1] * len(questions)


def test_an_allocation_has_the_search_of_each_bin_and_answers_without_a_router(folder: Path) -> None:
    """Easy questions get two samples, hard ones four, for 42; reading a prompt costs 1. The router lets right
    samples stand: of an easy question three for 24, of a hard one one.
    """
    config = RouteConfig((folder / "validation",), folder / "route", allocation=folder / "allocation.json")
    search = read_search(config.validation)
    [maker], _ = makers_of(config, [search], choose_settings(search.results))
    choices = tuple(maker.arms.arm("prm_weighted", n).choice for n in (2, 4))
    Allocation(
        models={"policy": "p1", "prm": "s1"},
        difficulty="prompt",
        fit=PassRateFit((1.0,), 0.0, 0.0),
        draws=DrawSettings(),
        aggregation="min",
        n_draws=4,
        edges=(0.5,),
        unit="tokens",
        sharing="mean",
        budgets=(BudgetChoices(50.0, choices, 1.0, 36.0),),
    ).write(folder / "allocation.json")
    plan = plan_of(config, maker, search, None)
    assert (plan.choices, plan.reference, plan.given) == (choices, None, Mix((0, 1), (0.5,)))
    problems = searched(maker, plan, Prompts(search))  # type: ignore[arg-type]
    right, cost = problems.reference
    assert cost["tokens"].tolist() == [31.0, 43.0] * 3  # two samples cost 30
    fitted = fit_router(problems, FitSettings(), plan.given, plan.fit)
    assert (fitted.mix, fitted.fit) == (plan.given, plan.fit)
    found = judge(problems, fitted).router
    assert found.right.tolist() == right.tolist()
    assert found.cost["tokens"].tolist() == [1 + (3 * 24 + 30) / 4, 1 + (24 + 3 * 42) / 4] * 3


def test_what_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="method and n: got beam 4; expected one of majority 1"):
        fit(folder, "--method", "beam", "--n", "4")
    with pytest.raises(
        InputError, match="method: got logprob 4, which a router cannot ask for: strategy: got"
    ):
        fit(folder, "--method", "logprob")
    with pytest.raises(InputError, match="scorer: got orm; expected one whose scores are in validation: prm"):
        fit(folder, "--scorer", "orm")
    with pytest.raises(InputError, match="unit: got flops; expected tokens"):
        fit(folder, "--unit", "flops")
    with pytest.raises(InputError, match="n_folds: got 7; expected at most 6"):
        fit(folder, "--n_folds", "7")
    with pytest.raises(InputError, match='action: got "fly", expected one of fit'):
        main(["fly", f"--validation={folder / 'validation'}", f"--output={folder / 'route'}"])
