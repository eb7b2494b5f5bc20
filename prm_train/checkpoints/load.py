"""A trained scorer, loaded from its folder: network, encoding and what its scores mean."""

from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from data_gen.models.pretrained import load_model, load_model_config
from data_gen.models.tokenizer import load_tokenizer
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CheckpointFacts, Kind, read_facts
from prm_train.encoding.paths import ScorerEncoding

AUTO_CLASSES = {"prm": AutoModelForTokenClassification, "orm": AutoModelForSequenceClassification}
# The class 1 of a PRM is the good step. An ORM's one logit counts as a label of its own (binary cross-entropy, sigmoid when served).
HEADS: dict[Kind, dict[str, Any]] = {
    "prm": {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}, "classifier_dropout": 0.0},
    "orm": {"id2label": {0: "correct"}, "label2id": {"correct": 0}, "problem_type": "multi_label_classification"},
}
# An ORM from pairs: servers return the logit as it is.
REWARD_HEAD: dict[str, Any] = {"id2label": {0: "reward"}, "label2id": {"reward": 0}, "problem_type": "regression"}


def head_settings(facts: CheckpointFacts) -> dict[str, Any]:
    """What config.json says of a PRM's or an ORM's head: names of its classes, and the function that servers apply to its logits."""
    return REWARD_HEAD if facts.is_reward else HEADS[facts.kind]


def load_checkpoint(path: str, dtype: str = "float32", trust_remote_code: bool = False) -> tuple[Any, ScorerEncoding, CheckpointFacts]:
    """A trained scorer in evaluation mode, its encoding and what its scores mean. Raises InputError if `train-*` did not write it."""
    config = load_model_config(path, trust_remote_code)
    facts = read_facts(config)
    if config.architectures == ["Qwen2ForProcessRewardModel"]:  # `publish --layout qwen_prm`: our encoding, a head of two layers
        from prm_train.checkpoints.qwen_layout import load_qwen_network

        return load_qwen_network(path, dtype), ScorerEncoding(load_tokenizer(path), facts.encoding), facts
    if facts.kind == "generative_verifier":
        from prm_train.checkpoints.verifier import load_verdict_classifier

        return load_verdict_classifier(path, dtype, trust_remote_code)
    if facts.kind not in AUTO_CLASSES:
        raise InputError(f"{path}: got a checkpoint of kind {facts.kind}, expected one of a single network")
    model = load_model(AUTO_CLASSES[facts.kind], path, dtype=getattr(torch, dtype), trust_remote_code=trust_remote_code)
    return model.eval(), ScorerEncoding(load_tokenizer(path, trust_remote_code), facts.encoding), facts
