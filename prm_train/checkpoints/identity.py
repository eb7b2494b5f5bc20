"""Content hashes of scorers: by them stored scores are known to come from the same weights, whatever path these were loaded from."""

import hashlib
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from data_gen.records.draw_keys import content_hash
from prm_train.checkpoints.facts import CheckpointFacts, score_facts
from prm_train.encoding.paths import ScorerEncoding


def content_id(models: Sequence[PreTrainedModel], encoding: ScorerEncoding, facts: CheckpointFacts) -> str:
    """A content hash of whatever decides a score: the weights as loaded, the tokenizer, the encoding, the calibration."""
    tokenizer = (sorted(encoding.tokenizer.get_vocab().items()), encoding.tokenizer.chat_template)
    return content_hash("scorer", weights_digest(models), tokenizer, score_facts(facts))


def weights_digest(models: Sequence[PreTrainedModel]) -> str:
    """SHA-256 of the names, types, shapes and bytes of all weights."""
    weights = hashlib.sha256()
    for model in models:
        for name, tensor in sorted(model.state_dict().items()):
            weights.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            weights.update(tensor.contiguous().reshape(-1).view(torch.uint8).cpu().numpy())
    return weights.hexdigest()
