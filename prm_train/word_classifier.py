"""A language model that answers with one of two words, read as a token classifier: the head are the two words' rows of its own."""

from copy import deepcopy
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForTokenClassification


def as_classifier(model: Any, no: int, yes: int) -> Any:
    """A token classifier (No, Yes) that shares the language model's backbone; its head are two rows of the language model's."""
    config = deepcopy(model.config)
    config.num_labels = 2
    with torch.device("meta"):
        classifier = AutoModelForTokenClassification.from_config(config)
    words = model.get_output_embeddings()
    head = nn.Linear(words.in_features, 2, bias=words.bias is not None, dtype=words.weight.dtype, device=words.weight.device)
    head.weight.data = words.weight.data[[no, yes]].clone()
    if words.bias is not None:
        head.bias.data = words.bias.data[[no, yes]].clone()
    setattr(classifier, classifier.base_model_prefix, model.base_model)
    setattr(classifier, "score" if hasattr(classifier, "score") else "classifier", head)
    return classifier.eval()
