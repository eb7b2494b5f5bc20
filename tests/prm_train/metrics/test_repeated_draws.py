from math import comb

import numpy as np
import pytest

from prm_train.metrics.repeated_draws import (
    best_of_repeated,
    log_share_without,
    random_subsets,
    vote_of_repeated,
)
from prm_train.metrics.subsets import best_at_k, vote_at_k


def test_best_of_repeated_by_hand() -> None:
    """Two draws of a wrong text at 0.9 and one of a right one at 0.8: of the 3 pairs none is without a wrong
    one; of the single draws one in three is right.
    """
    assert best_of_repeated([2, 1], [0.9, 0.8], [False, True], 1) == pytest.approx(1 / 3)
    assert best_of_repeated([2, 1], [0.9, 0.8], [False, True], 2) == pytest.approx(0.0, abs=1e-12)
    assert best_of_repeated([2, 1], [0.8, 0.8], [False, True], 2) == pytest.approx(1 / 3)  # ties are shared
    assert best_of_repeated([2, 1], [None, 0.8], [False, True], 2) == pytest.approx(2 / 3)
    assert best_of_repeated([2, 1], [None, None], [False, True], 2) == 0.0
    with pytest.raises(ValueError, match="nan"):
        best_of_repeated([1], [float("nan")], [True], 1)
    with pytest.raises(ValueError, match="k: got 4 of 3 draws"):
        best_of_repeated([2, 1], [0.9, 0.8], [False, True], 4)


def test_shares_of_ten_thousand_draws_are_those_of_whole_numbers() -> None:
    found = log_share_without(10_000, [0, 1, 137, 9_999], 5_000)
    exact = [comb(10_000 - marked, 5_000) / comb(10_000, 5_000) for marked in (0, 1, 137)]
    assert np.exp(found[:3]) == pytest.approx(exact, rel=1e-8)
    assert found[3] == -np.inf


@pytest.mark.parametrize("seed", range(4))
def test_the_best_of_repeated_draws_is_the_best_of_the_draws_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = [int(each) for each in rng.integers(1, 5, size=6)]
    scores = [None if each == 0 else float(each) for each in rng.integers(4, size=6)]
    right = [bool(each) for each in rng.integers(2, size=6)]
    one_by_one = [i for i, count in enumerate(counts) for _ in range(count)]
    for k in (1, 2, 5, sum(counts)):
        wanted = best_at_k([scores[i] for i in one_by_one], [right[i] for i in one_by_one], k)
        assert best_of_repeated(counts, scores, right, k) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_votes_among_repeated_draws_have_the_mean_that_is_exact_for_few(seed: int) -> None:
    """Ties and answers that are right in part included; five standard errors of 4,000 subsets."""
    rng = np.random.default_rng(seed)
    counts = [int(each) for each in rng.integers(1, 4, size=6)]
    answers = [None if each == 0 else str(each) for each in rng.integers(4, size=6)]
    weights = [float(each) for each in rng.integers(3, size=6)]
    right = [bool(each) for each in rng.integers(2, size=6)]
    one_by_one = [i for i, count in enumerate(counts) for _ in range(count)]
    for k in (2, 5, sum(counts)):
        subsets = random_subsets(counts, k, 4_000, rng)
        assert (subsets.sum(axis=1) == k).all()
        found = vote_of_repeated(subsets, answers, weights, right)
        wanted = vote_at_k(
            [answers[i] for i in one_by_one],
            [weights[i] for i in one_by_one],
            [right[i] for i in one_by_one],
            k,
        )
        assert found.mean() == pytest.approx(wanted, abs=5 * 0.5 / np.sqrt(len(subsets)))
        if k == sum(counts):
            assert len(found) == 1
            assert found[0] == pytest.approx(wanted)


def test_votes_of_repeated_draws_by_hand() -> None:
    """Of 3 draws of answer 1 (right) and 2 of answer 2: 2 with weight 2 outvote 3, with weight 1.5 tie."""
    subsets = np.array([[3, 2, 1], [0, 2, 1], [0, 0, 1]])
    right = [True, False, True]
    assert vote_of_repeated(subsets, ["1", "2", None], [1.0, 2.0, 9.0], right).tolist() == [0.0, 0.0, 0.0]
    assert vote_of_repeated(subsets, ["1", "2", None], [1.0, 1.5, 9.0], right).tolist() == [0.6, 0.0, 0.0]
    assert vote_of_repeated(subsets, [None] * 3, [1.0] * 3, right).tolist() == [0.0] * 3
    with pytest.raises(ValueError, match="expected each to be 0 or more"):
        vote_of_repeated(subsets, ["1", "2", "3"], [1.0, -1.0, 1.0], right)
