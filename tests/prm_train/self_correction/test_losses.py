"""SCoRe's loss on logits whose probabilities are known."""

import math

import pytest
import torch

from prm_train.self_correction.losses import attempt_losses

P = torch.tensor([[0.75, 0.25], [0.75, 0.25], [0.5, 0.5]]).log()  # three tokens of a vocabulary of two
TOKENS = torch.tensor([[0, 1, 0]])
WRITTEN = torch.tensor([[False, True, True]])  # the first is prompt
ZERO, ONE = torch.zeros(1), torch.ones(1)


def test_the_loss_weighs_the_log_probability_of_the_written_tokens() -> None:
    losses, kl = attempt_losses(P[None], None, TOKENS, WRITTEN, 2 * ONE, ZERO)
    assert losses.item() == pytest.approx(-2 * (math.log(0.25) + math.log(0.5)))
    assert kl.item() == 0


def test_kl_is_over_the_whole_vocabulary_and_the_written_tokens_alone() -> None:
    uniform = torch.zeros(1, 3, 2)
    losses, kl = attempt_losses(P[None], uniform, TOKENS, WRITTEN, ZERO, 10 * ONE)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)  # the second token; the third is uniform as well
    assert kl.item() == pytest.approx(expected)
    assert losses.item() == pytest.approx(10 * expected)


def test_no_gradient_reaches_the_logits_of_a_prompt() -> None:
    logits = P[None].clone().requires_grad_()
    attempt_losses(logits, torch.zeros(1, 3, 2), TOKENS, WRITTEN, ONE, ONE)[0].sum().backward()
    assert logits.grad is not None
    assert logits.grad[0].abs().sum(dim=-1).gt(0).tolist() == [False, True, True]


def test_reinforce_moves_probability_to_the_tokens_of_a_good_attempt() -> None:
    logits = P[None].clone().requires_grad_()
    attempt_losses(logits, None, TOKENS, WRITTEN, ONE, ZERO)[0].sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, 1].tolist() == pytest.approx([0.75, -0.75])  # p - one-hot, of token 1
