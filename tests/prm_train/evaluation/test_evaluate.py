"""Accuracies, choices and differences on results that are small enough to work out by hand."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from data_gen.policies.metered import ProcessFacts
from data_gen.problems.tasks import step_truth
from data_gen.records.sampling import Usage
from data_gen.records.solutions import Problem
from data_gen.sampling.summary import SampleSummary
from data_gen.settings.errors import InputError
from prm_train.encoding.aggregation import Aggregation
from prm_train.evaluation.choosers import anyone_right, best_by, by_logprob, scorer_scores, vote_by
from prm_train.evaluation.choosing import (
    Chosen,
    ExpectedAccuracy,
    accuracies,
    choose_settings,
    expected_accuracy,
    within_problem_aurocs,
)
from prm_train.evaluation.comparison import Comparison, settings_in_words
from prm_train.evaluation.facts import step_quality
from prm_train.evaluation.results import StageCost, TokensPerProblem
from prm_train.evaluation.run_costs import costs_of_runs
from prm_train.evaluation.sample_methods import early
from prm_train.metrics.training_report import TrainingReport, TrainingSeconds
from prm_train.scoring.flops import ForwardFlops
from prm_train.scoring.protocol import ScorerUsage
from prm_train.search.results import (
    Cost,
    Difficulty,
    ProblemResult,
    Scoring,
    Setting,
    StrategyRun,
    read_results,
)
from prm_train.search.summary import SearchSummary
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.voting import majority_vote

# (answer, right, log-prob, PRM step scores) of four candidates
ROWS = (
    ("1", False, -1.0, (0.9, 0.2)),
    ("2", True, -4.0, (0.8, 0.9)),
    ("1", False, -1.5, (0.5, 0.5)),
    ("1", False, -2.0, (0.1, 0.1)),
)


CHOSEN = Chosen(
    1.0, dict.fromkeys((1, 2, 4), 1.0), dict.fromkeys((1, 2, 4), (1.0, "sum, best")), "sum", "last"
)


def result(
    name: str = "p0",
    rows: tuple[tuple[str, bool, float, tuple[float, ...]], ...] = ROWS,
    temperature: float = 1.0,
    aggregation: Aggregation = "last",
) -> ProblemResult:
    candidates = tuple(
        Candidate(
            name,
            i,
            f"{'ab'[i % 2]}\nb",
            answer,
            right,
            logprob_sum=logprob,
            n_tokens=2,
            scores={"prm": scores},
            scorer_tokens={"prm": (10, 3, 4)},
        )
        for i, (answer, right, logprob, scores) in enumerate(rows)
    )
    drawn, scored = Usage(n_generated=80, n_prefilled=5), ScorerUsage(n_new=40)
    beam = {"width": 4, "max_steps": 40, "aggregation": aggregation}
    return ProblemResult(
        Problem(name, "?", "2"),
        temperature,
        (
            StrategyRun("greedy", 1, 0.0, candidates[:1]),
            StrategyRun("samples", 4, temperature, candidates, Cost(drawn)),
            StrategyRun("samples", 4, 0.5, candidates[::-1], Cost(drawn)),
            StrategyRun("beam", 4, temperature, candidates[:2], Cost(drawn, scored), beam),
        ),
        (Scoring("prm", temperature, 4, scored),),
        Difficulty(4, n_correct=1),
        Usage(),
    )


def test_methods_choose_what_their_definition_says():
    results = [result()]
    assert accuracies(results, 1.0, majority_vote, 4).tolist() == [0.0]
    assert accuracies(results, 1.0, anyone_right, 1).tolist() == [0.25]
    assert accuracies(results, 1.0, anyone_right, 2).tolist() == [0.5]  # the blocks (0, 1) and (2, 3)
    assert accuracies(results, 1.0, partial(best_by, scorer_scores("prm", "min")), 4).tolist() == [1.0]
    # votes under min: answer 1 has 0.2 + 0.5 + 0.1 = 0.8, answer 2 has 0.8: a tie, which goes to the earliest
    assert accuracies(results, 1.0, partial(vote_by, scorer_scores("prm", "min")), 4).tolist() == [0.0]
    # 0.8 against 0.9
    assert accuracies(results, 1.0, partial(vote_by, scorer_scores("prm", "last")), 4).tolist() == [1.0]
    assert accuracies(results, 1.0, by_logprob("sum, best"), 4).tolist() == [0.0]


def test_expected_accuracies_say_whether_they_are_over_subsets_or_blocks():
    """Of the pairs of four candidates, of which the second alone says 2 and is right, three hold it: one of
    two is right in them by knowing, half by majority (a tie), and by the last score, 0.9 against 0.2, 0.5 and
    0.1, always.
    """
    candidates = result().scored
    last = scorer_scores("prm", "last")
    assert expected_accuracy(candidates, 2, "pass") == ExpectedAccuracy(0.5, "subsets")
    assert expected_accuracy(candidates, 2, "vote") == ExpectedAccuracy(0.25, "subsets")
    assert expected_accuracy(candidates, 2, "best", last) == ExpectedAccuracy(0.5, "subsets")
    assert expected_accuracy(candidates, 2, "vote", last) == ExpectedAccuracy(0.5, "subsets")
    # of triples three hold it, 0.9 against 0.7, 0.6 and 0.3
    assert expected_accuracy(candidates, 3, "vote", last) == ExpectedAccuracy(0.75, "subsets")
    unfinished = [replace(each, is_finished=each.is_correct) for each in candidates]
    assert expected_accuracy(unfinished, 2, "vote") == ExpectedAccuracy(0.5, "subsets")
    many = [
        replace(candidates[0], index=i, scores={"prm": (1 / (i + 2),)}, is_correct=True, answer="2")
        for i in range(16)
    ]
    assert expected_accuracy(many, 16, "vote", last) == ExpectedAccuracy(1.0, "blocks")


def test_many_differences_are_corrected_for_being_many():
    """Where all of ten problems differ, p = 2 / 2^10, and of four hard ones 2 / 2^4: the smallest of seven is
    multiplied by 7, the fifth by 3. Beams with their own vote differ nowhere.
    """
    comparison = Comparison([result(f"p{i}") for i in range(10)], CHOSEN, seed=0)
    pairs = {
        (pair.method, pair.baseline, pair.problems): pair for pair in comparison.paired(comparison.correct())
    }
    found = sorted(pair.p_value or 0.0 for pair in pairs.values())
    assert found == [2 / 1024] * 4 + [2 / 16, 1.0, 1.0]
    lost = pairs[("beam_prior", "prm_weighted", "two hardest quintiles")]
    assert (lost.p_holm, lost.direction, lost.difference.mean) == (0.375, 0, -1.0)
    won = pairs[("prm_weighted", "majority", "all test problems")]
    assert (won.p_holm, won.direction) == pytest.approx((7 * 2 / 1024, 1))
    same = pairs[("beam", "prm_weighted", "two hardest quintiles")]
    assert (same.p_holm, same.direction, same.difference.mean) == (1.0, 0, 0.0)
    assert same.difference.low < 0 < same.difference.high


def test_auroc_is_taken_inside_a_problem_that_has_both_kinds():
    all_wrong = result("p1", tuple((answer, False, logprob, scores) for answer, _, logprob, scores in ROWS))
    assert within_problem_aurocs([result(), all_wrong], 1.0, scorer_scores("prm", "min")).tolist() == [1.0]
    assert within_problem_aurocs([result()], 1.0, scorer_scores("prm", "mean")).tolist() == [1.0]


def test_differences_are_paired_and_beams_are_read_at_their_own_n():
    comparison = Comparison([result(f"p{i}") for i in range(10)], CHOSEN, seed=0)
    correct = comparison.correct()
    assert sorted(correct) == [
        "beam",
        "beam_prior",
        "logprob",
        "majority",
        "majority_early",
        "pass_at_n",
        "prm_vanilla",
        "prm_vanilla_margin",
        "prm_weighted",
        "prm_weighted_early",
        "prm_weighted_margin",
    ]
    assert correct["beam"][4].tolist() == [1.0] * 10
    pairs = {
        (pair.method, pair.baseline, pair.n, pair.problems): pair.difference.mean
        for pair in comparison.paired(correct)
    }
    assert pairs[("prm_weighted", "majority", 4, "all test problems")] == 1.0
    assert pairs[("beam", "prm_weighted", 4, "two hardest quintiles")] == 0.0
    tokens = comparison.tokens()
    # a prompt of 5 and 2 tokens for each sample; of two neighbours a, b and b, b behind a question of 10
    assert tokens["prm_weighted"] == {
        1: TokensPerProblem(2, 10 + 7, 5),
        2: TokensPerProblem(4, 10 + 2 * 7, 5),
        4: TokensPerProblem(8, 10 + 2 * 7, 5),
    }
    assert tokens["majority"][4] == TokensPerProblem(8, 0, 5)
    assert tokens["beam"][4] == TokensPerProblem(80, 40, 5)


def test_the_votes_of_beams_weigh_what_ranked_them_whatever_validation_chose():
    """Answer 1 has 0.9 against 0.5 under `last`, 0.1 against 0.5 under `min`; answer 2 is right."""
    rows = (("1", False, -1.0, (0.1, 0.9)), ("2", True, -1.0, (0.5, 0.5))) * 2
    by_min, by_last = ([result(f"p{i}", rows, aggregation=how) for i in range(5)] for how in ("min", "last"))
    ranked_by_min = Comparison(by_min, replace(CHOSEN, prm_aggregation="last"), seed=0).correct()
    ranked_by_last = Comparison(by_last, replace(CHOSEN, prm_aggregation="min"), seed=0).correct()
    assert (ranked_by_min["beam"][4].tolist(), ranked_by_min["prm_weighted"][4].tolist()) == (
        [1.0] * 5,
        [0.0] * 5,
    )
    assert (ranked_by_last["beam"][4].tolist(), ranked_by_last["prm_weighted"][4].tolist()) == (
        [0.0] * 5,
        [1.0] * 5,
    )


def test_every_search_in_a_tree_is_reported_under_its_own_vote_and_others():
    """Of 2 paths by 3 draws, the one that was drawn twice says 1 and scores 0.2; the other one says 2 and
    scores 0.5.
    """

    def path(index: int, answer: str, logprob: float, score: float) -> Candidate:
        facts: dict[str, Any] = {
            "scores": {"prm": (0.9, score)},
            "log_weight": math.log(score / 3),
            "logprob_sum": logprob,
        }
        return Candidate("p", index, f"a\n{answer}", answer, answer == "2", **facts)

    paths = (path(0, "1", -1.0, 0.2), path(1, "2", -2.0, 0.5), path(2, "1", -1.0, 0.2))
    settings: dict[str, Setting] = {"max_steps": 40, "aggregation": "last"}
    runs = (
        StrategyRun(
            "particle_filter", 3, 1.0, paths, Cost(Usage(7), ScorerUsage(3)), {"exponent": 0.5, **settings}
        ),
        StrategyRun("dvts", 4, 1.0, paths, Cost(Usage(8)), {"width": 4, **settings}),
    )
    results = [replace(found := result(), runs=(*found.runs, *runs)) for _ in range(5)]
    comparison = Comparison(results, CHOSEN, 0, ("score", "weight", "prior"))
    correct = {
        name: curve for name, curve in comparison.correct().items() if name.startswith(("particle", "dvts"))
    }
    # by score, and by weight, 0.2 twice against 0.5; each once and times its probability, 0.2 e⁻¹ against 0.5
    # e⁻² (0.074, 0.068)
    assert {name: {n: list(solved) for n, solved in curve.items()} for name, curve in correct.items()} == {
        "dvts": {4: [1.0] * 5},
        "dvts_weight": {4: [1.0] * 5},
        "dvts_prior": {4: [0.0] * 5},
        "particle_filter": {3: [1.0] * 5},
        "particle_filter_score": {3: [1.0] * 5},
        "particle_filter_prior": {3: [0.0] * 5},
    }
    tokens = comparison.tokens()
    assert tokens["particle_filter"] == tokens["particle_filter_prior"] == {3: TokensPerProblem(7, 3)}
    assert tokens["dvts"] == {4: TokensPerProblem(8, 0)}
    words = settings_in_words(comparison)
    assert words["beam"] == "width = 4, max_steps = 40, aggregation = last, vote by score"
    assert words["particle_filter_prior"].startswith("exponent = 0.5, ")
    pairs = {(pair.method, pair.n) for pair in comparison.paired(comparison.correct())}
    assert {("dvts", 4), ("dvts_prior", 4), ("beam_prior", 4)} <= pairs


def test_validation_chooses_settings_and_vote_of_a_strategy_for_each_n():
    """With `width=2` the right path is there at N = 2, where it has the higher score; at N = 4 two wrong
    paths outvote it by score, and only their small probability tells.
    """

    def path(answer: str, logprob: float, score: float, text: str = "a") -> Candidate:
        scores = {"prm": (score,)}
        return Candidate("p", 0, text, answer, answer == "2", logprob_sum=logprob, scores=scores)

    def searched(spec: str, n: int, *paths: Candidate) -> StrategyRun:
        return StrategyRun(spec, n, 1.0, paths, Cost(Usage(n)), {"aggregation": "last"})

    wrong = path("1", -9.0, 0.8, "b"), path("1", -9.0, 0.8, "c")
    runs = (
        searched("beam", 2, *wrong),
        searched("beam", 4, *wrong),
        searched("beam:width=2", 2, path("2", -1.0, 0.9), wrong[0]),
        searched("beam:width=2", 4, path("2", -1.0, 0.9), *wrong),
    )
    results = [replace(found := result(f"p{i}"), runs=(*found.runs[:-1], *runs)) for i in range(5)]
    chosen = choose_settings(results)
    assert chosen.trees == {"beam": {2: ("beam:width=2", "score"), 4: ("beam:width=2", "prior")}}
    comparison = Comparison(results, chosen, seed=0)
    solved = {
        name: {n: each.mean() for n, each in curve.items()} for name, curve in comparison.correct().items()
    }
    assert solved["beam"] == {2: 0.0, 4: 0.0}
    assert solved["beam_tuned"] == {2: 1.0, 4: 1.0}
    assert "beam:width=2" not in solved
    assert "from N=4: width=2, vote by prior" in settings_in_words(comparison)["beam_tuned"]
    assert comparison.tokens()["beam_tuned"][4] == TokensPerProblem(4, 0)


def test_settings_are_chosen_on_validation_results():
    chosen = choose_settings([result(f"p{i}") for i in range(6)])
    assert chosen.prm_aggregation == "min"  # all four rank alike here: the first wins
    # The same candidates in another order: equal, and the lower is named first
    assert chosen.pass_at_1_temperature == 0.5
    # at T = 0.5 the candidates come backwards: in the blocks of two, (1, 1) and (2, 1), a tie goes to the
    # earliest, the right one
    assert chosen.majority == {1: 0.5, 2: 0.5, 4: 0.5}
    assert chosen.temperatures == (0.5,)


def test_what_makes_a_weight_of_step_scores_is_chosen_by_what_the_vote_solves_not_by_how_it_ranks():
    """By their mean alone, both right samples rank above all wrong ones; but five means of 0.525 outvote two
    of 0.75, as their products, 0.135 and 0.5, do not.
    """
    right, near, wrong = (
        ("2", True, -1.0, (1.0, 0.5)),
        ("3", False, -1.0, (0.72, 0.72)),
        ("1", False, -1.0, (0.9, 0.15)),
    )
    results = [result(f"p{i}", (wrong, wrong, right, near, wrong, right, wrong, wrong)) for i in range(5)]
    chosen = choose_settings(results)
    assert chosen.prm_aggregation == "mean"
    assert (
        chosen.aggregation("prm_weighted", 8) == chosen.vote_aggregation == "min"
    )  # ties with prod and last
    assert chosen.aggregation("prm_vanilla", 8) == "mean"  # the only one whose best sample is right
    comparison = Comparison(results, chosen, seed=0)
    assert comparison.correct()["prm_weighted"][8].mean() == 1.0
    by_rank_alone = Comparison(results, replace(chosen, selections={}), seed=0)
    assert by_rank_alone.correct()["prm_weighted"][8].mean() == 0.0
    assert "from N=4: min" in settings_in_words(comparison)["prm_weighted"]


def test_a_line_that_a_killed_search_cut_short_is_left_out(tmp_path: Path):
    line = TypeAdapter(ProblemResult).dump_json(result()) + b"\n"
    (tmp_path / "r.jsonl").write_bytes(line + line[:50])
    assert read_results(tmp_path / "r.jsonl") == [result()]
    (tmp_path / "r.jsonl").write_bytes(line[:50] + b"\n" + line)
    with pytest.raises(InputError, match=r"r\.jsonl:1: not a search result"):
        read_results(tmp_path / "r.jsonl")


def test_truth_of_steps_is_known_for_the_built_in_task_only():
    problem = Problem("arithmetic-test-0-1", "Start with 3: plus 4, minus 2, plus 6.", "7 5 1")
    assert step_truth(problem, "3 plus 4=7\n7 minus 2=6\n6 plus 6=12, keep 2\nAnswer: 7 6 2") == [
        True,
        False,
        None,
        None,
    ]
    assert step_truth(problem, "3 plus 4=7\n7 minus 2=5\n5 plus 6=11, keep 1\nAnswer: 7 5 2") == [
        True,
        True,
        True,
        False,
    ]
    assert step_truth(Problem("p", "?", "2"), "a\nb") is None


def test_step_quality_reads_scores_up_to_the_first_error():
    problem = Problem("arithmetic-test-0-1", "Start with 3: plus 4, minus 2.", "7 5")
    candidate = Candidate(
        problem.problem_id,
        0,
        "3 plus 4=7\n7 minus 2=6\nAnswer: 7 6",
        "7 6",
        False,
        scores={"prm": (0.9, 0.3, 0.99)},
    )
    sampled = StrategyRun("samples", 1, 1.0, (candidate,))
    one = ProblemResult(problem, 1.0, (sampled,), (), Difficulty(1, 0), Usage())
    quality = step_quality([one])
    assert quality.auroc == 1.0
    assert quality.brier == pytest.approx((0.1**2 + 0.3**2) / 2)


def test_the_costs_of_own_runs_are_read_from_their_folders(tmp_path: Path):
    tokens: dict[str, Any] = {"n_generated": 100, "n_prefilled": 20, "n_cached": 5}
    for name, seconds in (("a", 3.5), ("b", 4.5)):
        process = ProcessFacts(n_draws=4, n_generated=100, seconds=seconds, cpu_seconds=seconds - 0.5)
        verdicts = {"correct": 2, "incorrect": 2}
        found = SampleSummary(
            n_problems=1,
            n_solutions=4,
            verdicts=verdicts,
            pass_at_1=0.5,
            seconds=seconds,
            this_process=process,
            **tokens,
        )
        found.write(tmp_path / name / "sample.json")
    counts: dict[str, Any] = {
        "n_steps": 6,
        "n_training_rows": 3,
        "n_training_labels": 9,
        "n_training_tokens": 50,
        "n_validation_rows": 0,
    }
    cost = TrainingSeconds(wall_seconds=9.0, cpu_seconds=8.0)
    trained = TrainingReport(
        config={"n_epochs": 2.0}, cost=cost, left_out={}, loss_curve=(), validation=(), **counts
    )
    trained.write(tmp_path / "prm" / "training" / "report.json")
    searched = SearchSummary(
        n_problems=1, n_scorer_new=30, n_scorer_reused=7, seconds=6.0, cpu_seconds=5.0, **tokens
    )
    searched.write(tmp_path / "test" / "search.json")
    costs = costs_of_runs(
        [tmp_path / "a", tmp_path / "b"],
        {"PRM": tmp_path / "prm", "ORM": None},
        {"validation": [tmp_path / "none"], "test": [tmp_path / "test"]},
        policy=ForwardFlops(20),
        scorer=ForwardFlops(1900, per_output=100),
    )
    assert costs == (
        StageCost("sample, a", 3.5, 3.0, 100, 20, 5, flops=2400.0),
        StageCost("sample, b", 4.5, 4.0, 100, 20, 5, flops=2400.0),
        StageCost("train PRM", 9.0, 8.0, flops=600_000.0),  # three times a forward pass
        StageCost("search test", 6.0, 5.0, 100, 20, 5, 30, 7, 2400.0 + 60_000.0),
    )


def test_a_selection_that_stops_at_a_margin_chooses_among_what_it_drew_and_pays_for_no_more():
    block = [
        Candidate("p", i, "", answer, answer == "b", scores={"prm": (score,)})
        for i, (answer, score) in enumerate([("a", 0.25), ("b", 1.0), ("a", 1.0), ("a", 1.0)])
    ]
    stops = early(
        "prm_vanilla", "_margin", "prm", {n: (1.0, scorer_scores("prm", "min")) for n in (1, 2, 4)}, best_by
    )
    temperature, choose = stops.at[4]
    assert (stops.name, temperature, stops.n_drawn(block), choose(block)) == (
        "prm_vanilla_margin",
        1.0,
        2,
        block[1],
    )
    assert stops.n_drawn(block[2:]) == 1
    assert stops.n_drawn(block[:1]) == 1
