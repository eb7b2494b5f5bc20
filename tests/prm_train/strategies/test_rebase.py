"""REBASE against a policy and a scorer whose every answer is written down here, and its shares by hand."""

import math
from functools import partial
from pathlib import Path

import pytest

from prm_train.strategies.candidates import Candidate
from prm_train.strategies.rebase import RebaseConfig, balanced_shares, rebase
from tests.scripted_search import ScriptedPolicy, ScriptedScorer, search_scripted


def search(
    policy: ScriptedPolicy, scorer: ScriptedScorer, config: RebaseConfig, folder: Path
) -> list[Candidate]:
    return search_scripted(partial(rebase, config=config), policy, scorer, folder)


@pytest.mark.parametrize(
    ("n", "scores", "copies", "temperature", "shares"),
    [
        # 1, e^-1 and e^-2 of 1.5032: 5.32, 1.96 and 0.72 of 8
        (8, [0.9, 0.5, 0.1], [1, 1, 1], 0.4, [5, 2, 1]),
        # 1.08, 1.02, 0.97 and 0.93 of 4: rounding up from the best would give 2, 2, 0, 0
        (4, [0.52, 0.51, 0.50, 0.49], [1, 1, 1, 1], 0.2, [1, 1, 1, 1]),
        (8, [0.5, 0.5], [3, 1], 0.2, [6, 2]),
        (8, [0.9, 0.1], [1, 1], 0.01, [8, 0]),
        (8, [0.9, 0.1], [1, 1], 1e9, [4, 4]),
        (3, [1.0, 0.0], [1, 1], 1e-4, [3, 0]),  # e^-10000
    ],
)
def test_shares_by_hand(
    n: int, scores: list[float], copies: list[int], temperature: float, shares: list[int]
):
    assert balanced_shares(n, scores, copies, temperature) == shares


def test_a_path_that_ends_takes_its_part_of_the_budget_and_copies_count(tmp_path: Path):
    script = {
        "": ["a\n", "b\n", "Answer: 9", "a\n"],
        "a\n": ["c\n", "Answer: 3"],
        "b\n": ["Answer: 2"],
        "a\nc\n": ["Answer: 2"],
    }
    policy = ScriptedPolicy(lambda so_far, index: script[so_far][index])
    scores = {"a": 0.5, "b": 0.5, "c": 0.4, "Answer: 9": 0.9, "Answer: 3": 0.3, "Answer: 2": 0.8}
    candidates = search(policy, ScriptedScorer(lambda steps: scores[steps[-1]]), RebaseConfig(n=4), tmp_path)
    # 3 for two a and a b, then 1 for c
    assert policy.asked == [*(("", i) for i in range(4)), ("a\n", 0), ("a\n", 1), ("b\n", 0), ("a\nc\n", 0)]
    assert [candidate.text for candidate in candidates] == [
        "Answer: 9",
        "a\nAnswer: 3",
        "b\nAnswer: 2",
        "a\nc\nAnswer: 2",
    ]
    # Each copy has gone on once, so each stands for one of the four first draws
    assert [math.exp(each.log_weight) for each in candidates] == pytest.approx(
        [0.25 * score for score in (0.9, 0.3, 0.8, 0.8)]
    )


def test_a_path_with_many_next_steps_divides_its_weight(tmp_path: Path):
    """1 and e^-4 = 0.018 three times of 4: all to a."""
    policy = ScriptedPolicy(lambda so_far, index: f"Answer: {index}" if so_far else "abcd"[index] + "\n")
    scorer = ScriptedScorer(lambda steps: 0.9 if steps[-1] == "a" else 0.1 if len(steps) == 1 else 0.5)
    candidates = search(policy, scorer, RebaseConfig(n=4), tmp_path)
    assert policy.asked[4:] == [("a\n", index) for index in range(4)]
    assert [math.exp(each.log_weight) for each in candidates] == pytest.approx([1 / 4 / 4 * 0.5] * 4)


def test_a_high_temperature_makes_it_plain_sampling_at_the_cost_of_n_paths(tmp_path: Path):
    """Path i has 2 + i steps."""

    def write(so_far: str, index: int) -> str:
        if not so_far:
            return f"{index}\n"
        return "Answer: 2" if so_far.count("\n") > int(so_far[0]) else "on\n"

    policy = ScriptedPolicy(write)
    scorer = ScriptedScorer(lambda steps: int(steps[0]) / 10)
    candidates = search(policy, scorer, RebaseConfig(n=5, balance_temperature=1e9), tmp_path)
    assert [candidate.text for candidate in candidates] == [
        f"{i}\n" + "on\n" * i + "Answer: 2" for i in range(5)
    ]
    assert len(policy.asked) == 2 + 3 + 4 + 5 + 6
