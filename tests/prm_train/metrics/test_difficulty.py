import numpy as np
import pytest

from prm_train.metrics.difficulty import (
    difficulty_bin,
    fit_pass_rates,
    quantile_edges,
    rank_correlation,
)


def test_bins_are_numbered_from_the_easiest_on() -> None:
    assert [difficulty_bin(rate, (0.2, 0.4, 0.6, 0.8)) for rate in (1.0, 0.8, 0.79, 0.5, 0.2, 0.0)] == [
        0,
        0,
        1,
        2,
        3,
        4,
    ]
    assert quantile_edges([0.0, 0.25, 0.5, 0.75, 1.0], 4) == (0.25, 0.5, 0.75)


def test_a_linear_relation_is_found_and_estimates_stay_pass_rates() -> None:
    """Rates of 0.1 + 0.2 x, without noise: the smallest penalty fits best."""
    x = np.arange(5.0)[:, None]
    fit = fit_pass_rates(x, 0.1 + 0.2 * x[:, 0])
    assert fit.penalty == 1e-4
    assert (fit.weights[0], fit.bias) == pytest.approx((0.2, 0.1), abs=1e-3)
    assert fit.predict([[2.0], [9.0], [-9.0]]).tolist() == pytest.approx([0.5, 1.0, 0.0], abs=1e-3)


def test_features_that_say_nothing_are_shrunk_to_the_mean() -> None:
    rng = np.random.default_rng(0)
    noise, rates = rng.normal(size=(30, 25)), rng.random(30)
    fit = fit_pass_rates(noise, rates)
    assert fit.penalty >= 1
    assert fit.predict(noise).std() < rates.std() / 2
    constant = fit_pass_rates(np.ones((4, 2)), [0.0, 0.5, 0.5, 1.0])
    assert constant.predict([[1.0, 1.0]]).tolist() == [0.5]
    with pytest.raises(ValueError, match="at least three problems"):
        fit_pass_rates([[1.0], [2.0]], [0.1, 0.2])


def test_the_penalty_is_the_one_with_the_smallest_error_of_problems_left_out() -> None:
    """By hand: each problem is predicted by a fit of the others with the same scaling and mean pull."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(12, 4))
    rates = np.clip(0.5 + 0.2 * rows[:, 0] + 0.1 * rng.normal(size=12), 0, 1)
    scaled = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    design = np.hstack([np.ones((12, 1)), scaled])

    def left_out(penalty: float) -> float:
        errors = []
        for i in range(12):
            keep = np.arange(12) != i
            matrix = design[keep].T @ design[keep] + 12 * penalty * np.diag([0, 1, 1, 1, 1])
            weights = np.linalg.solve(matrix, design[keep].T @ rates[keep])
            errors.append((design[i] @ weights - rates[i]) ** 2)
        return float(np.mean(errors))

    fit = fit_pass_rates(rows, rates)
    assert fit.penalty == min((10.0**power for power in range(-4, 5)), key=left_out)


def test_rank_correlation_by_hand() -> None:
    assert rank_correlation([1, 2, 3], [10, 20, 15]) == pytest.approx(0.5)
    # ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 · 5)
    assert rank_correlation([0, 5, 5, 9], [1, 2, 3, 4]) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    assert rank_correlation([1, 1], [1, 2]) is None
