"""The network of a scorer: a language model's backbone with a new head, optional LoRA; saved as a plain transformers checkpoint.

A PRM is an AutoModelForTokenClassification with two classes (bad, good), an ORM an AutoModelForSequenceClassification with one logit whose
sigmoid is the score. While it is trained the head is kept and computed in float32: small updates of it would round away in bfloat16.

Three dropouts, each its own setting: of the head's input (head_dropout), of the attention weights (backbone_dropout), and of what goes into
the low-rank updates (lora.dropout).
"""

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from data_gen.config import InputError
from data_gen.loaded_weights import LANGUAGE_HEADS
from data_gen.policy_config import BASE_POLICY
from data_gen.pretrained import load_model, load_model_config
from data_gen.tokenizer import load_tokenizer
from prm_train.checkpoints import CheckpointFacts, Kind, read_facts, write_facts
from prm_train.encoding import ScorerEncoding, prepare_encoding
from prm_train.gathering import gathered, partitioned_in
from prm_train.lora import add_lora, load_trained, merged
from prm_train.training_config import TrainingConfig

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


class Float32Head(nn.Linear):
    """The head while it is trained: its own precision (at least float32, also under autocast) and dropout; weights under the same names."""

    def __init__(self, head: nn.Linear, p_dropout: float) -> None:
        super().__init__(head.in_features, head.out_features, bias=head.bias is not None, device="meta")
        self.weight, self.bias, self.p_dropout = head.weight, head.bias, p_dropout
        if torch.promote_types(head.weight.dtype, torch.float32) != head.weight.dtype:
            with gathered([parameter for parameter in (head.weight, head.bias) if parameter is not None]):
                self.weight = nn.Parameter(head.weight.detach().float())
                self.bias = nn.Parameter(head.bias.detach().float()) if head.bias is not None else None

    def forward(self, hidden: Tensor) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            hidden = dropout(hidden.to(self.weight.dtype), self.p_dropout, self.training)
            return linear(hidden, self.weight, self.bias)


def build_scorer(kind: Kind, config: TrainingConfig) -> tuple[Any, ScorerEncoding]:
    """A network to be trained, from the causal language model `config.model`, and the encoding that goes with it.

    The head is new, so seed torch before. Raises InputError if the architecture has no such head or no dropout to set.
    """
    path = str(BASE_POLICY) if config.model == "base" else config.model
    tokenizer = load_tokenizer(path, config.trust_remote_code)
    encoding = prepare_encoding(tokenizer, config.step_separator)
    model_config = load_model_config(path, config.trust_remote_code)
    refuse_quantized(model_config, path)
    auto_class = AUTO_CLASSES[kind]
    if type(model_config) not in auto_class._model_mapping and not config.trust_remote_code:
        raise InputError(f"model {path}: transformers has no {auto_class.__name__} for {model_config.model_type}")
    model_config.update({**HEADS[kind], "pad_token_id": None})
    if config.backbone_dropout:
        if not hasattr(model_config, "attention_dropout"):
            raise InputError(f"backbone_dropout {config.backbone_dropout}: {model_config.model_type} has no attention_dropout; expected 0")
        model_config.attention_dropout = config.backbone_dropout
    options: dict[str, Any] = {} if config.attention == "auto" else {"attn_implementation": config.attention}
    if config.quantization == "nf4":
        options |= four_bit_options(config)
    dtype = getattr(torch, config.dtype)
    with partitioned_in(dtype):
        model = load_model(
            auto_class, path, new_head=True, config=model_config, dtype=dtype, trust_remote_code=config.trust_remote_code, **options
        )
    if not hasattr(model, "score"):
        raise InputError(
            f"model {path}: {type(model).__name__} has no head named score; expected an architecture such as Qwen, Llama or Mistral"
        )
    for layer in model.modules():  # bitsandbytes' CPU format for inference could not be trained again after a validation
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
    if len(tokenizer) > model_config.get_text_config().vocab_size:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.pad_token_id = tokenizer.pad_token_id  # only now, since it may be one of the new tokens
    model.score = Float32Head(model.score, config.head_dropout)
    return (add_lora(model, "prm" if kind == "prm" else "orm", config.lora, encoding.marker_id) if config.lora else model), encoding


def refuse_quantized(model_config: Any, path: str) -> None:
    """Raises InputError for a base that is stored in few bits: its weights take no updates, and none could be merged into them exactly."""
    stored = getattr(model_config, "quantization_config", None)
    if stored is None:
        return
    method = stored.get("quant_method") if isinstance(stored, dict) else stored.quant_method
    if method != "mxfp4":  # which transformers unpacks when it loads a model
        raise InputError(
            f"model {path}: its weights are stored quantized ({getattr(method, 'value', method)}, says its config.json); expected the "
            "unquantized model (--quantization nf4 with --lora.rank puts it into 4 bits while it is trained)"
        )


def four_bit_options(config: TrainingConfig) -> dict[str, Any]:
    """The base in 4 bits (NF4, scales quantized too), heads and embeddings excepted. Raises InputError where bitsandbytes is missing."""
    if find_spec("bitsandbytes") is None:
        raise InputError("quantization nf4: bitsandbytes is not installed; expected `pip install 'prm-train[qlora]'`")
    from transformers import BitsAndBytesConfig

    device = "cpu" if config.use_cpu or not torch.cuda.is_available() else torch.cuda.current_device()
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, config.dtype),
        llm_int8_skip_modules=["score", *LANGUAGE_HEADS],
    )
    return {"quantization_config": settings, "device_map": {"": device}}


def rebuild_scorer(kind: Kind, config: TrainingConfig, trained: Mapping[str, Tensor]) -> Any:
    """The scorer with LoRA in whole and unquantized on the CPU: the base loaded again, and the weights that training has changed."""
    model, _ = build_scorer(kind, replace(config, quantization="none", attention="auto"))
    load_trained(model, trained)
    return model


def save_scorer(
    model: Any, encoding: ScorerEncoding, facts: CheckpointFacts, folder: Path, weights: Mapping[str, Tensor] | None = None
) -> None:
    """Write a checkpoint that transformers loads by itself: LoRA merged, the head's weights beside the backbone's, facts in config.json.

    `weights` are the model's where they had to be gathered from several processes. A model with LoRA is used up. Raises RuntimeError if the
    written tokenizer, loaded again, encodes otherwise than the one that training used.
    """
    if hasattr(model, "merge_and_unload"):
        model = merged(model)
    model.config.update(head_settings(facts))
    write_facts(facts, model.config)
    model.config.use_cache = True
    model.save_pretrained(folder, state_dict=weights)
    encoding.tokenizer.save_pretrained(folder)
    sample = "Start: 12.5 + 3\n\nx = 7, {y}", ["One step, 1 + 2 = 3.", "\\frac{1}{2} \n Answer: 7"]
    if ScorerEncoding(load_tokenizer(str(folder)), encoding.facts).encode(*sample) != encoding.encode(*sample):
        raise RuntimeError(f"{folder}: the saved tokenizer gives other ids than the one in training, so scores would be meaningless")


def load_checkpoint(path: str, dtype: str = "float32", trust_remote_code: bool = False) -> tuple[Any, ScorerEncoding, CheckpointFacts]:
    """A trained scorer in evaluation mode, its encoding and what its scores mean. Raises InputError if `train-*` did not write it."""
    config = load_model_config(path, trust_remote_code)
    facts = read_facts(config)
    if config.architectures == ["Qwen2ForProcessRewardModel"]:  # `publish --layout qwen_prm`: our encoding, a head of two layers
        from prm_train.foreign.qwen import load_qwen_network

        return load_qwen_network(path, dtype), ScorerEncoding(load_tokenizer(path), facts.encoding), facts
    if facts.kind == "generative_verifier":
        from prm_train.generative_verifier import load_verdict_classifier

        return load_verdict_classifier(path, dtype, trust_remote_code)
    if facts.kind not in AUTO_CLASSES:
        raise InputError(f"{path}: got a checkpoint of kind {facts.kind}, expected one of a single network")
    model = load_model(AUTO_CLASSES[facts.kind], path, dtype=getattr(torch, dtype), trust_remote_code=trust_remote_code)
    return model.eval(), ScorerEncoding(load_tokenizer(path, trust_remote_code), facts.encoding), facts
