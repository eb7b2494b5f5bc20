"""Tests of how the rest of the project reaches a built-in task."""

from pathlib import Path

import pytest

from data_gen.grading.graders import compares_exactly, load_grader
from data_gen.policies.config import PolicyConfig
from data_gen.policies.simulated import SimulatedPolicy
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.problems.built_in_task import BuiltInTask
from data_gen.problems.sources import ProblemSource, load_problems
from data_gen.problems.tasks import TASKS, model_path, step_truth
from data_gen.records.solutions import Problem


class CountingGrader(ArithmeticGrader):
    pass


COUNTING = BuiltInTask(
    source="counting",
    title="counting",
    problems=lambda seed, split: (
        Problem(f"counting-{split}-{seed}-{i}", f"Count to {i}.", str(i)) for i in range(1, 100)
    ),
    example_question="Count to 2.",
    graders={"counting_exact": CountingGrader},
    grader="counting_exact",
    step_truth=lambda question, text: [line.isdecimal() for line in text.split("\n")],
    policy="counter",
    policy_folder=Path("counter-weights"),
    simulate=lambda question, written, noise: "1\nAnswer: 1",
    sample_solutions=lambda n: [("Count to 1.", ("1",))] * n,
)


def test_a_further_task_is_one_entry_and_nothing_else_has_to_know_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(TASKS, "counting", COUNTING)
    problems = load_problems(ProblemSource("counting", n=2, offset=1, split="test", seed=5))
    assert [(each.problem_id, each.gold_answer) for each in problems] == [
        ("counting-test-5-2", "2"),
        ("counting-test-5-3", "3"),
    ]
    assert isinstance(load_grader("auto", "counting"), CountingGrader)
    assert isinstance(load_grader("counting_exact", "rows.jsonl"), CountingGrader)
    assert PolicyConfig().named_for("counting").model == "counter"
    assert model_path("counter") == "counter-weights"
    assert step_truth(problems[0], "1\ntwo") == [True, False]
    assert SimulatedPolicy(task=COUNTING).policy_id == "simulated-counting-1"


def test_problems_from_elsewhere_have_no_truth_of_steps_and_name_no_policy():
    assert step_truth(Problem("counting-test-5-2", "Count to 2.", "2"), "1\n2") is None
    with pytest.raises(ValueError, match=r"policy.model: no model for rows.jsonl"):
        PolicyConfig().named_for("rows.jsonl")
    assert model_path("user/model") == "user/model"


@pytest.mark.parametrize(
    ("grader", "source", "is_exact"),
    [
        ("auto", "arithmetic", True),
        ("arithmetic_last_value", "rows.jsonl", True),
        ("auto", "rows.jsonl", False),
        # A function of the user's, whatever its module is called
        ("arithmetic_of_mine:grade", "rows.jsonl", False),
    ],
)
def test_only_graders_of_built_in_tasks_need_no_second_opinion(grader: str, source: str, is_exact: bool):
    assert compares_exactly(grader, source) == is_exact
