"""The figures of thinking, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.thinking.draws import Drawn, DrawnProblem
from benchmarks.thinking.figures import Choice, abandoned, figures, wasted_share
from benchmarks.thinking.page import page
from benchmarks.thinking.plan import NATURAL, efforts

RIGHT = Drawn(True, 100, 60, -0.1, (True,), (50,), 50)
LOST = Drawn(False, 200, 160, -0.3, (True, False), (50, 100), 100)
GAINED = Drawn(True, 200, 160, -0.3, (False, True), (50, 100), 100)
WRONG = Drawn(False, 100, 60, -0.5, (False,), (50,), 50)


def test_over_and_underthinking_worked_by_hand() -> None:
    assert abandoned([RIGHT, LOST, GAINED, GAINED, WRONG]) == {
        "first_right": 0.4,
        "lost": 0.5,
        "gained": 0.6667,
        "underthinking": 0.25,  # of LOST half of the thought, of WRONG nothing
    }
    assert wasted_share(LOST) == 0.5


def problem(number: int, is_easy: bool) -> DrawnProblem:
    """An easy one is solved by any effort; a hard one by long ones alone, which cost twice as much."""
    drawn: dict[str, tuple[Drawn, ...]] = {}
    for name in efforts():
        is_long = name.startswith("forced")
        one = RIGHT if is_easy else GAINED if is_long else WRONG
        sure = -0.1 if is_easy else -0.9
        drawn[name] = (replace(one, n_tokens=200 if is_long else 100, mean_logprob=sure),) * 2
    return DrawnProblem(f"p{number}", 5, drawn, drawn[NATURAL])


def test_effort_goes_to_problems_that_are_predicted_to_be_hard() -> None:
    problems = [problem(number, is_easy=number % 2 == 0) for number in range(40)]
    choice = Choice(problems, most_tokens=150.0)
    assert {choice(each) for each in problems[1::2]} <= {name for name in efforts() if "forced" in name}
    assert not any("forced" in choice(each) for each in problems[::2])
    fixed = Choice(problems, most_tokens=100.0)
    assert not any("forced" in fixed(each) for each in problems)


def test_adaptive_effort_is_held_against_each_fixed_one_at_its_tokens() -> None:
    problems = [problem(number, is_easy=number % 2 == 0) for number in range(40)]
    found = figures([{"validation": problems, "test": problems}])
    long = found["adaptive"]["forced 100"]
    assert (long["tokens_of_fixed"], long["tokens"]) == (200.0, 150.0)  # as right for less
    assert long["above_fixed"]["mean"] == 0.0
    natural = found["budget"][NATURAL]
    assert natural["accuracy"]["mean"] == pytest.approx(0.5)
    assert found["budget"]["forced 100"]["above_natural"]["mean"] == pytest.approx(0.5)
    hardest = found["by_difficulty"][4]
    assert hardest["natural"]["accuracy"]["mean"] == 0.0
    assert hardest["most"]["above_natural"]["mean"] == 1.0
    text = page(found | {"command": "c", "seeds": 1, "n_problems": 40, "n_draws": 2})
    assert "| `forced 100` | 200 | 150 | +0.0 (" in text
    assert np.isfinite(natural["tokens"])
