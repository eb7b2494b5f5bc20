"""SCoRe's loss as a pure function: REINFORCE on the tokens of an attempt, and the exact KL to the base there.

Prompts are what stands before an attempt, an earlier attempt included; no token of them is learnt.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def attempt_losses(
    logits: Float[Tensor, "batch token vocabulary"],
    base_logits: Float[Tensor, "batch token vocabulary"] | None,
    token_ids: Int[Tensor, "batch token"],
    is_written: Bool[Tensor, "batch token"],
    advantages: Float[Tensor, " batch"],
    kl_prices: Float[Tensor, " batch"],
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """The loss of each attempt, and its KL in nats:

        loss = - advantage * sum of log p(token) + kl_price * KL,    KL = sum over tokens of KL(p || base)

    `logits[:, t]` are those that chose `token_ids[:, t]`, which counts where `is_written`. The KL is over the
    whole vocabulary: no estimate from the token that was drawn. Without `base_logits` it is 0.
    """
    log_p = torch.log_softmax(logits.float(), dim=-1)
    of_tokens = log_p.gather(-1, token_ids[..., None])[..., 0]  # (B, T)
    log_likelihood = torch.where(is_written, of_tokens, 0.0).sum(dim=-1)
    kl = torch.zeros_like(log_likelihood)
    if base_logits is not None:
        log_base = torch.log_softmax(base_logits.float(), dim=-1)
        per_token = (log_p.exp() * (log_p - log_base)).sum(dim=-1)  # (B, T)
        kl = torch.where(is_written, per_token, 0.0).sum(dim=-1)
    return -advantages * log_likelihood + kl_prices * kl, kl
