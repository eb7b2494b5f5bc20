"""Diverse verifier tree search against a policy and a scorer whose every answer is written down here."""

from functools import partial
from pathlib import Path

import pytest

from prm_train.strategies.beam import BeamConfig, beam_search
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.dvts import DvtsConfig, dvts
from tests.scripted_search import ScriptedPolicy, ScriptedScorer, search_scripted


def search(
    policy: ScriptedPolicy, scorer: ScriptedScorer, config: DvtsConfig, folder: Path
) -> list[Candidate]:
    return search_scripted(partial(dvts, config=config), policy, scorer, folder)


def uneven(so_far: str, index: int) -> str:
    """Paths of one to four steps."""
    is_last = so_far.count("\n") == 3 or (len(so_far) + 3 * index) % 5 == 4
    return f"Answer: {index}" if is_last else f"{index}\n"


def by_length(steps: tuple[str, ...]) -> float:
    return sum(map(ord, "".join(steps))) % 7 / 7


@pytest.mark.parametrize(("n", "width"), [(4, 4), (1, 1), (3, 4)])
def test_one_tree_is_beam_search(tmp_path: Path, n: int, width: int):
    (tmp_path / "beam").mkdir()
    policies = [ScriptedPolicy(uneven) for _ in range(2)]
    trees = search(policies[0], ScriptedScorer(by_length), DvtsConfig(n, width), tmp_path)
    strategy = partial(beam_search, config=BeamConfig(n, width))
    assert trees == search_scripted(strategy, policies[1], ScriptedScorer(by_length), tmp_path / "beam")
    assert policies[0].asked == policies[1].asked
    assert len({candidate.text.count("\n") for candidate in trees}) == {1: 1, 3: 2, 4: 3}[n]


def test_each_tree_keeps_its_own_best_path(tmp_path: Path):
    policy = ScriptedPolicy(lambda so_far, index: f"Answer: {index}" if so_far else "abcd"[index] + "\n")
    scorer = ScriptedScorer(lambda steps: {"a": 0.8, "b": 0.9, "c": 0.1, "d": 0.2}.get(steps[-1], 0.5))
    candidates = search(policy, scorer, DvtsConfig(n=4, width=2), tmp_path)
    # Beam search would go on with a and b
    assert policy.asked[4:] == [("b\n", 0), ("b\n", 1), ("d\n", 0), ("d\n", 1)]
    assert [candidate.text for candidate in candidates] == [
        "b\nAnswer: 0",
        "b\nAnswer: 1",
        "d\nAnswer: 0",
        "d\nAnswer: 1",
    ]


def test_trees_that_took_the_same_steps_draw_different_next_ones(tmp_path: Path):
    policy = ScriptedPolicy(lambda so_far, index: f"Answer: {index}" if so_far else "same\n")
    candidates = search(policy, ScriptedScorer(lambda steps: 0.5), DvtsConfig(n=6, width=2), tmp_path)
    assert policy.asked == [("", index) for index in range(6)] + [("same\n", index) for index in range(6)]
    assert [candidate.text for candidate in candidates] == [f"same\nAnswer: {index}" for index in range(6)]


@pytest.mark.parametrize("early", ["Answer: 9", "x" * 101 + "\n"], ids=["finished", "beyond max_new_tokens"])
def test_a_path_that_ends_takes_no_place_and_a_tree_without_open_paths_is_done(tmp_path: Path, early: str):
    script = {
        "": [early, "a\n", early, early],
        "a\n": ["Answer: 2", "b\n"],
        "a\nb\n": ["Answer: 3", "Answer: 4"],
    }
    policy = ScriptedPolicy(lambda so_far, index: script[so_far][index])
    candidates = search(
        policy,
        ScriptedScorer(lambda steps: 0.9 if steps[-1] == early else 0.1),
        DvtsConfig(n=4, width=2),
        tmp_path,
    )
    assert policy.asked[4:] == [("a\n", 0), ("a\n", 1), ("a\nb\n", 0), ("a\nb\n", 1)]
    assert [candidate.can_vote for candidate in candidates] == [*[early == "Answer: 9"] * 3, True, True, True]
