"""Difficulty of problems on results that are small enough to work out by hand, and with a real policy."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from transformers import AutoModelForCausalLM

from data_gen.files.run_folder import read_records, write_records
from data_gen.policies.config import PolicyConfig
from data_gen.problems.sources import ProblemSource
from data_gen.records.sampling import Usage
from data_gen.records.solutions import CORRECT, INCORRECT, GradedSolution, Problem, Solution
from data_gen.settings.errors import InputError
from data_gen.settings.parse import dump_config
from prm_train.estimate_difficulty import main
from prm_train.evaluation.difficulty import (
    DifficultyPredictor,
    ProblemDifficulty,
    read_difficulties,
)
from prm_train.evaluation.evaluate import main as evaluate
from prm_train.evaluation.results import SearchReport, TokensPerProblem
from prm_train.scoring.prompt_states import mean_hidden_state
from prm_train.scoring.protocol import ScorerUsage
from prm_train.search.allocation import mean_final_score
from prm_train.search.results import Cost, Difficulty, ProblemResult, Scoring, StrategyRun, read_results
from prm_train.search.settings import SearchConfig
from prm_train.strategies.candidates import Candidate

N_DRAWN = 10  # for the difficulty of a problem


@pytest.fixture(scope="module")
def policy(tiny_policy: Path) -> PolicyConfig:
    return PolicyConfig(str(tiny_policy))


@pytest.fixture(scope="module")
def policy_id(policy: PolicyConfig) -> str:
    return policy.load().policy_id


def result(name: str, n_correct: int) -> ProblemResult:
    """Four samples, none right, of which the first two score `n_correct` tenths plus and minus 0.1 at their
    last step, which is their lowest but for the first one's.
    """
    mean = n_correct / 10
    lasts = (mean - 0.1, mean + 0.1, 0.5, 0.5)
    candidates = tuple(
        Candidate(
            name,
            i,
            f"a\nAnswer: {i}",
            str(i),
            False,
            logprob_sum=-1.0 - i,
            n_tokens=2,
            scores={"prm": (1.0, last)},
            scorer_tokens={"prm": (10, 3, 4)},
        )
        for i, last in enumerate(lasts)
    )
    drawn = Cost(Usage(n_generated=8, n_prefilled=5))
    return ProblemResult(
        Problem(name, f"Start with {name}.", "9"),
        1.0,
        (StrategyRun("greedy", 1, 0.0, candidates[:1]), StrategyRun("samples", 4, 1.0, candidates, drawn)),
        (Scoring("prm", 1.0, 4, ScorerUsage(5)),),
        Difficulty(N_DRAWN, n_correct, Cost(Usage(n_generated=20, n_prefilled=5))),
        Usage(),
    )


def write_search(folder: Path, policy: PolicyConfig, policy_id: str, n_correct: Sequence[int]) -> Path:
    """A finished search of problems of which so many of ten draws are right."""
    folder.mkdir()
    results = [result(f"{folder.name} {i}", n) for i, n in enumerate(n_correct)]
    config = SearchConfig(
        folder, ProblemSource(n=len(results)), policy, prm="prm", n_samples=4, n_difficulty_draws=N_DRAWN
    )
    (folder / "config.json").write_text(json.dumps(dump_config(config)))
    (folder / "models.json").write_text(json.dumps({"policy": policy_id, "prm": "s1"}))
    facts = {"n_problems": len(results), "n_generated": 1, "n_prefilled": 1, "n_cached": 0, "seconds": 1.0}
    (folder / "search.json").write_text(json.dumps(facts))
    adapter = TypeAdapter(ProblemResult)
    (folder / "results.jsonl").write_bytes(b"".join(adapter.dump_json(each) + b"\n" for each in results))
    return folder


def estimate(folder: Path, *arguments: str) -> list[ProblemDifficulty]:
    found = [f"--{split}={folder / split}" for split in ("validation", "test")]
    main([*found, "--output", str(folder / "difficulty"), "--n_draws", "2", *arguments])
    return list(read_records(folder / "difficulty" / "difficulty.jsonl", ProblemDifficulty))


@pytest.fixture
def searches(tmp_path: Path, policy: PolicyConfig, policy_id: str) -> Path:
    write_search(tmp_path / "validation", policy, policy_id, (1, 2, 3, 4, 5, 6, 7, 8, 9))
    write_search(tmp_path / "test", policy, policy_id, (9, 1, 5, 7, 3))
    return tmp_path


def test_a_draw_that_cannot_solve_its_problem_scores_nothing() -> None:
    candidates = result("p", 5).scored
    assert mean_final_score(candidates[:2], "last") == pytest.approx(0.5)
    cut = [replace(candidates[0], is_finished=False), candidates[1]]
    assert mean_final_score(cut, "last") == pytest.approx(0.3)
    assert mean_final_score([replace(candidates[0], scores={}), candidates[1]], "last") == pytest.approx(0.3)


def test_difficulty_is_predicted_from_the_scores_of_the_first_draws(searches: Path) -> None:
    """Of validation problems 10 of 12 draws of the pass rate are those for difficulty, the others two wrong
    samples: of a mean score x, 10 x / 12.
    """
    found = estimate(searches, "--prompt_head", "false", "--aggregation", "last")
    assert [each.pass_at_1["oracle"] for each in found] == [0.9, 0.1, 0.5, 0.7, 0.3]
    predicted = [each.pass_at_1["score"] for each in found]
    assert predicted == pytest.approx([0.75, 1 / 12, 5 / 12, 7 / 12, 0.25], abs=1e-3)
    # edges of five bins among nine equidistant problems: 2.6, 4.2, 5.8 and 7.4 twelfths
    assert [each.quantile_bin["score"] for each in found] == [0, 4, 2, 1, 3]
    assert [each.absolute_bin["oracle"] for each in found] == [0, 4, 2, 1, 3]
    assert [each.absolute_bin["score"] for each in found] == [1, 4, 2, 2, 3]
    # two draws of 2 tokens behind a prompt of 5; of two solutions, the question of 10 and two steps each, of
    # which the first is the same
    assert found[0].cost == {
        "oracle": TokensPerProblem(20.0, 0.0, 5.0),
        "score": TokensPerProblem(4.0, 10 + 3 + 4 + 4, 5.0),
    }
    assert found[0].n_draws == 2
    predictor = DifficultyPredictor.read(searches / "difficulty" / "difficulty.json")
    assert predictor.predict("score", [0.6]) == pytest.approx(0.5, abs=1e-3)
    assert predictor.bins("score", 0.5) == (1, 2)
    assert predictor.test["score"].rank_correlation == pytest.approx(1.0)
    # 0.15, 0.1 / 6, 0.5 / 6, 0.7 / 6 and 0.05
    assert predictor.test["score"].mean_absolute_error == pytest.approx(2.5 / 6 / 5, abs=1e-3)


def test_the_state_of_a_prompt_is_the_mean_over_its_tokens(tiny_policy: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_policy)
    with torch.no_grad():
        states = model(torch.tensor([[5, 6, 7]]), output_hidden_states=True).hidden_states[-1][0]
    assert torch.allclose(mean_hidden_state(model, (5, 6, 7)), states.sum(0) / 3, atol=1e-6)
    with pytest.raises(ValueError, match="no tokens"):
        mean_hidden_state(model, ())


def test_predictions_read_neither_verdicts_nor_gold_answers(searches: Path) -> None:
    before = estimate(searches)
    assert set(before[0].pass_at_1) == {"oracle", "score", "prompt"}
    path, adapter = searches / "test" / "results.jsonl", TypeAdapter(ProblemResult)
    changed = []
    for found in read_results(path):
        runs = [
            replace(run, candidates=tuple(replace(each, is_correct=True) for each in run.candidates))
            for run in found.runs
        ]
        problem = replace(found.problem, gold_answer="another")
        difficulty = replace(found.difficulty, n_correct=0)
        changed.append(replace(found, problem=problem, runs=tuple(runs), difficulty=difficulty))
    path.write_bytes(b"".join(adapter.dump_json(each) + b"\n" for each in changed))
    after = estimate(searches)
    assert [each.pass_at_1["oracle"] for each in after] == [0.0] * 5
    for kind in ("score", "prompt"):
        assert [each.pass_at_1[kind] for each in after] == [each.pass_at_1[kind] for each in before]
    n_prompt = before[0].cost["prompt"].n_prefilled
    assert before[0].cost["prompt"] == TokensPerProblem(0.0, 0.0, n_prompt)
    assert n_prompt > 3


def test_a_report_has_accuracies_by_predicted_difficulty(searches: Path) -> None:
    estimate(searches, "--prompt_head", "false")
    folders = [f"--{split}={searches / split}" for split in ("validation", "test")]
    evaluate([*folders, "--output", str(searches / "report"), "--difficulty", str(searches / "difficulty")])
    report = SearchReport.read(searches / "report" / "report.json")
    assert set(report.accuracy_by_predicted_quintile) == {"score"}
    assert len(report.accuracy_by_predicted_quintile["score"]["majority"][4]) == 5
    assert "predicted by the PRM" in (searches / "report" / "report.html").read_text()


def test_the_head_on_the_prompt_may_be_fitted_on_sampled_problems(searches: Path, policy_id: str) -> None:
    """Of eight training problems the first four are solved by both of their solutions."""
    run = searches / "train"
    run.mkdir()
    (run / "models.json").write_text(json.dumps({"policy": policy_id}))
    (run / "config.json").write_text(json.dumps({"temperature": 1.0}))
    problems = [Problem(f"t{i}", f"Start with {i}: plus {i}.", "9") for i in range(8)]
    write_records(run / "problems.jsonl", Problem, problems)
    solutions = [
        GradedSolution(Solution(f"t{i}", j, "a"), "9", CORRECT if i < 4 else INCORRECT)
        for i in range(8)
        for j in range(2)
    ]
    write_records(run / "solutions.jsonl", GradedSolution, solutions)
    before, after = estimate(searches), estimate(searches, "--samples", str(run))
    assert [each.pass_at_1["score"] for each in after] == [each.pass_at_1["score"] for each in before]
    assert [each.pass_at_1["prompt"] for each in after] != [each.pass_at_1["prompt"] for each in before]
    (run / "config.json").write_text(json.dumps({"temperature": 0.5}))
    with pytest.raises(
        InputError, match=r"samples: .*train was sampled at T = 0\.5; expected that of the search, T = 1\.0"
    ):
        estimate(searches, "--samples", str(run))
    (run / "config.json").write_text(json.dumps({"temperature": 1.0}))
    (run / "models.json").write_text(json.dumps({"policy": "another"}))
    with pytest.raises(InputError, match=r"samples: the policy of .*train is another; expected"):
        estimate(searches, "--samples", str(run))
    (run / "models.json").write_text(json.dumps({"policy": policy_id}))
    write_records(run / "problems.jsonl", Problem, [replace(problems[0], question="Start with test 1.")])
    with pytest.raises(InputError, match=r"problems\.jsonl: 'Start with test 1\.' is a test question"):
        estimate(searches, "--samples", str(run))


def add_failed(folder: Path) -> None:
    """One more problem to a search, which failed."""
    odd = replace(
        result("failed", 0),
        runs=(),
        scorings=(),
        difficulty=Difficulty(0, 0),
        failure="GraderFaultError: odd",
    )
    with (folder / "results.jsonl").open("ab") as file:
        file.write(TypeAdapter(ProblemResult).dump_json(odd) + b"\n")
    summary = json.loads((folder / "search.json").read_text())
    summary["n_problems"] += 1
    (folder / "search.json").write_text(json.dumps(summary))


def test_problems_that_failed_teach_nothing(searches: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody knows how hard they are: neither that nothing solved them nor that nothing scored counts."""
    before = estimate(searches, "--prompt_head", "false", "--aggregation", "last")
    add_failed(searches / "validation")
    assert estimate(searches, "--prompt_head", "false", "--aggregation", "last") == before
    assert "left out of the fits: 1 of 10 problems failed, first failed: GraderFaultError: odd" in caplog.text


def test_a_test_problem_that_failed_makes_the_others_no_cheaper(
    searches: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The estimate of each answered problem costs 4 tokens drawn, 21 scored and a prompt of 5."""
    add_failed(searches / "test")
    with caplog.at_level("INFO"):
        found = estimate(searches, "--prompt_head", "false", "--aggregation", "last")
    assert len(found) == 6
    assert re.search(r"problems +6, of which 1 failed\n", caplog.text)
    assert re.search(r"score +30 tokens a problem, rank correlation", caplog.text)


def test_scores_of_validation_alone_are_no_estimate(searches: Path) -> None:
    """A test that was searched without a PRM has the estimate from prompts."""
    for name, key in (("config.json", "prm"), ("models.json", "prm")):
        path = searches / "test" / name
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != key}))
    assert set(estimate(searches)[0].pass_at_1) == {"oracle", "prompt"}


def test_what_does_not_fit_is_refused(searches: Path, policy: PolicyConfig) -> None:
    other = searches / "other"
    other.mkdir()
    model = AutoModelForCausalLM.from_pretrained(str(policy.model))
    with torch.no_grad():
        model.get_input_embeddings().weight.add_(1.0)
    model.save_pretrained(other)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (other / name).write_bytes((Path(str(policy.model)) / name).read_bytes())
    with pytest.raises(InputError, match=r"policy .*: is \w+; expected \w+, which searched"):
        estimate(searches, "--policy", str(other))
    with pytest.raises(InputError, match="n_draws: got 5; expected at most n_samples, 4"):
        estimate(searches, "--n_draws", "5")
    estimate(searches, "--prompt_head", "false")
    another = [
        replace(each, problem=Problem("new", "?", "1"))
        for each in read_results(searches / "test" / "results.jsonl")
    ]
    with pytest.raises(InputError, match=r"difficulty\.jsonl: no line for 5 of 5 problems, as new"):
        read_difficulties(searches / "difficulty", another)
    assert np.isfinite(
        DifficultyPredictor.read(searches / "difficulty" / "difficulty.json").fits["score"].bias
    )
