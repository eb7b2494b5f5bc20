"""`label`: the labels of the command `prm-train label`, in one call."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import prm_train
from data_gen.files.run_folder import read_records
from data_gen.label import main as label_command
from data_gen.ledger.store import Ledger
from data_gen.records.solutions import LabeledSolution
from data_gen.sample import main as sample_command

FIRST = "arithmetic-train-0-00000"


def problems(n: int) -> list[prm_train.Problem]:
    return prm_train.load_problems(prm_train.ProblemSource("arithmetic", n=n))


def labeled(n: int, **settings: Any) -> list[prm_train.Labeled]:
    policy = prm_train.load_policy("simulated")
    return prm_train.label(problems(n), policy, grader="arithmetic", max_new_tokens=400, **settings)


def test_the_call_gives_the_labels_that_the_command_writes(tmp_path: Path) -> None:
    run = str(tmp_path)
    sample_command(
        ["--output", run, "--problems.n", "6", "--policy.model", "simulated", "--max_new_tokens", "400"]
    )
    label_command(["--run", run, "--method", "every_step", "--n_rollouts", "3"])
    found = labeled(6, method="every_step", n_rollouts=3)
    assert [each for of_problem in found for each in of_problem.solutions] == list(
        read_records(tmp_path / "labels.jsonl", LabeledSolution)
    )
    assert [each.solutions[0].graded.solution.problem_id for each in found] == [
        each.problem_id for each in problems(6)
    ]


def test_calls_that_share_a_ledger_draw_nothing_twice_and_cost_what_they_cost_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    labeled(3, ledger=path, method="every_step", n_rollouts=4)
    with Ledger(path, read_only=True) as ledger:
        n_draws = ledger.n_draws()
    found = labeled(3, ledger=path, n_rollouts=4)
    with Ledger(path, read_only=True) as ledger:
        assert ledger.n_draws() == n_draws
    assert found == labeled(3, n_rollouts=4)
    assert sum(each.n_rollouts for each in found) > 0


def test_it_labels_while_the_event_loop_of_a_notebook_is_running() -> None:
    async def cell() -> list[prm_train.Labeled]:
        return labeled(2)

    assert asyncio.run(cell()) == labeled(2)


def scores_as_arrays(scores: dict[str, dict[int, list[float]]]) -> dict[str, dict[int, Any]]:
    return {
        name: {index: np.array(of_steps, np.float32) for index, of_steps in each.items()}
        for name, each in scores.items()
    }


def test_scores_are_what_posterior_begins_with(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.sqlite"
    search: dict[str, Any] = {"ledger": ledger, "method": "posterior"}
    plain = labeled(12, **search)
    wrong = [each for found in plain for each in found.solutions if False in each.labels]
    assert wrong
    scores: dict[str, dict[int, list[float]]] = {}
    for each in wrong:  # a scorer that knows where the errors are
        solution, error = each.graded.solution, each.labels.index(False)
        sure = [float(step != error) for step in range(len(each.steps))]
        scores.setdefault(solution.problem_id, {})[solution.index] = sure
    guided = labeled(12, scores=scores, scorer_trust=0.9, **search)
    assert sum(each.n_rollouts for each in guided) < sum(each.n_rollouts for each in plain)
    found = [each.labels for of_problem in guided for each in of_problem.solutions if False in each.labels]
    assert found == [each.labels for each in wrong]
    assert labeled(12, scores=scores_as_arrays(scores), scorer_trust=0.9, **search) == guided
    unread = {name: {index: [None, 0.5] for index in each} for name, each in scores.items()}
    assert labeled(12, scores=unread, **search) == plain


def test_as_many_problems_are_open_as_the_policys_cache_holds() -> None:
    class Watched:
        def __init__(self, n_cacheable_tokens: int | None) -> None:
            self.n_cacheable_tokens, self.n_under_way, self.most = n_cacheable_tokens, 0, 0
            self._policy = prm_train.load_policy("simulated")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._policy, name)

        async def sample(self, *of_draw: Any) -> Any:
            self.n_under_way += 1
            self.most = max(self.most, self.n_under_way)
            await asyncio.sleep(0)
            self.n_under_way -= 1
            return await self._policy.sample(*of_draw)

    most = {}
    for n_cacheable_tokens in (None, 1000):
        policy: Any = Watched(n_cacheable_tokens)
        prm_train.label(problems(40), policy, grader="arithmetic", max_new_tokens=400, n_rollouts=2)
        most[n_cacheable_tokens] = policy.most
    assert most[1000] <= 16 * 4 < most[None]  # 16 problems with four solutions, and all 40


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scores": {"p": {0: [0.5]}}}, "scores: method first_error reads them with min_doubt above 0 only"),
        ({"min_doubt": 0.5}, "min_doubt: got 0.5 without scores"),
        (
            {"scores": {"p": {0: [0.5]}}, "method": "posterior"},
            "scores: of problem p, which is none of these",
        ),
        (
            {"scores": {FIRST: {4: [0.5]}}, "method": "posterior"},
            f"scores: of sample 4 of {FIRST}; expected samples 0 to 3",
        ),
        (
            {"scores": {FIRST: {"0": [0.5]}}, "method": "posterior"},
            f"scores: of sample '0' of {FIRST}; expected samples 0 to 3",
        ),
        (
            {"scores": {FIRST: {0: [0.5, float("nan")]}}, "method": "posterior"},
            f"sample 0 of {FIRST}: scores: got .*, expected numbers from 0 to 1",
        ),
        (
            {"scores": {FIRST: {0: [0.5, -3.2]}}, "method": "posterior"},
            f"sample 0 of {FIRST}: scores: got .*, expected numbers from 0 to 1",
        ),
        ({"n_samples": 0}, "n_samples: got 0, expected at least 1"),
        (
            {"n_rollouts": 4, "method": "posterior"},
            "n_rollouts: got 4, but method posterior does not read it",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        labeled(1, **settings)
