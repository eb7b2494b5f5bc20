"""A language model that answers with one of two words, read as a token classifier of two classes."""

from typing import Any

from torch import nn


def as_classifier(model: Any, no: int, yes: int) -> Any:
    """The language model with two rows of its head alone, so that its logits are those of No and Yes. The
    whole model is used up.

    What its architecture does to logits behind the head (soft caps, scales) it does to these, too. No class
    for token classification is needed.
    """
    words = model.get_output_embeddings()
    head = nn.Linear(
        words.in_features,
        2,
        bias=words.bias is not None,
        dtype=words.weight.dtype,
        device=words.weight.device,
    )
    head.weight.data = words.weight.data[[no, yes]].clone()
    if words.bias is not None:
        head.bias.data = words.bias.data[[no, yes]].clone()
    model.set_output_embeddings(head)
    model.config.num_labels = 2
    return model.eval()
