"""The figures that docs/rl_analysis.md asks for, by hand."""

import math
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.rl.figures import collapse, end, figures, over_seeds, steps_to
from benchmarks.rl.measured import Arm, Measured, Searched
from benchmarks.rl.page import page
from benchmarks.rl.plan import ARMS, SEARCHED


def arm(solved: list[float], **more: Any) -> Arm:
    curve = [[float(step), value] for step, value in enumerate(solved)]
    empty: dict[str, Any] = {"n_tokens": [[0.0, 50.0], [9.0, 60.0]], "n_steps": [], "auroc": []}
    return Arm(curve, **(empty | more), n_generated=1000, n_steps_of_training=9, cpu_seconds=7.0)


SLOW = arm([0.4, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9])
FAST = arm([0.4, 0.6, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9])
NEVER = arm([0.4] * 12)


def seed(number: int, of_min: Arm) -> Measured:
    arms = dict.fromkeys(ARMS, SLOW) | {"min": of_min, "hacked_sum": arm([0.4] * 7 + [0.1] * 5)}
    before = Searched([0.0, 1.0], [0.25, 0.75], [1.0, 1.0], [0.5, 1.0])
    after = replace(before, pass_at_1=[0.75, 0.75])
    searched = dict.fromkeys(SEARCHED, after) | {"base": before}
    settings = {"n_steps": 11, "n_completions": 8, "learning_rate": 3e-4}
    return Measured(number, settings, arms, searched, {}, "a machine")


def test_steps_to_a_level_are_those_of_the_first_three_looks_whose_mean_is_there() -> None:
    assert end(SLOW) == pytest.approx(0.9)
    assert steps_to(SLOW.solved, 0.89) == 7  # looks 6, 7, 8
    assert steps_to(FAST.solved, 0.89) == 3  # looks 2, 3, 4
    assert steps_to(FAST.solved, 0.79) == 2  # .6, .9, .9
    assert steps_to(NEVER.solved, 0.89) is None


def test_an_arm_is_held_against_the_outcome_of_its_seed_and_one_that_never_gets_there_is_named() -> None:
    found = figures([seed(3, FAST), seed(4, NEVER)])
    steps = found["steps"]["min"]
    assert steps["steps"] == [3, 11]
    assert steps["n_never"] == 1
    logs = [math.log(3 / 7), math.log(11 / 7)]
    assert steps["ratio"]["mean"] == pytest.approx(math.exp(sum(logs) / 2), abs=1e-4)
    assert found["steps"]["outcome"]["ratio"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert found["accuracy"]["min"]["above_outcome"]["mean"] == pytest.approx(-0.25)
    above = found["searched"]["min"]["pass_at_1_above_base"]
    assert above["mean"] == pytest.approx(0.25)
    assert -1 <= above["low"] <= 0.25 <= above["high"] <= 1
    text = page(found, "collect a b")
    assert "| step credit `min` | 40.0 (+" not in text
    assert "3, 11" in text
    assert "| raw sum of scores, no answers | 2 of 2 |" in text


def test_a_collapse_is_a_fall_of_ten_points_or_half_as_many_tokens_again() -> None:
    assert collapse(arm([0.4] * 7 + [0.3] * 5))["collapsed"]
    assert not collapse(arm([0.4] * 7 + [0.31] * 5))["collapsed"]
    longer = [[float(step), 50.0 + 10 * step] for step in range(10)]
    assert collapse(replace(SLOW, n_tokens=longer)) == {
        "fell_by": 0.0,
        "tokens": [70.0, 120.0],
        "steps": None,
        "auroc": None,
        "collapsed": True,
    }


def test_intervals_over_seeds_are_those_of_student() -> None:
    # Mean 2, standard deviation 1, three seeds: 4.303 / sqrt(3) to either side
    assert over_seeds([1.0, 2.0, 3.0]) == {"mean": 2.0, "low": -0.4843, "high": 4.4843}
    assert over_seeds([2.0]) == {"mean": 2.0, "low": None, "high": None}
