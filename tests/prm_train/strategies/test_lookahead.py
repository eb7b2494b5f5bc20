"""Beam search with lookahead against a policy and a scorer whose every answer is written down here."""

from functools import partial
from pathlib import Path

import pytest

from prm_train.strategies.beam import BeamConfig, beam_search
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.lookahead import LookaheadConfig, lookahead_search
from tests.scripted_search import GreedyPolicy, ScriptedPolicy, ScriptedScorer, search_scripted


def search(
    policy: ScriptedPolicy, scorer: ScriptedScorer, config: LookaheadConfig, folder: Path
) -> list[Candidate]:
    return search_scripted(partial(lookahead_search, config=config), policy, scorer, folder)


def two_steps(so_far: str, index: int) -> str:
    """First steps a, b, …; -1 is the greedy step."""
    if not so_far:
        return "abcd"[index] + "\n"
    return f"{so_far[0].upper()}\n" if index == -1 else f"Answer: {index}"


def test_a_path_is_ranked_by_where_it_leads_and_goes_on_from_before_the_rollout(tmp_path: Path):
    """a has the higher score, but leads to A."""
    scores = {"a": 0.9, "b": 0.5, "A": 0.1, "B": 0.8, "Answer: 0": 0.6, "Answer: 1": 0.6}
    policy = GreedyPolicy(two_steps)
    candidates = search(
        policy,
        ScriptedScorer(lambda steps: scores[steps[-1]]),
        LookaheadConfig(n=2, width=2, aggregation="last", lookahead=1),
        tmp_path,
    )
    assert policy.greedy == ["a\n", "b\n"]
    assert policy.sampled == [("", 0), ("", 1), ("b\n", 0), ("b\n", 1)]
    # The rollout is no candidate and its score is not the path's
    assert [(each.text, each.scores["prm"]) for each in candidates] == [
        ("b\nAnswer: 0", (0.5, 0.6)),
        ("b\nAnswer: 1", (0.5, 0.6)),
    ]


def test_a_rollout_that_ends_early_counts_with_its_last_score(tmp_path: Path):
    policy = GreedyPolicy(
        lambda so_far, index: two_steps(so_far, 7) if index == -1 else two_steps(so_far, index)
    )
    scores = {"a": 0.9, "b": 0.5}
    scorer = ScriptedScorer(lambda steps: (steps[0] == "b") * 1.0 if len(steps) == 2 else scores[steps[0]])
    search(policy, scorer, LookaheadConfig(n=2, width=2, aggregation="last", lookahead=5), tmp_path)
    assert policy.greedy == ["a\n", "b\n"]
    assert policy.sampled[2:] == [("b\n", 0), ("b\n", 1)]


@pytest.mark.parametrize("k", [0, 1, 3])
def test_a_round_draws_n_times_k_plus_1_steps_but_none_that_cannot_matter(tmp_path: Path, k: int):
    """Two rounds: nothing is chosen after the last one."""
    policy = GreedyPolicy(lambda so_far, index: f"{index}\n")
    search(
        policy,
        ScriptedScorer(lambda steps: 0.5),
        LookaheadConfig(n=4, width=2, max_steps=2, lookahead=k),
        tmp_path,
    )
    assert (len(policy.sampled), len(policy.greedy)) == (4 + 4, 4 * k)


def test_nothing_is_looked_ahead_for_the_only_path(tmp_path: Path):
    policy = GreedyPolicy(lambda so_far, index: "Answer: 2" if so_far.count("\n") == 3 else "same\n")
    search(policy, ScriptedScorer(lambda steps: 0.5), LookaheadConfig(n=4, width=2, lookahead=2), tmp_path)
    assert policy.greedy == []


def ragged(so_far: str, index: int) -> str:
    is_last = so_far.count("\n") == 3 or (len(so_far) + 3 * index) % 5 == 4
    return f"Answer: {index}" if is_last else f"{index}\n"


@pytest.mark.parametrize(("n", "width"), [(1, 1), (3, 2), (8, 4), (8, 8)])
@pytest.mark.parametrize("how", ["best", "sampled"])
def test_no_step_ahead_is_beam_search(tmp_path: Path, n: int, width: int, how: str):
    scorer = ScriptedScorer(lambda steps: sum(map(ord, "".join(steps))) % 7 / 7)
    policies = [GreedyPolicy(ragged) for _ in range(2)]
    (tmp_path / "beam").mkdir()
    ahead = LookaheadConfig(n, width, survivors=how, lookahead=0)  # type: ignore[arg-type]
    beam = partial(beam_search, config=BeamConfig(n, width, survivors=how))  # type: ignore[arg-type]
    assert search(policies[0], scorer, ahead, tmp_path) == search_scripted(
        beam, policies[1], scorer, tmp_path / "beam"
    )
    assert policies[0].sampled == policies[1].sampled
    assert policies[0].greedy == []
