"""What a language model makes of a prompt: a vector, from one pass, before anything is drawn."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


@torch.inference_mode()
def mean_hidden_state(model: Any, prompt_ids: Sequence[int]) -> Float[Tensor, " hidden"]:
    """The mean over the tokens of a prompt of the last layer's states, in float32. Raises ValueError for no
    token.
    """
    if not prompt_ids:
        raise ValueError("prompt: no tokens, expected one or more")
    input_ids = torch.tensor([list(prompt_ids)], device=model.device)  # (1, T)
    states = model(input_ids=input_ids, use_cache=False, output_hidden_states=True).hidden_states[-1]
    return states[0].float().mean(0).cpu()
