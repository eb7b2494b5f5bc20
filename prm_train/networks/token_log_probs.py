"""log p of the tokens of a text under a language model, from its logits."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, pad


def token_log_probs(
    logits: Float[Tensor, "batch kept vocabulary"], input_ids: Int[Tensor, "batch token"]
) -> Float[Tensor, "batch token"]:
    """log p(token | all before it), 0 for the first token; where `logits` are those of the last positions
    only, 0 further on, too.
    """
    n_found = logits.shape[1] - 1  # the last position predicts nothing that is there
    logits = logits[:, :-1].to(torch.promote_types(logits.dtype, torch.float32))
    n_missing = input_ids.shape[1] - n_found
    return pad(
        -cross_entropy(logits.transpose(1, 2), input_ids[:, n_missing:], reduction="none"), (n_missing, 0)
    )
