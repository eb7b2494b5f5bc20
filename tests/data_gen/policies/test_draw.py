import math

import pytest
import torch

from data_gen.policies.draw import choose_tokens


def choose(probabilities, uniforms, temperatures):
    logits = torch.tensor(probabilities).log()
    return choose_tokens(logits, torch.tensor(uniforms, dtype=torch.float64), torch.tensor(temperatures))


def test_tokens_are_read_off_the_cumulative_distribution():
    probabilities = [[0.25, 0.25, 0.5]] * 5
    tokens, logprobs = choose(probabilities, [0.0, 0.24, 0.26, 0.51, 0.999], [1.0] * 5)
    assert tokens == [0, 0, 1, 2, 2]
    assert logprobs == pytest.approx([math.log(p) for p in (0.25, 0.25, 0.25, 0.5, 0.5)])


def test_temperature_sharpens_what_is_drawn_but_not_the_logprob():
    # at temperature 0.5 the odds 1 : 3 become 1 : 9
    tokens, logprobs = choose([[0.25, 0.75]] * 3, [0.09, 0.11, 0.11], [0.5, 0.5, 1.0])
    assert tokens == [0, 1, 0]
    assert logprobs == pytest.approx([math.log(0.25), math.log(0.75), math.log(0.25)])


def test_temperature_0_takes_the_most_likely_token_whatever_the_noise():
    tokens, logprobs = choose([[0.3, 0.4, 0.3]] * 2, [0.0, 0.99], [0.0, 0.0])
    assert tokens == [1, 1]
    assert logprobs == pytest.approx([math.log(0.4)] * 2)


def test_a_token_without_probability_is_never_drawn():
    almost_one = 1 - 2**-53
    tokens, _ = choose([[0.0, 0.5, 0.5, 0.0]] * 2, [0.0, almost_one], [1.0, 1.0])
    assert tokens == [1, 2]
    tokens, _ = choose([[0.0, 1 / 3, 2 / 3, 0.0]], [almost_one], [0.7])
    assert tokens == [2]
