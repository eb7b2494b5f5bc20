import pytest

from data_gen.labeling.rollouts import WITNESS, terminal
from data_gen.labeling.views import LabelView, view_labels
from data_gen.records.solutions import GradedSolution, LabeledSolution, Problem, Solution, StepEstimate
from data_gen.records.verdicts import CORRECT, INCORRECT, Verdict
from data_gen.rows.filters import Filter
from data_gen.rows.layouts import PrmRow
from data_gen.rows.prm import prm_rows
from data_gen.settings.errors import InputError

PROBLEM = Problem("a", "Question a?", "1 2")
NOTHING = StepEstimate()
EXACT = Filter(second_opinion=False)


def labeled(
    steps: tuple[str, ...],
    estimates: tuple[StepEstimate, ...],
    labels: tuple[bool | None, ...],
    verdict: Verdict = INCORRECT,
    non_monotone: tuple[int, ...] = (),
) -> LabeledSolution:
    graded = GradedSolution(Solution("a", 0, "\n".join(steps)), "1 3", verdict)
    return LabeledSolution(graded, steps, estimates, labels, non_monotone=non_monotone)


def test_a_labeled_solution_becomes_a_row_with_its_evidence() -> None:
    steps = ("x = 1", "y = 3", "Answer: 1 3")
    first, second = (
        StepEstimate(1, 3, 0, "rollouts", "first_success", 0.1, 0.9),
        StepEstimate(0, 8, 2, "rollouts", "first_success", 0.0, 0.3),
    )
    rows, left_out = prm_rows(
        PROBLEM, [labeled(steps, (first, second, NOTHING), (True, False, None))], LabelView(), EXACT
    )
    assert left_out == {}
    assert rows == [
        PrmRow(
            problem_id="a",
            prompt="Question a?",
            completions=steps,
            labels=(True, False, None),
            n_correct=(1, 0, 0),
            n_rollouts=(3, 8, 0),
            n_unknown=(0, 2, 0),
            stopping=("first_success", "first_success", "fixed"),
            method=("rollouts", "rollouts", "none"),
            low=(0.1, 0.0, 0.0),
            high=(0.9, 0.3, 1.0),
        )
    ]


def test_solutions_are_left_out_by_reason() -> None:
    solutions = [
        labeled(("x", "y"), (NOTHING,) * 2, (True, None)),
        labeled(("x", "y"), (NOTHING,) * 2, (False, None)),
        labeled(("z",), (NOTHING,), (None,)),
        labeled(("long " * 9,), (NOTHING,), (False,)),
        labeled(("a", "b"), (NOTHING,) * 2, (False, None), non_monotone=(1,)),
    ]
    rows, left_out = prm_rows(PROBLEM, solutions, LabelView(non_monotone="drop"), Filter(20, False))
    assert [row.completions for row in rows] == [("x", "y")]
    assert left_out == {"duplicate": 1, "no_label": 1, "too_long": 1, "non_monotone": 1}


def test_a_solution_whose_wrong_answer_is_disputed_teaches_no_step() -> None:
    problem = Problem("a", "Question a?", "3")
    graded = GradedSolution(Solution("a", 0, "x"), "3.00 dollars", INCORRECT)
    rows, left_out = prm_rows(
        problem, [LabeledSolution(graded, ("x",), (NOTHING,), (False,))], LabelView(), Filter()
    )
    assert (rows, left_out) == ([], {"disputed": 1})


def test_labels_under_a_threshold_come_from_the_counts() -> None:
    counts = tuple(StepEstimate(n, 8, method="rollouts") for n in (8, 3, 1, 0))
    wrong = labeled(("a", "b", "c", "d", "e"), (*counts, terminal(False)), (True, True, True, False, False))
    assert view_labels(wrong, LabelView()) == (True, True, True, False, False)
    assert view_labels(wrong, LabelView(hard_threshold=0)) == (True, True, True, False, False)
    assert view_labels(wrong, LabelView(hard_threshold=0.125)) == (True, True, False, False, False)
    assert view_labels(wrong, LabelView(hard_threshold=0.125, until_first_error=True)) == (
        True,
        True,
        False,
        None,
        None,
    )
    by_chance = labeled(("a", "b", "c"), (counts[3], counts[1], terminal(True)), (False, True, True), CORRECT)
    # The solution itself succeeded after a
    assert view_labels(by_chance, LabelView(until_first_error=True)) == (True, True, True)
    lucky = labeled(("a", "b", "c"), (counts[3], counts[1], terminal(False)), (False, True, False))
    assert view_labels(lucky, LabelView(until_first_error=True)) == (False, None, None)
    right = labeled(("a", "b"), (WITNESS, terminal(True)), (None, None), CORRECT)
    assert view_labels(right, LabelView(hard_threshold=0)) == (True, True)
    # A witness says that the value is above 0 and no more
    assert view_labels(right, LabelView(hard_threshold=0.5)) == (None, True)
    assert view_labels(labeled(("a",), (NOTHING,), (True,)), LabelView(hard_threshold=0.5)) == (None,)


def test_a_threshold_needs_a_fixed_number_of_rollouts() -> None:
    stopped = labeled(("a",), (StepEstimate(1, 3, 0, "rollouts", "first_success"),), (True,))
    # Any success is any success, whenever the draws ended
    assert view_labels(stopped, LabelView(hard_threshold=0)) == (True,)
    with pytest.raises(
        InputError,
        match=r"solution 0 of problem a, step 0: hard_threshold 0\.25 needs a fixed number of rollouts.* got "
        r"stopping",
    ):
        view_labels(stopped, LabelView(hard_threshold=0.25))


def test_a_located_error_from_which_rollouts_recover_can_be_masked() -> None:
    doubted = labeled(("a", "b", "c"), (NOTHING,) * 3, (True, False, None), non_monotone=(2,))
    assert view_labels(doubted, LabelView(non_monotone="mask")) == (True, None, None)
    assert view_labels(doubted, LabelView()) == (True, False, None)
    rows, left_out = prm_rows(PROBLEM, [doubted], LabelView(non_monotone="mask"), EXACT)
    assert (rows[0].labels, left_out) == ((True, None, None), {"labels masked: non_monotone": 1})
