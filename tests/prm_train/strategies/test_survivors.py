"""Which paths stay: the best, or a sample of which every number is worked out by hand."""

import math
import random
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from prm_train.strategies.beam import BeamConfig, beam_search
from prm_train.strategies.dvts import DvtsConfig, dvts
from prm_train.strategies.paths import SearchPath
from prm_train.strategies.survivors import gumbel_ranks, survivors
from tests.scripted_search import ScriptedPolicy, ScriptedScorer, search_scripted

ABC = [SearchPath(text=text) for text in "abc"]


def test_the_best_stay_and_ties_go_to_the_earliest():
    assert survivors(ABC, [0.2, 0.9, 0.2], 2, noise=None) == ([ABC[1], ABC[0]], [1, 1])
    assert survivors(ABC, [0.2, 0.9, 0.2], 5, noise=None) == ([ABC[1], ABC[0], ABC[2]], [1, 1, 1])
    assert survivors(ABC, [0.2, 0.9, 0.2], 0, noise=None) == survivors([], [], 2, noise=None) == ([], [])


def test_gumbel_noise_by_hand():
    """-log(-log u) is 0.366513, 2.250367 and -0.834032; the scores' logarithms are -0.223144, -2.302585 and
    -0.693147.
    """
    assert gumbel_ranks([0.8, 0.1, 0.5], [0.5, 0.9, 0.1]) == pytest.approx(
        [0.143369, -0.052218, -1.527179], abs=1e-6
    )


def test_a_sample_is_drawn_without_replacement_in_proportion_to_the_scores():
    """Of 0.6, 0.3 and 0.1, two: a and b are 0.6 x 0.3 / 0.4 + 0.3 x 0.6 / 0.7 of the pairs, and so on."""
    noise, n = random.Random(1), 4000
    drawn = Counter(
        "".join(path.text for path in survivors(ABC, [0.6, 0.3, 0.1], 2, noise)[0]) for _ in range(n)
    )
    assert {pair: count / n for pair, count in drawn.items()} == {
        "ab": pytest.approx(0.45 + 0.2571, abs=0.025),
        "ac": pytest.approx(0.15 + 0.0667, abs=0.025),
        "bc": pytest.approx(0.0429 + 0.0333, abs=0.015),
    }


def test_each_copy_of_a_path_has_its_chance():
    """Of a three times and b once, with equal scores, two: both a 3 / 4 x 2 / 3 of the time."""
    paths, noise, n = [replace(ABC[0], multiplicity=3), ABC[1]], random.Random(1), 4000
    numbers = Counter(tuple(survivors(paths, [0.5, 0.5], 2, noise)[1]) for _ in range(n))
    assert set(numbers) == {(2,), (1, 1)}
    assert numbers[(2,)] / n == pytest.approx(0.5, abs=0.03)
    assert survivors(paths, [0.5, 0.5], 9, noise) == (paths, [3, 1])


def test_a_path_of_score_0_stays_only_where_nothing_else_is_left():
    for seed in range(20):
        kept, _ = survivors(ABC, [0.0, 1e-9, 0.5], 2, random.Random(seed))
        assert [path.text for path in kept] == ["b", "c"]


def first_steps_gone_on_from(policy: ScriptedPolicy) -> list[str]:
    return sorted({so_far for so_far, _ in policy.asked if so_far.count("\n") == 1})


def test_a_beam_of_sampled_survivors_keeps_others_than_the_best_and_the_same_in_every_run(tmp_path: Path):
    """Ten paths with scores 0.5 to 0.59: the best two are h and j in one draw of 30 or so."""
    kept = list[list[str]]()
    for folder, how in (("best", "best"), ("sampled", "sampled"), ("again", "sampled")):
        policy = ScriptedPolicy(
            lambda so_far, index: "abcdefghij"[index] + "\n" if not so_far else f"Answer: {index}"
        )
        scorer = ScriptedScorer(lambda steps: 0.5 + (ord(steps[0][0]) - ord("a")) / 100)
        (tmp_path / folder).mkdir()
        config = BeamConfig(n=10, width=5, survivors=how)  # type: ignore[arg-type]
        search_scripted(partial(beam_search, config=config), policy, scorer, tmp_path / folder)
        kept.append(first_steps_gone_on_from(policy))
    assert kept[0] == ["i\n", "j\n"]
    assert kept[1] == kept[2] != kept[0]
    assert len(kept[1]) == 2


def test_a_survivor_gets_the_next_steps_of_each_of_its_copies(tmp_path: Path):
    """All of three copies of a and one of b stay in a beam that keeps as many as it draws."""
    policy = ScriptedPolicy(lambda so_far, index: f"Answer: {index}" if so_far else "aaba"[index] + "\n")
    scorer = ScriptedScorer(lambda steps: 0.5)
    config = BeamConfig(n=4, width=1, survivors="sampled")
    candidates = search_scripted(partial(beam_search, config=config), policy, scorer, tmp_path)
    assert policy.asked[4:] == [("a\n", 0), ("a\n", 1), ("a\n", 2), ("b\n", 0)]
    assert [math.exp(each.log_weight) for each in candidates] == pytest.approx([0.25 * 0.5] * 4)


def test_each_tree_of_dvts_samples_its_own_survivor(tmp_path: Path):
    """The trees are ab, cd, ef, gh and ij; the second of each is a little better."""
    policy = ScriptedPolicy(
        lambda so_far, index: "abcdefghij"[index] + "\n" if not so_far else f"Answer: {index}"
    )
    scorer = ScriptedScorer(lambda steps: 0.50 if steps[0] in "acegi" else 0.51)
    config = DvtsConfig(n=10, width=2, survivors="sampled")
    search_scripted(partial(dvts, config=config), policy, scorer, tmp_path)
    kept = first_steps_gone_on_from(policy)
    assert [(ord(step[0]) - ord("a")) // 2 for step in kept] == [0, 1, 2, 3, 4]
    assert 0 < sum(step[0] in "acegi" for step in kept) < 5
