"""An allocation on results that are small enough to work out by hand: what arms cost with an estimate of
difficulty and without, what the allocation saves, and what stopping early does.

Easy problems have three right samples of four and hard ones one, the last; the PRM knows which. A sample
takes 2 tokens behind a prompt of 5, and the PRM 10 for the question, 3 for the first step that all share and
4 for the second. So a majority of N costs 5 + 2 N, and a vote weighted by the PRM 18 + 6 N.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from data_gen.policies.config import PolicyConfig
from data_gen.problems.sources import ProblemSource
from data_gen.records.sampling import Usage
from data_gen.records.solutions import Problem
from data_gen.settings.errors import InputError
from data_gen.settings.parse import dump_config
from prm_train.allocation.allocate import main
from prm_train.allocation.arms import Arm, ArmMaker, with_estimate
from prm_train.allocation.results import AllocationReport, AllocationRow, Gain
from prm_train.estimate_difficulty import main as estimate_difficulty
from prm_train.evaluation.choosing import choose_settings
from prm_train.evaluation.costs import Costs
from prm_train.report import main as show
from prm_train.scoring.flops import ForwardFlops
from prm_train.scoring.protocol import ScorerUsage
from prm_train.search.allocation import Allocation, Choice
from prm_train.search.results import Cost, Difficulty, ProblemResult, Scoring, Setting, StrategyRun
from prm_train.search.settings import SearchConfig
from prm_train.strategies.candidates import Candidate

ANSWERS = {"easy": ("9", "9", "9", "1"), "hard": ("1", "1", "1", "9")}
N_CORRECT = {"easy": 9, "hard": 1}  # of ten draws


def result(name: str, kind: str, runs: tuple[StrategyRun, ...] = ()) -> ProblemResult:
    candidates = tuple(
        Candidate(
            name,
            i,
            f"a\n{i} Answer: {answer}",
            answer,
            answer == "9",
            logprob_sum=-1.0,
            n_tokens=2,
            scores={"prm": (1.0, 0.9 if answer == "9" else 0.1)},
            scorer_tokens={"prm": (10, 3, 4)},
        )
        for i, answer in enumerate(ANSWERS[kind])
    )
    return ProblemResult(
        Problem(name, f"Start with {name}.", "9"),
        1.0,
        (
            StrategyRun("greedy", 1, 0.0, candidates[:1]),
            StrategyRun("samples", 4, 1.0, candidates, Cost(Usage(8, 5))),
            *runs,
        ),
        (Scoring("prm", 1.0, 4, ScorerUsage(29)),),
        Difficulty(10, N_CORRECT[kind], Cost(Usage(20, 5))),
        Usage(),
    )


def arms_of(*results: ProblemResult, flops: bool = False) -> tuple[ArmMaker, dict[str, Arm]]:
    known = {"policy": ForwardFlops(1, 0, 0), "prm": ForwardFlops(10, 0, 0)} if flops else {}
    maker = ArmMaker(results, choose_settings(results), Costs(results, "\n", known))
    return maker, {str(arm.choice): arm for arm in maker.arms}


def test_arms_are_the_methods_of_a_report_at_every_n() -> None:
    _, arms = arms_of(result("e", "easy"), result("h", "hard"), flops=True)
    majority, weighted = arms["majority 2"], arms["prm_weighted 2"]
    # blocks of two: 9 9 and 9 1, of which the first counts; 1 1 and 1 9
    assert majority.mean.accuracy.tolist() == [1.0, 0.0]
    assert weighted.mean.accuracy.tolist() == [1.0, 0.5]
    assert weighted.first.accuracy.tolist() == [1.0, 0.0]
    assert {unit: each.tolist() for unit, each in weighted.mean.cost.items()} == {
        "generations": [2.0, 2.0],
        "tokens": [30.0, 30.0],
        "flops": [9.0 + 210.0] * 2,
    }
    assert weighted.mean.drawn["tokens"].tolist() == [9.0, 9.0] == majority.mean.cost["tokens"].tolist()
    assert weighted.choice == Choice("prm_weighted", 2, "weighted", 1.0, "min", None, None, "prm")
    assert arms["prm_vanilla_margin 4"].choice.strategy == "best_of_n"
    assert arms["prm_vanilla_margin 4"].choice.stop_early == "margin"
    assert not any(name.startswith("pass_at_n") for name in arms)


def test_a_search_in_a_tree_is_an_arm_under_each_of_its_votes() -> None:
    """Two paths, of which the wrong one scores more and the right one is likelier by far."""
    paths = tuple(
        Candidate(
            "e", i, f"{i}", answer, answer == "9", logprob_sum=log, n_tokens=1, scores={"prm": (score,)}
        )
        for i, (answer, score, log) in enumerate([("1", 0.6, -9.0), ("9", 0.5, -1.0)])
    )
    settings: dict[str, Setting] = {"aggregation": "min", "lookahead": 1, "width": 4, "max_steps": 40}
    runs = [
        StrategyRun(spec, 2, 1.0, paths, Cost(Usage(3, 5), ScorerUsage(7)), settings)
        for spec in ("beam", "lookahead:lookahead=2")
    ]
    _, arms = arms_of(result("e", "easy", tuple(runs)))
    assert arms["beam 2"].mean.accuracy.tolist() == [0.0]
    assert arms["beam_prior 2"].mean.accuracy.tolist() == [1.0]
    assert arms["beam_prior 2"].choice.vote == "prior"
    assert arms["beam 2"].mean.cost["tokens"].tolist() == [15.0]
    assert arms["lookahead:lookahead=2 2"].mean.cost["generations"].tolist() == [4.0]  # N (k + 1)


def test_an_estimate_is_paid_for_and_its_draws_are_paid_for_once() -> None:
    """Two scored draws: 9 tokens of the policy and 21 of the PRM."""
    maker, arms = arms_of(result("e", "easy"))
    estimate = maker.estimate("score", 2, [6])
    assert [each["tokens"].tolist() for each in estimate] == [[30.0], [9.0]]

    def cost(name: str, kind: str = "score") -> list[float]:
        arm = arms[name]
        found = with_estimate(arm, arm.first, "tokens", maker.estimate(kind, 2, [6]), kind == "score")
        return list(found)

    assert cost("prm_weighted 4") == [42.0]  # the first two of four are those of the estimate
    assert cost("prm_weighted 1") == [30.0]  # one of the two
    assert cost("majority 4") == [13.0 + 21.0]  # it reads no scores
    assert cost("majority 1") == [30.0]
    assert cost("majority 4", "prompt") == [13.0 + 6.0]
    assert cost("majority 4", "oracle") == [13.0]
    tree = arms["prm_weighted 4"]
    other = Arm(tree.choice, tree.mean, tree.first, is_of_scored=False)
    assert with_estimate(other, other.first, "tokens", estimate, True).tolist() == [72.0]


def write_search(folder: Path, kinds: list[str], policy: str = "p1") -> None:
    folder.mkdir()
    results = [result(f"{folder.name} {i}", kind) for i, kind in enumerate(kinds)]
    config = SearchConfig(
        folder,
        ProblemSource(n=len(results)),
        PolicyConfig("tiny"),
        prm="prm",
        n_samples=4,
        n_difficulty_draws=10,
    )
    (folder / "config.json").write_text(json.dumps(dump_config(config)))
    (folder / "models.json").write_text(json.dumps({"policy": policy, "prm": "s1"}))
    facts = {"n_problems": len(results), "n_generated": 1, "n_prefilled": 1, "n_cached": 0, "seconds": 1.0}
    (folder / "search.json").write_text(json.dumps(facts))
    adapter = TypeAdapter(ProblemResult)
    (folder / "results.jsonl").write_bytes(b"".join(adapter.dump_json(each) + b"\n" for each in results))


@pytest.fixture
def searched(tmp_path: Path) -> Path:
    write_search(tmp_path / "validation", ["easy", "hard"] * 3)
    write_search(tmp_path / "test", ["easy", "hard"] * 6)
    folders = [f"--{split}={tmp_path / split}" for split in ("validation", "test")]
    estimate_difficulty(
        [*folders, "--output", str(tmp_path / "difficulty"), "--n_draws", "2", "--prompt_head", "false"]
    )
    return tmp_path


def allocate(folder: Path, *arguments: str) -> tuple[AllocationReport, Allocation]:
    names = ("validation", "test", "difficulty")
    output = folder / "allocation"
    main(
        [
            *(f"--{name}={folder / name}" for name in names),
            *("--output", str(output), "--prior", "0", "--early_stop_arms", "false", "--n_folds", "3"),
            *("--bins", "absolute", *arguments),
        ]
    )
    return AllocationReport.read(output / "allocation-report.json"), Allocation.read(
        output / "allocation.json"
    )


def row_of(report: AllocationReport, difficulty: str, budget: float, sharing: str = "mean") -> AllocationRow:
    (found,) = (
        row
        for row in report.rows
        if (row.difficulty, row.bins, row.sharing, row.unit, row.budget)
        == (difficulty, "absolute", sharing, "tokens", budget)
    )
    return found


def gains(row: AllocationRow) -> dict[str, Gain]:
    return {gain.baseline: gain for gain in row.gains}


def test_a_budget_is_spent_where_it_solves_problems(searched: Path) -> None:
    """Easy problems need a majority of two, for 9; hard ones four that are scored, for 42."""
    figures = searched / "figures"
    report, allocation = allocate(searched, "--budgets", "26,34,40,42", "--figures", str(figures))
    header, *drawn = (figures / "allocation-by-score.csv").read_text().splitlines()
    assert header == "row,column,column_detail,method,n"
    assert [line.split(",")[1] for line in drawn] == ["34", "40", "42"] * 5  # of each of the five bins
    page = (searched / "allocation" / "allocation.html").read_text()
    show([str(searched / "allocation"), "--figures", str(searched / "again")])
    assert (searched / "allocation" / "allocation.html").read_text() == page
    names = [path.name for path in sorted(figures.iterdir())]
    assert names == [path.name for path in sorted((searched / "again").iterdir())]
    assert "early-stop-prm_weighted.svg" in names
    assert report.run is not None
    assert report.run.command.startswith("prm-train allocate --validation ")
    assert [point.n for point in report.curve] == [1, 2, 4]
    assert [point.cost["tokens"] for point in report.curve] == [24.0, 30.0, 42.0]
    assert [point.accuracy.mean for point in report.curve] == [0.5, 0.75, 1.0]

    oracle = row_of(report, "oracle", 34.0)
    assert (oracle.accuracy.mean, oracle.spent) == (1.0, 25.5)
    assert (oracle.by_bin[0], oracle.by_bin[-1]) == ("majority 2", "prm_vanilla 4")
    fixed, weighted = gains(oracle)["best fixed choice"], gains(oracle)["prm_weighted"]
    # within 34, two that are scored, for 30, are the best
    assert (fixed.accuracy, fixed.spent, fixed.difference.mean) == (0.75, 30.0, 0.25)
    assert (weighted.accuracy, weighted.spent) == (0.75, 30.0)
    assert weighted.saving.factor == pytest.approx(42 / 25.5)
    assert weighted.saving.where == "inside"
    assert fixed.saving.factor == pytest.approx(42 / 25.5)  # it solves all within a budget of 42

    # the two draws of the estimate cost 30, and are those of the weighted vote: (30 + 42) / 2
    score = row_of(report, "score", 40.0)
    assert (score.accuracy.mean, score.spent) == (1.0, 36.0)
    assert gains(score)["prm_weighted"].saving.factor == pytest.approx(42 / 36)
    assert row_of(report, "oracle", 42.0, "each").accuracy.mean == 1.0
    assert row_of(report, "oracle", 34.0, "each").accuracy.mean == 0.75
    # where bins say nothing, so does what they choose
    assert row_of(report, "blind", 34.0).accuracy.mean < 1.0
    # 26 pay for no estimate from two scored draws
    assert not [row for row in report.rows if (row.difficulty, row.budget) == ("score", 26.0)]
    assert [each.budget for each in allocation.budgets] == [34.0, 40.0, 42.0]
    assert allocation.at(41.0).spent == 36.0
    assert allocation.at(None).budget == 42.0
    with pytest.raises(InputError, match=r"allocation_budget: got 30 tokens; expected at least 34"):
        allocation.at(30.0)
    assert allocation.bin_of([0.1])[1] == 4
    assert allocation.bin_of([0.9])[1] <= 1
    best = {(row.method, row.budget): row for row in report.bin_table}
    assert best["prm_weighted", 42.0].accuracy[4] == 1.0
    assert best["majority", 42.0].accuracy[4] == 0.25  # one sample is right that often, and votes never are
    assert (best["majority", 42.0].n[4], best["majority", 26.0].n[4]) == (1, None)


def test_stopping_early_is_replayed_with_the_threshold_of_validation(searched: Path) -> None:
    """Once a sample scores 0.9 and others at most 0.1: on easy problems the first for 24, on hard ones the
    last for 42.
    """
    report, allocation = allocate(searched)
    # none of which pays for the estimate of difficulty but that of two samples (30) and that of four (42)
    assert [each.budget for each in allocation.budgets] == pytest.approx([1.05 * 30, 1.05 * 42])
    found = {(stop.method, stop.rule): stop for stop in report.early_stops}
    margin = found["prm_weighted", "margin"]
    assert margin.chosen is not None
    assert margin.tokens_saved is not None
    assert margin.accuracy_difference is not None
    assert margin.all_samples.tokens == 42.0
    assert margin.tokens_saved.mean == pytest.approx(1 - 33 / 42)
    assert margin.accuracy_difference.mean == 0.0
    points = {(point.threshold.confidence, point.threshold.margin): point for point in margin.points}
    assert (points[0.9, 0.5].tokens, points[0.9, 0.5].accuracy) == (33.0, 1.0)
    assert points[0.95, 0.5].tokens == 42.0  # nothing scores as high
    routing = {
        (point.threshold.first, point.threshold.confidence): point
        for point in found["prm_weighted", "routing"].points
    }
    # the first two agree, whatever they say
    assert (routing[2, 1.0].tokens, routing[2, 1.0].accuracy) == (30.0, 0.5)
    # which validation shows to be wrong on hard problems
    assert found["prm_weighted", "routing"].chosen is None


def test_what_does_not_fit_is_refused(searched: Path) -> None:
    with pytest.raises(InputError, match="methods: got bean; expected some of logprob, majority"):
        allocate(searched, "--methods", "bean")
    with pytest.raises(InputError, match="budgets: none of 8 tokens pays for the estimate"):
        allocate(searched, "--budgets", "8")
    with pytest.raises(InputError, match="estimate: got prompt; expected one of those in"):
        allocate(searched, "--estimate", "prompt")
    with pytest.raises(InputError, match="unit: got flops; expected one of generations, tokens"):
        allocate(searched, "--unit", "flops")
    only, _ = allocate(searched, "--methods", "majority", "--budgets", "40,42")
    assert only.n_arms == 3
    (searched / "difficulty" / "difficulty.json").write_text(
        (searched / "difficulty" / "difficulty.json").read_text().replace('"p1"', '"p2"')
    )
    with pytest.raises(InputError, match=r"difficulty\.json: for the policy p2; expected p1"):
        allocate(searched)
    assert np.isfinite(only.curve[0].accuracy.mean)
