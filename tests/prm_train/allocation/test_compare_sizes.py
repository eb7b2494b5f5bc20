"""Two sizes of policy at equal FLOPs, on results that are small enough to work out by hand.

The small policy has 10 parameters, the large one 140 and the PRM 50, so a token costs 20, 280 and 100. A
sample takes 2 tokens behind a prompt of 5, and the PRM 10 for the question, 3 for the first step that all
share and 4 for the second: a vote of N weighed by the PRM costs
20 (5 + 2 N) + 100 (13 + 4 N) = 1400 + 440 N.
Easy problems have three right samples of four and hard ones one, the last; the PRM knows which.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter
from safetensors.numpy import save_file

from data_gen.policies.config import PolicyConfig
from data_gen.problems.sources import ProblemSource
from data_gen.records.sampling import Usage
from data_gen.records.solutions import Problem
from data_gen.settings.errors import InputError
from data_gen.settings.parse import dump_config
from prm_train.allocation.compare_sizes import main
from prm_train.allocation.size_budgets import AnswerCost, inference_factor, small_budget
from prm_train.allocation.size_results import SizeReport, SizeRow
from prm_train.allocation.size_study import verdict
from prm_train.allocation.size_tables import size_table
from prm_train.estimate_difficulty import main as estimate_difficulty
from prm_train.metrics.estimators import Interval
from prm_train.scoring.protocol import ScorerUsage
from prm_train.search.results import Cost, Difficulty, ProblemResult, Scoring, StrategyRun
from prm_train.search.settings import SearchConfig
from prm_train.strategies.candidates import Candidate

ANSWERS = {"easy": "9991", "hard": "1119"}
N_CORRECT = {"easy": 9, "hard": 1}  # of ten draws
KINDS = ["easy", "hard"] * 5


def test_the_factor_is_that_of_the_paper() -> None:
    """M + 3 (M - 1) / R at M = 14: 14 + 39 / 0.16, 14 + 39 / 0.79, 14 + 39 / 22."""
    assert inference_factor(14, 0.16) == pytest.approx(257.75)
    assert inference_factor(14, 0.79) == pytest.approx(63.367, abs=1e-3)
    assert inference_factor(14, 22) == pytest.approx(15.773, abs=1e-3)


def test_both_cost_the_same_in_all() -> None:
    """100 parameters against 10, 1,000 pretraining tokens each, and 50 questions whose answers have 8 tokens:
    R = 50 x 8 / 1000.
    """
    budget = small_budget(AnswerCost(8, 8 * 200.0), 200.0, 20.0, load=0.4)
    assert 6 * 10 * 1000 + 50 * budget == pytest.approx(6 * 100 * 1000 + 50 * 2 * 100 * 8)
    assert budget == pytest.approx(inference_factor(10, 0.4) * 2 * 10 * 8)
    # the large one saw half as many tokens: R is of those of the small one
    halved = small_budget(AnswerCost(8, 8 * 200.0), 200.0, 20.0, load=0.4, tokens_ratio=0.5)
    assert 6 * 10 * 1000 + 50 * halved == pytest.approx(6 * 100 * 500 + 50 * 2 * 100 * 8)


def test_a_small_policy_that_is_cut_off_can_only_be_better() -> None:
    better, worse, neither = Interval(0.2, 0.1, 0.3), Interval(-0.2, -0.3, -0.1), Interval(0.0, -0.1, 0.1)
    assert [verdict(each, True) for each in (better, worse, neither)] == ["small", "large", "level"]
    assert [verdict(each, False) for each in (better, worse, neither)] == ["small", "unreached", "unreached"]


def result(name: str, answers: str, greedy: str, n_correct: int, is_scored: bool) -> ProblemResult:
    scores = {"prm": {"9": (1.0, 0.9), "1": (1.0, 0.1)}} if is_scored else {}
    candidates = [
        Candidate(
            name,
            i,
            f"a\n{i} Answer: {answer}",
            answer,
            answer == "9",
            logprob_sum=-1.0,
            n_tokens=2,
            scores={scorer: each[answer] for scorer, each in scores.items()},
            scorer_tokens={scorer: (10, 3, 4) for scorer in scores},
        )
        for i, answer in enumerate(greedy + answers)
    ]
    return ProblemResult(
        Problem(name, f"Start with {name}.", "9"),
        1.0,
        (
            StrategyRun("greedy", 1, 0.0, tuple(candidates[:1])),
            StrategyRun("samples", len(answers), 1.0, tuple(candidates[1:]), Cost(Usage(8, 5))),
        ),
        (Scoring("prm", 1.0, 4, ScorerUsage(29)),) if is_scored else (),
        Difficulty(10, n_correct, Cost(Usage(20, 5))),
        Usage(),
    )


def write_search(folder: Path, policy: Path, results: Sequence[ProblemResult], prm: str | None) -> None:
    folder.mkdir()
    config = SearchConfig(
        folder,
        ProblemSource(n=len(results)),
        PolicyConfig(str(policy)),
        prm=prm,
        n_samples=len(results[0].scored),
        n_difficulty_draws=10,
    )
    (folder / "config.json").write_text(json.dumps(dump_config(config)))
    (folder / "models.json").write_text(
        json.dumps({"policy": policy.name, **({"prm": "s1"} if prm is not None else {})})
    )
    facts = {"n_problems": len(results), "n_generated": 1, "n_prefilled": 1, "n_cached": 0, "seconds": 1.0}
    (folder / "search.json").write_text(json.dumps(facts))
    adapter = TypeAdapter(ProblemResult)
    (folder / "results.jsonl").write_bytes(b"".join(adapter.dump_json(each) + b"\n" for each in results))


def write_model(folder: Path, n_parameters: int, n_tokens: int | None = None) -> None:
    folder.mkdir()
    save_file({"weight": np.zeros((1, n_parameters), np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")  # says nothing of how it is built
    if n_tokens is not None:
        (folder / "pretraining.json").write_text(
            json.dumps({"cost": {"n_tokens": n_tokens, "wall_seconds": 1}})
        )


def of_large(i: int, kind: str) -> ProblemResult:
    """Greedily it solves what is easy; of its two samples one is right."""
    return result(f"test {i}", "91", "9" if kind == "easy" else "1", 5, is_scored=False)


@pytest.fixture
def searched(tmp_path: Path) -> Path:
    for name, n_parameters, n_tokens in (("small", 10, 1000), ("large", 140, 500), ("prm", 50, None)):
        write_model(tmp_path / name, n_parameters, n_tokens)
    prm = str(tmp_path / "prm")
    for split in ("validation", "test"):
        results = [
            result(f"{split} {i}", ANSWERS[kind], "1", N_CORRECT[kind], is_scored=True)
            for i, kind in enumerate(KINDS)
        ]
        write_search(tmp_path / split, tmp_path / "small", results, prm)
    write_search(
        tmp_path / "of-large", tmp_path / "large", [of_large(i, kind) for i, kind in enumerate(KINDS)], None
    )
    folders = [f"--{split}={tmp_path / split}" for split in ("validation", "test")]
    estimate_difficulty(
        [*folders, "--output", str(tmp_path / "difficulty"), "--n_draws", "2", "--prompt_head", "false"]
    )
    return tmp_path


def compare(folder: Path, *arguments: str, large: str = "of-large") -> SizeReport:
    inputs = {"validation": "validation", "small": "test", "large": large, "difficulty": "difficulty"}
    paths = [f"--{setting}={folder / name}" for setting, name in inputs.items()]
    main([*paths, "--output", str(folder / "sizes"), "--prior", "0", "--methods", "prm_weighted", *arguments])
    return SizeReport.read(folder / "sizes" / "sizes.json")


def test_budgets_accuracies_and_verdicts_are_those_worked_out_by_hand(searched: Path) -> None:
    report = compare(searched)
    assert (report.small.n_parameters, report.large.n_parameters, report.size_ratio) == (10, 140, 14.0)
    assert report.large.n_tokens == 7.0  # 5 of the prompt and 2
    assert report.own_load == 10 * 7 / 1000

    def row(
        load: float, bin_number: int | None, answer: str = "greedy", way: str = "prm_weighted"
    ) -> SizeRow:
        (found,) = (
            each
            for each in report.rows
            if (each.flops, each.pretraining, each.difficulty) == ("parameters", "same", "oracle")
            and (each.load, each.bin, each.answer, each.way) == (load, bin_number, answer, way)
        )
        return found

    heavy = row(22.0, None)
    assert heavy.factor == pytest.approx(14 + 39 / 22)
    assert heavy.budget == pytest.approx((14 + 39 / 22) * 140)
    # between N = 1, which costs 1840 and solves (0.75 + 0.25) / 2, and N = 2 for 2280 and (1 + 0.5) / 2
    share = np.log(heavy.budget / 1840) / np.log(2280 / 1840)
    assert heavy.small is not None
    assert heavy.small.mean == pytest.approx(0.5 + 0.25 * share)
    assert (heavy.large.mean, heavy.verdict, heavy.choices) == (
        0.5,
        "small",  # a little worse on easy problems and much better on hard ones
        ("prm_weighted 1", "prm_weighted 2"),
    )
    # on the easiest fifth, two easy problems: 0.75 and 1.0 against 1
    easiest = row(22.0, 0)
    assert easiest.difference is not None
    assert easiest.difference.mean == pytest.approx(0.75 + 0.25 * share - 1.0)
    # the budget pays for N = 1 alone, and not for 2
    chosen = row(22.0, None, way="compute-optimal")
    assert (chosen.spent, chosen.small and chosen.small.mean) == (1840.0, 0.5)
    assert row(22.0, None, "sampled").large.mean == 0.5

    # 257 times an answer is beyond N = 4, for 3160, which solves everything
    light = row(0.16, None)
    assert (light.spent, light.is_whole_budget, light.verdict) == (3160.0, False, "small")
    assert row(0.16, 0).verdict == "unreached"  # as good as the large one there: more could be better

    own = [each for each in report.rows if each.pretraining == "own" and each.load == report.own_load]
    whole = next(each for each in own if each.bin is None and each.answer == "greedy")
    # what ten answers may cost where P_large = 6 x 140 x 500, P_small = 6 x 10 x 1000 and an answer 280 x 7
    assert whole.budget == pytest.approx((6 * 140 * 500 - 6 * 10 * 1000) / 10 + 280 * 7)
    table = size_table(report)
    assert "pretraining tokens: small 1,000, large 500; R = 0.07" in table
    assert "+50 (+20 to +80) S" in table
    assert "instead, 0 of " in table  # nothing tells how these models are built
    # sizes.svg: a line for each fifth, and the stars of three R at the accuracy of the large policy
    easy = report.curves[0]
    assert [x for x, _ in easy.points] == [1840.0, 2280.0, 3160.0]
    assert [interval.mean for _, interval in easy.points] == [0.75, 1.0, 1.0]
    svg = (searched / "sizes" / "sizes.svg").read_text()
    assert svg.count("★") == 15
    # of two problems not even both tell anything
    assert ">large policy, R = 0.16, hardest fifth: 0.000; verdict: unreached<" in svg


def test_a_star_stands_at_the_accuracy_of_the_large_policy_even_where_the_budget_pays_for_nothing(
    searched: Path,
) -> None:
    """A PRM of 5,000 parameters makes a single scored sample dearer than all that 14 times the size costs."""
    (searched / "prm" / "model.safetensors").unlink()
    save_file({"weight": np.zeros((1, 5000), np.float32)}, searched / "prm" / "model.safetensors")
    report = compare(searched, "--loads", "22")
    rows = [row for row in report.rows if row.way == "prm_weighted" and row.pretraining == "same"]
    assert {row.verdict for row in rows} == {"unaffordable"}
    svg = (searched / "sizes" / "sizes.svg").read_text()
    assert ">large policy, R = 22, easiest fifth: 1.000; verdict: unaffordable<" in svg


def test_what_both_did_not_answer_alike_is_refused(searched: Path) -> None:
    results = [of_large(i, kind) for i, kind in enumerate(KINDS)]
    write_search(searched / "fewer", searched / "large", results[:-1], None)
    with pytest.raises(
        InputError, match=r"1 problems are in one of them alone, as test 9; expected the same"
    ):
        compare(searched, large="fewer")
    renamed = [result("test 0", "91", "9", 5, is_scored=False), *results[1:]]
    path = searched / "of-large" / "results.jsonl"
    text = path.read_text()
    path.write_text(text.replace("Start with test 0.", "Start with test 7."))
    with pytest.raises(InputError, match=r"problem test 0 is 'Start with test 0.' with answer '9' and"):
        compare(searched)
    path.write_text(text)
    config = json.loads((searched / "of-large" / "config.json").read_text())
    (searched / "of-large" / "config.json").write_text(json.dumps({**config, "grader": "math"}))
    with pytest.raises(InputError, match=r"grader is auto and math; expected the same"):
        compare(searched)
    write_search(searched / "as-small", searched / "small", renamed, None)
    with pytest.raises(InputError, match=r"its policy has 10 parameters; expected more than the 10 of small"):
        compare(searched, large="as-small")
    (searched / "prm" / "model.safetensors").unlink()
    with pytest.raises(
        InputError, match=r"no weights of its prm where config.json says; expected its folder"
    ):
        compare(searched, large="as-small")
    with pytest.raises(InputError, match=r"loads: got \[0.0\], expected some, each more than 0"):
        compare(searched, "--loads", "0")


def test_a_problem_that_failed_is_refused(searched: Path) -> None:
    path = searched / "of-large" / "results.jsonl"
    lines = path.read_text().splitlines()
    failed = {**json.loads(lines[0]), "runs": [], "scorings": [], "failure": "the server refused it"}
    path.write_text("\n".join([json.dumps(failed), *lines[1:]]) + "\n")
    with pytest.raises(InputError, match=r"large .*: 1 problems failed, as test 0; expected none"):
        compare(searched)
