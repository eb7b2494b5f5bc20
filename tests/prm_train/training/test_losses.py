import math

import pytest
import torch

from prm_train.training.losses import (
    binary_cross_entropy,
    cross_entropy,
    focal,
    mean_squared_error,
    place_loss,
    pqm_ranking,
    step_logits,
)
from prm_train.training.settings import LossSettings


def test_step_logit_is_the_log_odds_of_the_good_class():
    logits = torch.tensor([[[1.0, 3.0], [0.5, -0.5]]])
    assert step_logits(logits).tolist() == [[2.0, -1.0]]
    assert torch.sigmoid(step_logits(logits)[0, 0]).item() == pytest.approx(
        logits[0, 0].softmax(-1)[1].item()
    )


def entropy(logits, targets, weights=None, n=1):
    logits, targets = torch.tensor(logits, dtype=torch.float64), torch.tensor(targets, dtype=torch.float64)
    return binary_cross_entropy(
        logits, targets, torch.ones_like(targets) if weights is None else torch.tensor(weights), n
    ).item()


def test_loss_of_a_soft_target_is_the_cross_entropy_of_two_coins():
    # score 0.8, target 0.25: -(0.25 ln 0.8 + 0.75 ln 0.2) = 0.0558 + 1.2071
    assert entropy([math.log(4)], [0.25]) == pytest.approx(1.262864, abs=1e-6)


def test_loss_is_a_sum_divided_by_the_count_that_comes_in():
    assert entropy([0.0, 0.0, 0.0], [1.0, 0.0, 1.0], n=12) == pytest.approx(3 * math.log(2) / 12)


def test_weighted_by_rollouts_it_is_the_binomial_likelihood_of_the_counts():
    # 2 of 8 at score 0.2 and 3 of 3 at score 0.5: -(2 ln 0.2 + 6 ln 0.8 + 3 ln 0.5)
    found = entropy([math.log(0.25), 0.0], [0.25, 1.0], weights=[8.0, 3.0])
    assert found == pytest.approx(-(2 * math.log(0.2) + 6 * math.log(0.8) + 3 * math.log(0.5)))


def test_gradient_is_weight_times_score_minus_target():
    logits = torch.zeros(2, requires_grad=True)
    binary_cross_entropy(logits, torch.tensor([1.0, 0.25]), torch.tensor([1.0, 2.0]), 2).backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == pytest.approx([-0.25, 0.25])


def test_cross_entropy_of_hard_targets_is_the_softmax_loss_of_both_classes_and_refuses_soft_ones():
    both = torch.tensor([[1.0, 3.0], [0.5, -0.5]])
    expected = torch.nn.functional.cross_entropy(both, torch.tensor([0, 1]), reduction="sum").item()
    ones = torch.ones(2)
    assert cross_entropy(step_logits(both), torch.tensor([0.0, 1.0]), ones, 1).item() == pytest.approx(
        expected
    )
    with pytest.raises(ValueError, match="got a target between 0 and 1, expected hard labels"):
        cross_entropy(torch.zeros(2), torch.tensor([0.0, 0.9]), ones, 1)


def test_mean_squared_error_is_the_brier_score():
    assert mean_squared_error(
        torch.tensor([0.0, 0.0]), torch.tensor([1.0, 0.25]), torch.tensor([1.0, 2.0]), 2
    ).item() == pytest.approx((0.25 + 2 * 0.0625) / 2)


def test_focal_weighs_by_distance_and_is_the_entropy_at_gamma_zero():
    # score 0.8: entropy of target 1 is ln 1.25, distance 0.2
    logits, targets, ones = torch.tensor([math.log(4)]), torch.tensor([1.0]), torch.ones(1)
    assert focal(logits, targets, ones, 1, gamma=2.0).item() == pytest.approx(0.04 * math.log(1.25), rel=1e-5)
    assert focal(logits, targets, ones, 1, gamma=0.0).item() == pytest.approx(math.log(1.25), rel=1e-5)


def test_pqm_ranks_right_steps_in_order_and_wrong_ones_a_margin_below():
    # Q = (ln 2, ln 3) right, (ln 1 = 0) wrong with margin ln 4, the question e^0 = 1:
    # -ln 1/(1+4) - ln 2/(1+2+4) - ln 3/(1+2+3+4)
    logits = torch.tensor([math.log(2), math.log(3), 0.0], dtype=torch.float64)
    targets, ones = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    expected = math.log(5) + math.log(7 / 2) + math.log(10 / 3)
    assert pqm_ranking(logits, targets, ones, 1, [3], margin=math.log(4)).item() == pytest.approx(expected)
    # a second solution, wrong at once: -ln 1 / (1 + 4 e^2)
    two = pqm_ranking(
        torch.cat([logits, torch.tensor([2.0])]),
        torch.tensor([1.0, 1, 0, 0]),
        torch.ones(4),
        1,
        [3, 1],
        margin=math.log(4),
    )
    assert two.item() == pytest.approx(expected + math.log(1 + 4 * math.exp(2)), rel=1e-6)


def test_pqm_stays_finite_where_a_sum_of_exponentials_would_not():
    logits = torch.tensor([500.0, -500.0, 400.0], requires_grad=True)
    loss = pqm_ranking(logits, torch.tensor([1.0, 1.0, 0.0]), torch.ones(3), 1, [3], margin=4.0)
    loss.backward()
    assert loss.item() == pytest.approx(404 + 0 + 1000, rel=1e-6)
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_every_name_is_a_loss_of_one_signature():
    for name in ("binary_cross_entropy", "cross_entropy", "mse", "focal", "pqm"):
        loss = place_loss(LossSettings(loss=name))
        assert loss(torch.zeros(2), torch.tensor([1.0, 0.0]), torch.ones(2), 2, [2]).shape == ()
