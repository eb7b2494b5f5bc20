"""What a small policy may compute for a question, so that pretraining and answering cost as much in all as
those of a larger policy that answers once (Snell et al. 2024, section 7).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class AnswerCost:
    """Of a policy that answers a question once, means: tokens of prompt and answer, and FLOPs."""

    n_tokens: float
    flops: float

    @property
    def per_token(self) -> float:
        return self.flops / self.n_tokens


def inference_factor(size_ratio: float, load: float) -> float:
    """`M + 3 (M - 1) / R`: so many times the tokens may a policy spend that is M times smaller, at
    R = D_inference / D_pretrain.

    With 6 N D for pretraining and 2 N D for answering, `6 N D_p + factor 2 N D_i = 6 M N D_p + 2 M N D_i`.
    """
    return size_ratio + 3.0 * (size_ratio - 1.0) / load


def small_budget(
    large: AnswerCost, large_per_token: float, small_per_token: float, load: float, tokens_ratio: float = 1.0
) -> float:
    """FLOPs that the small policy may spend on a question::

        P_small + Q budget = P_large + Q flops of an answer     for Q questions
        P = 3 flops per token D                                 forward, and twice that backward
        Q tokens of an answer = load D_small

    `load` is R; `large` an answer of the large policy; `tokens_ratio` D_large / D_small, 1 in the paper. That
    a pretraining token costs three times the forward pass of a token of an answer is 6 N D where the latter
    is 2 N. Then the budget is `inference_factor` times 2 N_small for each token of an answer.
    """
    pretraining = 3.0 * (tokens_ratio * large_per_token - small_per_token)
    return large.flops + pretraining * large.n_tokens / load
