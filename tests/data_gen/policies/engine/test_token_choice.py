import math

import pytest
import torch

from data_gen.policies.engine.token_choice import choose_tokens
from data_gen.policies.engine.truncation import truncated
from data_gen.records.sampling import ALL_TOKENS, Truncation


def choose(probabilities, uniforms, temperatures, truncations=()):
    logits = torch.tensor(probabilities).log()
    return choose_tokens(
        logits, torch.tensor(uniforms, dtype=torch.float64), torch.tensor(temperatures), truncations
    )


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


@pytest.mark.parametrize(
    ("truncation", "kept"),
    [
        (Truncation(top_k=2), [1, 3]),
        (Truncation(top_k=1), [3]),
        (Truncation(top_k=3), [0, 1, 3]),  # of equally likely tokens the one with the lower id
        (Truncation(top_k=9), [0, 1, 2, 3]),
        (Truncation(top_p=0.5), [3]),  # 0.5 has enough
        (Truncation(top_p=0.51), [1, 3]),
        (Truncation(top_p=0.8), [0, 1, 3]),
        (Truncation(top_p=1e-9), [3]),
        (Truncation(min_p=0.5), [1, 3]),  # at least 0.25
        (Truncation(min_p=0.51), [3]),
        (Truncation(top_p=0.7, top_k=2), [1, 3]),  # 0.5 of the 0.75 that top_k left is less than 0.7
        (Truncation(top_p=0.6, top_k=2), [3]),
        (Truncation(top_p=0.9, min_p=0.2), [0, 1, 2, 3]),
        (ALL_TOKENS, [0, 1, 2, 3]),
    ],
)
def test_what_is_left_out_is_never_drawn_and_the_rest_shares_the_noise(truncation, kept):
    probabilities = [0.125, 0.25, 0.125, 0.5]
    weights = truncated(torch.tensor([probabilities, probabilities]), [truncation, ALL_TOKENS])
    assert [token for token, weight in enumerate(weights[0].tolist()) if weight] == kept
    assert weights[1].tolist() == probabilities  # rows do not touch each other
    total = sum(probabilities[token] for token in kept)
    middles = [
        (sum(probabilities[t] for t in kept if t < token) + probabilities[token] / 2) / total
        for token in kept
    ]
    tokens, logprobs = choose(
        [probabilities] * len(kept), middles, [1.0] * len(kept), [truncation] * len(kept)
    )
    assert tokens == kept
    # Of the policy, not of what was left
    assert logprobs == pytest.approx([math.log(probabilities[token]) for token in kept])


def test_truncation_comes_after_the_temperature():
    # at temperature 0.5 the odds 1 : 3 become 1 : 9: 0.9 is enough for a top_p of 0.85, 0.75 is not
    tokens, _ = choose([[0.25, 0.75]] * 2, [0.01, 0.01], [0.5, 1.0], [Truncation(top_p=0.85)] * 2)
    assert tokens == [1, 0]
