"""A problem that fails by a fault of its own is one outcome of a search; what is wrong with everything ends
it.
"""

import asyncio
import json
import logging
import sys
from pathlib import Path

import pytest
import torch

from data_gen.ledger.file import LedgerError
from data_gen.ledger.store import IN_MEMORY, Ledger
from data_gen.policies.servers.server_errors import RefusedRequestError, ServerError
from data_gen.policies.simulated import SimulatedPolicy
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.records.sampling import Completion, SamplingParams, Usage
from data_gen.records.solutions import Problem
from data_gen.settings.errors import InputError
from prm_train.evaluation.shards import read_search
from prm_train.search.failures import FailureLimit
from prm_train.search.results import Difficulty, ProblemResult, read_results
from prm_train.search.run import main
from prm_train.search.searcher import Searcher
from prm_train.search.settings import SearchConfig
from prm_train.training.best_of_n import read_candidates

PROBLEM = Problem("p1", "Start with 3: fold 4, times 9.", "9 1")
CRASHES = """
def grade(question, gold_answer, solution):
    {fault}
    return gold_answer in solution
"""


@pytest.fixture
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    return tmp_path


def search(folder: Path, fault: str, *arguments: str) -> dict:
    """Search three problems with a grader of one's own."""
    (folder / "crashing_grader.py").write_text(CRASHES.format(fault=fault))
    sys.modules.pop("crashing_grader", None)
    small = (
        "--problems.n",
        "3",
        "--policy.model",
        "simulated",
        "--n_samples",
        "2",
        "--n_difficulty_draws",
        "1",
    )
    main(["--output", str(folder / "run"), "--grader", "crashing_grader:grade", *small, *arguments])
    found: dict = json.loads((folder / "run" / "search.json").read_text())
    return found


def test_a_grader_that_crashes_on_one_problem_fails_it_alone_until_it_is_mended(
    working_directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sound = search(working_directory, "")
    results = working_directory / "run" / "results.jsonl"
    every = {result.problem.problem_id: result for result in read_results(results)}
    failing = min(every)
    results.unlink()

    question = every[failing].problem.question
    with caplog.at_level(logging.INFO):
        summary = search(working_directory, f"assert question != {question!r}, 'no digit'")
    why = "GraderFaultError: grader crashing_grader:grade: AssertionError no digit"
    assert summary["failed"] == {failing: f"{why} ({working_directory / 'crashing_grader.py'}:3)"}
    assert summary["n_problems"] == 3
    assert summary["n_candidates"] == 2 * 2
    assert summary["n_generated"] == sound["n_generated"]  # what was drawn for it was spent
    assert f"failed           1 of 3 problems failed, first {failing}:\n" in caplog.text
    found = {result.problem.problem_id: result for result in read_results(results)}
    assert found[failing].runs == ()
    assert [found[name] for name in every if name != failing] == [
        every[name] for name in every if name != failing
    ]
    assert [problem.problem_id for problem, _ in read_candidates(results)].count(failing) == 0

    searched = {result.problem.problem_id: result for result in read_search([results.parent]).results}
    like = every[failing]
    assert [(run.spec, len(run.candidates)) for run in searched[failing].runs] == [
        ("greedy", 1),
        ("samples", 2),
    ]
    assert not any(
        each.can_vote or each.is_correct for run in searched[failing].runs for each in run.candidates
    )
    assert searched[failing].difficulty == Difficulty(1, 0)

    assert search(working_directory, "")["failed"] == {}
    assert {result.problem.problem_id: result for result in read_results(results)}[failing] == like


def test_a_grader_that_always_crashes_ends_the_search(working_directory: Path) -> None:
    with pytest.raises(InputError, match=r"^3 of 3 problems failed, first .* 0 were answered: too few"):
        search(working_directory, "raise KeyError(solution)")
    with pytest.raises(InputError, match=r"^8 of 40 problems failed.* 0 were answered: too few"):
        search(working_directory, "raise KeyError(solution)", "--output", "forty", "--problems.n", "40")


def finished(number: int, failure: str) -> ProblemResult:
    return ProblemResult(
        Problem(f"p{number}", "?", "1"), 1.0, (), (), Difficulty(0, 0), Usage(), failure=failure
    )


def test_failures_end_a_search_once_they_are_more_than_a_twentieth_of_it() -> None:
    limit = FailureLimit(n_problems=200, n_answered=1)
    for number in range(10):  # a twentieth of 200
        limit.add(finished(number, "it is odd"))
    limit.check_any_answered()
    with pytest.raises(InputError, match="11 of 200 problems failed, first p0: it is odd"):
        limit.add(finished(10, "it is odd"))
    few = FailureLimit(n_problems=20, n_answered=1)
    for number in range(7):
        few.add(finished(number, "it is odd"))
    with pytest.raises(InputError, match="8 of 20 problems failed"):
        few.add(finished(7, "it is odd"))


class FailingPolicy(SimulatedPolicy):
    """Raises an error at its second draw."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error, self.n_drawn = error, 0

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        self.n_drawn += 1
        if self.n_drawn == 2:
            raise self.error
        return await super().sample(prefix_ids, params, index)


def search_with(error: BaseException) -> ProblemResult:
    config = SearchConfig(Path("unused"), n_samples=2, n_difficulty_draws=1, max_new_tokens=400)
    with Ledger(IN_MEMORY) as ledger:
        searcher = Searcher(config, FailingPolicy(error), ledger, ArithmeticGrader(), {})
        return asyncio.run(searcher.search(PROBLEM))


def test_a_prompt_that_a_server_refuses_is_an_outcome_with_what_was_spent() -> None:
    result = search_with(RefusedRequestError("http://a/v1/completions: HTTP 400 no such text"))
    assert result.failure == "RefusedRequestError: http://a/v1/completions: HTTP 400 no such text"
    assert (result.runs, result.difficulty) == ((), Difficulty(0, 0))
    assert result.usage.n_generated > 0


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        ServerError("10 attempts failed: 10 × http://a: no connection: Connection refused"),
        LedgerError("ledger.sqlite: disk I/O error"),
        OSError(28, "No space left on device"),
        InputError("rules that no server heeds"),
        TypeError("of ours"),
        AssertionError("of ours"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_fault_of_everything_is_no_outcome_of_a_problem(error: BaseException) -> None:
    with pytest.raises(type(error)):
        search_with(error)
