"""Best-first search against a policy and a scorer whose every answer is written down here."""

import math
from functools import partial
from pathlib import Path

import pytest

from prm_train.strategies.best_first import BestFirstConfig, best_first
from prm_train.strategies.candidates import Candidate
from tests.scripted_search import ScriptedPolicy, ScriptedScorer, search_scripted


def search(
    policy: ScriptedPolicy, scorer: ScriptedScorer, config: BestFirstConfig, folder: Path
) -> list[Candidate]:
    return search_scripted(partial(best_first, config=config), policy, scorer, folder)


def test_the_search_goes_back_to_an_older_path_that_is_better_than_the_newest(tmp_path: Path):
    script = {"": ["a\n", "b\n"], "a\n": ["c\n", "d\n"], "b\n": ["Answer: 2", "e\n"], "b\ne\n": ["Answer: 3"]}
    policy = ScriptedPolicy(lambda so_far, index: script[so_far][index])
    scores = {"a": 0.9, "b": 0.8, "c": 0.1, "d": 0.2, "e": 0.5, "Answer: 2": 0.7, "Answer: 3": 0.6}
    candidates = search(
        policy,
        ScriptedScorer(lambda steps: scores[steps[-1]]),
        BestFirstConfig(n=2, width=2, aggregation="last"),
        tmp_path,
    )
    # After a it is b's turn, where beam search would go on with d; one place is left for e
    assert policy.asked[2:] == [("a\n", 0), ("a\n", 1), ("b\n", 0), ("b\n", 1), ("b\ne\n", 0)]
    assert [candidate.text for candidate in candidates] == ["b\nAnswer: 2", "b\ne\nAnswer: 3"]
    # b was one of two draws and got two
    assert [math.exp(each.log_weight) for each in candidates] == pytest.approx([1 / 4 * 0.7, 1 / 4 * 0.6])


def test_several_paths_are_gone_on_from_at_once(tmp_path: Path):
    policy = ScriptedPolicy(lambda so_far, index: "abcd"[index] + "\n" if not so_far else f"Answer: {index}")
    scorer = ScriptedScorer(lambda steps: {"a": 0.3, "b": 0.9, "c": 0.2, "d": 0.8}[steps[0]])
    search(policy, scorer, BestFirstConfig(n=4, width=2), tmp_path)
    assert policy.asked[4:] == [("b\n", 0), ("b\n", 1), ("d\n", 0), ("d\n", 1)]


@pytest.mark.parametrize("n_steps", [1, 3, 7])
def test_a_search_that_never_goes_back_costs_n_paths(tmp_path: Path, n_steps: int):
    policy = ScriptedPolicy(
        lambda so_far, index: f"Answer: {index}" if so_far.count("\n") == n_steps - 1 else f"{index}\n"
    )
    candidates = search(policy, ScriptedScorer(lambda steps: 0.5), BestFirstConfig(n=6, width=2), tmp_path)
    assert len(policy.asked) == 6 * n_steps
    assert [candidate.can_vote for candidate in candidates] == [True] * 6


def test_paths_that_never_end_cost_n_draws_a_round_and_are_unfinished(tmp_path: Path):
    policy = ScriptedPolicy(lambda so_far, index: f"{index}\n")
    candidates = search(
        policy, ScriptedScorer(lambda steps: 0.5), BestFirstConfig(n=4, width=2, max_steps=3), tmp_path
    )
    assert len(policy.asked) == 4 * 3
    assert [(each.text, each.is_finished) for each in candidates] == [
        ("0\n0\n0\n", False),
        ("0\n0\n1\n", False),
    ]
