import math

import pytest
import torch

from data_gen.settings.errors import InputError
from prm_train.rewards.token_returns import token_returns


def test_each_token_is_above_what_the_others_of_its_group_earn_from_a_token_on():
    rewards = torch.tensor([[0.0, 0.5, 1.0], [0.0, 0.25, 9.0], [7.0, 7.0, 7.0]])
    mask = torch.tensor([[1.0, 1, 1], [1, 1, 0], [1, 1, 1]])
    found = token_returns(rewards, mask, ["a", "a", "b"])
    # Returns to go 1.5, 1.5, 1 (mean 4/3) and .25, .25 (mean .25); the third is alone
    wanted = [[1.25, 1.25, 0.75], [0.25 - 4 / 3, 0.25 - 4 / 3, 0], [0, 0, 0]]
    assert torch.allclose(found, torch.tensor(wanted))


def test_a_row_with_nan_is_unknown():
    rewards = torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, math.nan]])
    found = token_returns(rewards, torch.ones(3, 2), ["a", "a", "a"])
    assert found[2].tolist() == [0, 0]
    assert torch.equal(found[:2], token_returns(rewards[:2], torch.ones(2, 2), ["a", "a"]))


def test_each_row_has_a_group():
    with pytest.raises(InputError, match="got 1 groups' names, expected 2"):
        token_returns(torch.zeros(2, 2), torch.ones(2, 2), ["a"])
