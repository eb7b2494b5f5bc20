"""The numbers that a PRM or an ORM gives a path of token ids, as a server pools them: logits, or
probabilities that know of no calibration.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from data_gen.models.forward_settings import context_length
from data_gen.settings.errors import InputError


@torch.inference_mode()
def class_numbers(
    model: PreTrainedModel, ids: Sequence[int], *, use_activation: bool
) -> Float[Tensor, "number ..."]:
    """Of a PRM (T, 2), a row for each token; of an ORM (1,). An ORM on pairs (problem_type regression) has no
    activation. Raises InputError for ids that the model does not know, and more than its context holds.
    """
    n_known, longest = model.get_input_embeddings().num_embeddings, context_length(model.config)
    if not 0 <= min(ids) <= max(ids) < n_known:
        wrong = max(ids) if min(ids) >= 0 else min(ids)
        raise InputError(f"input: token id {wrong}, expected ids in [0, {n_known})")
    if len(ids) > longest:
        raise InputError(f"input: {len(ids)} tokens, expected at most the {longest} of the scorer's context")
    device = next(model.parameters()).device
    logits: Tensor = model(input_ids=torch.tensor([list(ids)], device=device)).logits[0].double()
    if not use_activation or model.config.problem_type == "regression":
        return logits
    return logits.sigmoid() if model.config.num_labels == 1 else logits.softmax(-1)
