"""When a vote stops drawing: hand-worked posteriors and ratios, and the order of the samples."""

import math
from typing import Any

import pytest

from prm_train.strategies.candidates import Candidate
from prm_train.strategies.stopping import StopRule, is_settled, mass_above_half, n_needed


def candidates(answers: str) -> list[Candidate]:
    """One a letter; `.` is a text that was cut."""
    return [
        Candidate("p", i, letter, letter, False, is_finished=letter != ".")
        for i, letter in enumerate(answers)
    ]


def needed(answers: str, rule: StopRule, **settings: Any) -> int | None:
    return n_needed(candidates(answers), [1.0] * len(answers), rule, **settings)


def test_the_posterior_mass_is_that_of_binomials() -> None:
    """For whole a and b, P(Beta(a, b) > 1/2) = P(at most a - 1 heads of a + b - 1 throws)."""
    for a, b in ((1, 1), (5, 1), (4, 3), (40, 25), (64, 1)):
        heads = sum(math.comb(a + b - 1, k) for k in range(a)) / 2 ** (a + b - 1)
        assert mass_above_half(a, b) == pytest.approx(heads, abs=1e-9)
    assert mass_above_half(2.5, 2.5) == pytest.approx(0.5, abs=1e-9)


def test_four_equal_answers_are_enough_for_95_percent() -> None:
    assert needed("aaaaaaaa", "beta") == 4  # 1 - 2^-5 = 0.969; after three 0.9375
    assert needed("aabaaaaaab", "beta") == 7  # 6 to 1: 0.965; 5 to 1 at 6: 0.9375
    assert needed("aaaaaaaa", "beta", confidence=0.99) == 6  # 1 - 2^-7
    assert needed("abababab", "beta") is None
    assert needed("..aaaa", "beta") == 6  # what was cut does not vote, but was drawn


def test_certain_is_when_the_rest_cannot_overtake() -> None:
    assert needed("aaabcd", "certain") == 5  # 3 to 1 and 1 left; at 4 the 2 that are left could draw level
    assert not is_settled([3.0, 1.0], 2, "certain", 0.95)
    assert is_settled([3.0, 0.0], 2, "certain", 0.95)
    assert needed("aaa", "certain", n=7) is None
    assert needed("aaaa", "certain", n=7) == 4


def test_the_probability_ratio_counts_each_vote() -> None:
    """log 1.5 a vote for the leader, log 0.5 a vote for the other, log 19 = 2.94 to stop: 7.26 votes."""
    assert needed("aaaaaaaaaa", "sprt") == 8
    assert needed("baaaaaaaaaaa", "sprt") == 10  # (2.94 + 0.69) / 0.405 = 8.97: 9 to 1


def test_weights_count_as_parts_of_votes() -> None:
    votes = candidates("aaaaaaaa")
    assert n_needed(votes, [0.5] * 8, "beta") == 7  # 1 - 2^-(0.5 n + 1) >= 0.95 from n = 6.64 on
    assert n_needed(votes, [None, *[1.0] * 7], "beta") == 5


def test_a_margin_asks_for_one_sure_answer_and_none_near_it() -> None:
    """By the best sample of each answer, of the one that leads the vote."""

    def margin(answers: str, *scores: float | None, **settings: Any) -> int | None:
        return n_needed(candidates(answers), scores, "margin", **settings)

    assert margin("aba", 0.25, 0.5, 1.0) == 3
    assert margin("aba", 0.25, 0.75, 1.0) is None
    assert margin("aba", 0.25, 0.75, 1.0, margin=0.25) == 3
    assert margin("aab", 0.75, 0.875, 0.0) is None
    assert margin("aab", 0.75, 0.875, 0.0, confidence=0.875) == 2
    assert margin("bbba", 0.5, 0.5, 0.5, 1.0) is None  # the vote is for b, the best sample says a
    assert margin("bbbaa", 0.5, 0.5, 0.5, 1.0, 1.0) == 5
    assert margin(".bab", 1.0, None, 0.5, 1.0) == 4  # what was cut or has no score says nothing
