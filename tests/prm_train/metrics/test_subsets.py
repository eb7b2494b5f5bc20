from itertools import permutations
from math import comb
from statistics import mean

import numpy as np
import pytest

from prm_train.metrics.subsets import best_at_k, vote_at_k
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.voting import best_of, is_right, weighted_vote


def test_best_at_k_by_hand():
    """Of the pairs of 0.9 (wrong), 0.8 (right), 0.1 (right) two hold 0.9, and one has 0.8 as its best."""
    assert best_at_k([0.9, 0.8, 0.1], [False, True, True], 2) == pytest.approx(1 / 3)
    # two with equal scores share the pairs that they lead: (1 + 2 · 1/2) of 3
    assert best_at_k([0.8, 0.8, 0.1], [True, False, True], 2) == 0.5
    # kept out: of 3 pairs one holds the right one beside it, one the wrong one, one both
    assert best_at_k([None, 0.5, 0.4], [True, True, False], 2) == pytest.approx(2 / 3)
    assert best_at_k([None, None], [True, True], 1) == 0.0
    with pytest.raises(ValueError, match="nan"):
        best_at_k([float("nan")], [True], 1)


def test_majority_at_k_by_hand():
    """Of the pairs of 1, 2, 2 one is won by 2, and two are ties of 1 and 2, which are shared."""
    answers, alike = ["1", "2", "2"], [1.0] * 3
    assert vote_at_k(answers, alike, [True, False, False], 2) == pytest.approx(1 / 3)
    assert vote_at_k(answers, alike, [False, True, True], 2) == pytest.approx(2 / 3)
    assert vote_at_k(answers, alike, [True, False, False], 3) == 0.0
    # a draw without an answer is outvoted by anybody
    assert vote_at_k(["1", None, None], alike, [True, False, False], 2) == pytest.approx(2 / 3)


def test_weighted_at_k_by_hand():
    """Answer 1 weighs 0.5 and 2 weighs 0.2, 0.2 and 0.4: it loses the pair with none of them, and the triple
    with 0.2 and 0.4 (0.6), of which there are two, but wins that with 0.2 and 0.2; three without it lose.
    """
    answers, weights, right = ["1", "2", "2", "2"], [0.5, 0.2, 0.2, 0.4], [True, False, False, False]
    assert vote_at_k(answers, weights, right, 2) == pytest.approx(3 / 6)
    assert vote_at_k(answers, weights, right, 3) == pytest.approx(1 / 4)
    assert vote_at_k(answers, weights, right, 4) == 0.0


@pytest.mark.parametrize("seed", range(6))
def test_exact_expectations_are_the_means_over_all_ordered_subsets(seed: int) -> None:
    """What the votes of the package choose is compared, with ties and answers that are right in part."""
    rng = np.random.default_rng(seed)
    n, k = 6, 1 + seed % 4
    answers = [None if each == 0 else str(each) for each in rng.integers(4, size=n)]
    right = [bool(each) for each in rng.integers(2, size=n)]
    weights = [float(each) for each in rng.choice([0.0, 0.1, 0.2, 0.3], size=n)]  # 0.1 + 0.2 against 0.3
    draws = [Candidate("p", i, "", answers[i], right[i]) for i in range(n)]
    orders = [list(order) for order in permutations(range(n), k)]

    def expected(choose):
        return mean(
            is_right(choose([draws[i] for i in order], [weights[i] for i in order])) for order in orders
        )

    assert vote_at_k(answers, weights, right, k) == pytest.approx(expected(weighted_vote))
    assert vote_at_k(answers, [1.0] * n, right, k) == pytest.approx(
        expected(lambda block, _: weighted_vote(block, [1.0] * k))
    )
    scores = [None if answer is None else weight for answer, weight in zip(answers, weights, strict=True)]
    assert best_at_k(scores, right, k) == pytest.approx(expected(best_of))


def test_a_majority_of_many_draws_is_exact_and_votes_of_too_many_sums_are_refused() -> None:
    """A right answer with 40 of 64 draws has more of any 64 and of nearly any 32."""
    answers, right = ["1"] * 40 + ["2"] * 24, [True] * 40 + [False] * 24
    assert vote_at_k(answers, [1.0] * 64, right, 64) == 1.0
    # hypergeometric: P(X > 16) + P(X = 16) / 2 of 32 draws
    ways = [comb(40, x) * comb(24, 32 - x) for x in range(8, 33)]
    half = (sum(ways[9:]) + ways[8] / 2) / comb(64, 32)
    assert vote_at_k(answers, [1.0] * 64, right, 32) == pytest.approx(half)
    weights = [float(each) for each in np.random.default_rng(0).random(64)]
    assert vote_at_k(answers, weights, right, 2) is not None
    assert vote_at_k(answers, weights, right, 16) is None
    with pytest.raises(ValueError, match="0 or more"):
        vote_at_k(["1"], [-1.0], [True], 1)
