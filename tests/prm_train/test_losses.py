import math

import pytest
import torch

from prm_train.losses import UNLABELLED, binary_cross_entropy, step_logits


def test_step_logit_is_the_log_odds_of_the_good_class():
    logits = torch.tensor([[[1.0, 3.0], [0.5, -0.5]]])
    assert step_logits(logits).tolist() == [[2.0, -1.0]]
    assert torch.sigmoid(step_logits(logits)[0, 0]).item() == pytest.approx(logits[0, 0].softmax(-1)[1].item())


def test_loss_ignores_places_without_a_label():
    logits = torch.tensor([[0.0, 50.0, -50.0]])
    targets = torch.tensor([[1.0, UNLABELLED, UNLABELLED]])
    assert binary_cross_entropy(logits, targets, 1).item() == pytest.approx(math.log(2))


def test_loss_of_a_soft_target_is_the_cross_entropy_of_two_coins():
    # score 0.8, target 0.25: -(0.25 ln 0.8 + 0.75 ln 0.2) = 0.0558 + 1.2071
    logits = torch.tensor([math.log(4)], dtype=torch.float64)
    targets = torch.tensor([0.25], dtype=torch.float64)
    assert binary_cross_entropy(logits, targets, 1).item() == pytest.approx(1.262864, abs=1e-6)


def test_loss_is_a_sum_divided_by_the_count_that_comes_in():
    logits, targets = torch.zeros(2, 3), torch.tensor([[1.0, 0.0, UNLABELLED], [1.0, UNLABELLED, UNLABELLED]])
    assert binary_cross_entropy(logits, targets, 12).item() == pytest.approx(3 * math.log(2) / 12)


def test_gradient_is_score_minus_target_at_labelled_places_and_zero_elsewhere():
    logits = torch.zeros(3, requires_grad=True)
    binary_cross_entropy(logits, torch.tensor([1.0, 0.25, UNLABELLED]), 2).backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == pytest.approx([-0.25, 0.125, 0.0])


def test_loss_of_bfloat16_logits_is_computed_in_float32():
    assert binary_cross_entropy(torch.zeros(1, dtype=torch.bfloat16), torch.ones(1), 1).dtype == torch.float32
