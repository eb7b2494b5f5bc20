"""The draws of a problem by text, the rule that reads them, and the figures by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.coverage import (
    CoverageConfig,
    DrawnProblem,
    DrawnText,
    Models,
    drawn_problem,
    drop_cut_line,
    n_distinct_tokens,
    passes_rule,
    read_draws,
)
from benchmarks.coverage_figures import figures, ratio, table, vote_weights
from data_gen.grading.graders import load_grader
from data_gen.problems.arithmetic.rules import draw_problems
from data_gen.problems.tasks import DEFAULT_TASK
from data_gen.records.solutions import Problem

QUESTION = "Start with 7: plus 9, mix 1, minus 5."
RIGHT = "7 plus 9=16, keep 6\n6 mix 1=9\n9 minus 5=4\nAnswer: 6 9 4"
PROBLEM = Problem("p", QUESTION, "6 9 4")


@pytest.mark.parametrize(
    ("old", "new", "passes"),
    [
        ("", "", True),
        ("mix 1=9\n9 minus 5=4\nAnswer: 6 9 4", "mix 1=2\n2 minus 5=7\nAnswer: 6 2 7", True),  # knows no mix
        ("7 plus 9=16, keep 6", "7 plus 9=15, keep 5", False),
        ("=16, keep 6", "=16, keep 5", False),
        ("9 minus 5=4", "8 minus 5=3", False),  # goes on with another digit
        ("6 mix 1=9", "6 mix 2=9", False),
        ("minus 5=4", "plus 5=14, keep 4", False),
        ("Answer: 6 9 4", "Answer: 6 9 5", False),
        ("9 minus 5=4\n", "", False),
    ],
)
def test_the_rule_is_a_calculator_for_plus_minus_and_times(old: str, new: str, passes: bool) -> None:
    assert passes_rule(QUESTION, RIGHT.replace(old, new) if old else RIGHT) is passes


def test_tokens_that_texts_share_at_their_beginning_are_counted_once() -> None:
    assert n_distinct_tokens([(1, 2, 3), (1, 2, 4), (1, 2), (5,)]) == 5
    assert n_distinct_tokens([]) == 0


def text(name: str, count: int, answer: str | None, prm: float, rule: bool = True) -> DrawnText:
    return DrawnText(name, count, -float(count), answer, answer == "6 9 4", False, rule, {"prm": prm})


def drawn(*texts: DrawnText) -> DrawnProblem:
    return DrawnProblem(PROBLEM, texts, 40, 10, {"prm": 12}, 0.5, 100)


def test_figures_of_two_problems_by_hand(tmp_path: Path) -> None:
    """Of 4 draws, 1 is right, which the PRM and the rule see; in the other problem none is."""
    one = drawn(text("a", 3, "1", 0.2, rule=False), text("b", 1, "6 9 4", 0.9))
    other = drawn(text("a", 4, "1", 0.2))
    config = CoverageConfig(tmp_path, tmp_path, n_problems=2, n_draws=4)
    found = figures([one, other], config)
    mean = {name: [each["mean"] for each in of_k.values()] for name, of_k in found["solved"].items()}
    assert list(found["solved"]["pass"]) == ["1", "3"]
    assert mean["pass"] == [0.125, 0.375]
    assert mean["prm"] == [0.125, 0.375]
    assert mean["logprob"] == [0.125, 0.375]  # the rarer one is likelier here
    assert mean["majority"][1] == 0.0
    assert mean["rule"][1] == pytest.approx(0.375, abs=0.03)
    assert mean["prm_vote"][1] == pytest.approx(0.375, abs=0.03)  # 0.9 against 0.4
    assert found["misses_among_all_draws"] == {
        **{"prm": 1, "prm, passes the rule": 1, "prm_vote": 1},  # of the problem that is never solved
    }
    assert found["recovered"]["prm"]["3"] is None  # of some resamples nothing is solved
    assert (found["n_never_solved"], found["tokens"]) == (1, {"drawn": 80, "distinct": 20, "scored_prm": 24})
    assert "| best of k by PRM | 12.5 (" in table(found)


def test_all_that_fails_the_rule_weighs_less_than_one_that_passes() -> None:
    texts = [text("a", 9, "1", 0.2, rule=False), text("b", 1, "2", 0.9)]
    assert vote_weights(texts)["rule"] == [1.0, 11.0]
    assert vote_weights(texts)["rule_prm"] == [0.2, 0.9 * 11]


def test_the_table_of_the_page_is_that_of_the_stored_figures() -> None:
    root = Path(__file__).parents[2]
    stored = json.loads((root / "benchmarks/results/coverage.json").read_text())
    page = (root / "docs/distillation.md").read_text()
    assert table(stored, ("1", "10", "100", "1000", "10000")) in page


def test_a_ratio_of_means_is_resampled_with_its_problems() -> None:
    found = ratio(np.array([0.4, 0.1]), np.array([0.8, 0.2]), np.random.default_rng(0))
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_a_problem_is_drawn_by_text_and_goes_on_behind_a_cut_line(tmp_path: Path) -> None:
    from data_gen.policies.engine.transformers_policy import load_policy

    policy = load_policy(str(DEFAULT_TASK.policy_folder))
    models = Models(policy, load_grader("auto", DEFAULT_TASK.source), {})
    problem = next(draw_problems(0, "test"))
    found = drawn_problem(problem, models, 40, 160)
    assert sum(each.count for each in found.texts) == 40
    assert len({each.text for each in found.texts}) == len(found.texts) < 40
    right = [each for each in found.texts if each.is_correct]
    assert right
    assert all(each.passes_rule and each.answer == problem.gold_answer for each in right)
    assert found.n_distinct < found.n_generated
    path = tmp_path / "draws.jsonl"
    from pydantic import TypeAdapter

    line = TypeAdapter(DrawnProblem).dump_json(found)
    path.write_bytes(line + b"\n" + line[:50])
    assert list(read_draws(path)) == [found]
    drop_cut_line(path)
    assert path.read_bytes() == line + b"\n"
    assert replace(found, cpu_seconds=0.0) == replace(
        drawn_problem(problem, models, 40, 160), cpu_seconds=0.0, peak_mb=found.peak_mb
    )
