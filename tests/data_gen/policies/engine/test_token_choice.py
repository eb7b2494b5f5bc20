import math

import pytest
import torch

from data_gen.policies.engine.logit_offsets import logit_offsets
from data_gen.policies.engine.token_choice import choose_tokens
from data_gen.policies.engine.truncation import truncated
from data_gen.records.sampling import ALL_TOKENS, Truncation
from data_gen.records.token_rules import NO_RULES, TokenRules


def choose(probabilities, uniforms, temperatures, truncations=(), rules=()):
    logits = torch.tensor(probabilities).log()
    offsets = [logit_offsets(each, logits.shape[-1], logits.device) for each in rules]
    uniform_numbers = torch.tensor(uniforms, dtype=torch.float64)
    return choose_tokens(logits, uniform_numbers, torch.tensor(temperatures), truncations, offsets=offsets)


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


@pytest.mark.parametrize(
    ("rules", "temperature", "uniforms", "tokens"),
    [
        # 0.25 0.5 0.125 0.125 without id 1: a half, a quarter, a quarter
        (TokenRules(banned_ids=(1,)), 1.0, [0.0, 0.49, 0.51, 0.76], [0, 0, 2, 3]),
        # 1 and 3 alone: four fifths and one fifth
        (TokenRules(allowed_ids=(3, 1)), 1.0, [0.0, 0.79, 0.81, 0.999], [1, 1, 3, 3]),
        # id 3 sixteen times as likely: 2 4 1 16 of 23
        (TokenRules(biases=((3, math.log(16)),)), 1.0, [0.08, 0.26, 0.30, 0.31], [0, 1, 2, 3]),
        # before the temperature: at 0.5 the squares 4 16 1 256 of 277
        (TokenRules(biases=((3, math.log(16)),)), 0.5, [0.01, 0.07, 0.074, 0.08], [0, 1, 2, 3]),
        # all three: id 0 has 0.25, id 3 four times its 0.125, so a third and two thirds
        (TokenRules((2,), (0, 3), ((3, math.log(4)),)), 1.0, [0.33, 0.34, 0.5, 0.99], [0, 3, 3, 3]),
        # greedy takes the most likely of what is left, with its bias
        (TokenRules(banned_ids=(1,)), 0.0, [0.0, 0.3, 0.6, 0.9], [0, 0, 0, 0]),
        (TokenRules(biases=((3, 1.5),)), 0.0, [0.0, 0.3, 0.6, 0.9], [3, 3, 3, 3]),
    ],
)
def test_rules_about_ids_shape_the_distribution_and_not_the_logprobs(rules, temperature, uniforms, tokens):
    probabilities = [0.25, 0.5, 0.125, 0.125]
    drawn, logprobs = choose([probabilities] * 4, uniforms, [temperature] * 4, rules=[rules] * 4)
    assert drawn == tokens
    assert logprobs == pytest.approx([math.log(probabilities[token]) for token in tokens])


def test_rules_draw_as_a_masked_softmax_does_and_leave_the_other_rows_as_they_were():
    torch.manual_seed(0)
    logits = 3 * torch.randn(400, 50)
    uniforms, temperatures = torch.rand(400, dtype=torch.float64), torch.ones(400)
    rules = [TokenRules(tuple(range(5)), biases=((7, 2.5), (9, -4.0))), TokenRules(allowed_ids=(3, 30, 45))]
    offsets = [logit_offsets((*rules, NO_RULES)[row % 3], 50, logits.device) for row in range(400)]
    tokens, logprobs = choose_tokens(logits, uniforms, temperatures, offsets=offsets)

    masked = logits.double().clone()
    masked[0::3, :5] = -math.inf
    masked[0::3, 7] += 2.5
    masked[0::3, 9] -= 4.0
    masked[1::3, [i for i in range(50) if i not in (3, 30, 45)]] = -math.inf
    cumulative = masked.softmax(-1).cumsum(-1)
    assert tokens == (cumulative < uniforms[:, None]).sum(-1).tolist()
    assert logprobs == pytest.approx(logits.log_softmax(-1)[range(400), tokens].tolist(), abs=1e-5)

    plain_tokens, plain_logprobs = choose_tokens(logits, uniforms, temperatures)
    assert (tokens[2::3], logprobs[2::3]) == (plain_tokens[2::3], plain_logprobs[2::3])  # to the last bit


def test_a_token_that_only_a_rule_makes_likely_has_a_finite_logprob():
    logits = torch.tensor([[0.0, -300.0]])  # exp(-300) is 0 in float32
    offsets = [logit_offsets(TokenRules(allowed_ids=(1,)), 2, logits.device)]
    uniforms = torch.tensor([0.5], dtype=torch.float64)
    assert choose_tokens(logits, uniforms, torch.ones(1), offsets=offsets) == ([1], [-300.0])


def test_truncation_looks_at_what_the_rules_left():
    rules = [TokenRules(banned_ids=(1,))] * 2
    tokens, _ = choose([[0.2, 0.7, 0.1]] * 2, [0.1, 0.99], [1.0] * 2, [Truncation(top_k=1)] * 2, rules)
    assert tokens == [0, 0]


@pytest.mark.parametrize("n_tokens", [4097, 49_152])  # with and without a last block that is not full
def test_in_a_large_vocabulary_blocks_find_the_token_that_all_cumulative_sums_find(n_tokens):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, n_tokens, generator=generator) * 4
    logits[:, ::3] = -math.inf  # tokens without probability, the first among them
    uniforms = torch.cat(
        [torch.rand(46, generator=generator, dtype=torch.float64), torch.tensor([0, 1 - 2**-53])]
    )
    rows = torch.arange(48) % 6
    tokens, logprobs = choose_tokens(logits, uniforms, torch.full((6,), 0.7), rows=rows)
    cumulative = (logits / 0.7).softmax(-1).cumsum(-1, dtype=torch.float64)[rows]
    wanted = torch.searchsorted(cumulative, uniforms[:, None] * cumulative[:, -1:], right=True)[:, 0].tolist()
    assert tokens[:-1] == wanted[:-1]
    assert all(token % 3 for token in tokens)
    assert logprobs == pytest.approx(logits.log_softmax(-1)[rows, tokens].tolist())


def test_a_block_whose_first_tokens_have_no_probability_is_entered_behind_them():
    probabilities = [0.0] * 5000
    probabilities[255] = probabilities[258] = probabilities[4999] = 1 / 3
    tokens, _ = choose([probabilities] * 4, [0.0, 0.34, 0.67, 1 - 2**-53], [1.0] * 4)
    assert tokens == [255, 258, 4999, 4999]
