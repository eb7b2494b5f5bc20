"""The network of a scorer: a language model's backbone with a new head, optional LoRA; saved as a plain
transformers checkpoint.

A PRM is an AutoModelForTokenClassification with two classes (bad, good), an ORM an
AutoModelForSequenceClassification with one logit whose sigmoid is the score. While it is trained the head is
kept and computed in float32: small updates of it would round away in bfloat16.

Three dropouts, each its own setting: of the head's input (head_dropout), of the attention weights
(backbone_dropout), and of what goes into the low-rank updates (lora.dropout).
"""

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear

from data_gen.models.eos_ids import eos_ids
from data_gen.models.forward_settings import soft_cap
from data_gen.models.loaded_weights import LANGUAGE_HEADS
from data_gen.models.pretrained import load_model, load_model_config
from data_gen.models.tokenizer import load_tokenizer
from data_gen.problems.tasks import model_path
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CheckpointFacts, Kind
from prm_train.encoding.paths import ScorerEncoding, prepare_encoding
from prm_train.kinds.lookup import kind_named, write_facts
from prm_train.networks.gathering import gathered, partitioned_in
from prm_train.networks.heads import head_name
from prm_train.training.lora import add_lora, load_trained, merged
from prm_train.training.settings import ScorerConfig, TrainingConfig

INSTEAD: dict[Kind, str] = {"prm": "`prm-train train-verifier`", "orm": "`prm-train train-implicit-prm`"}


class Float32Head(nn.Linear):
    """The head while it is trained: its own precision (at least float32, also under autocast) and dropout;
    weights under the same names.
    """

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


def build_scorer(kind: Kind, config: ScorerConfig) -> tuple[Any, ScorerEncoding]:
    """A network to be trained, from the causal language model `config.model`, and the encoding that goes with
    it.

    The head is new, so seed torch before. Raises InputError if the architecture has no such head or no
    dropout to set.
    """
    path = model_path(config.model)
    tokenizer = load_tokenizer(path, config.trust_remote_code)
    model_config = load_model_config(path, config.trust_remote_code)
    refuse_quantized(model_config, path)
    encoding = prepare_encoding(tokenizer, config.step_separator, eos_ids(model_config))

    auto_class = kind_named(kind).auto_class
    if type(model_config) not in auto_class._model_mapping and not config.trust_remote_code:
        raise InputError(
            f"model {path}: transformers has no {auto_class.__name__} for {model_config.model_type}; "
            "expected an architecture that has "
            f"one, or {INSTEAD[kind]}, which takes any causal language model"
        )

    # Without a padding id for now: it may be that of a token which the embedding does not have yet.
    model_config.update({**kind_named(kind).head, "pad_token_id": None})
    if config.backbone_dropout:
        set_attention_dropout(model_config, config.backbone_dropout)
    options: dict[str, Any] = attention_option(config, model_config, path)
    if config.quantization == "nf4":
        options |= four_bit_options(config)
    dtype = getattr(torch, config.dtype)
    with partitioned_in(dtype):
        model = load_model(
            auto_class,
            path,
            new_head=True,
            config=model_config,
            dtype=dtype,
            trust_remote_code=config.trust_remote_code,
            **options,
        )

    # bitsandbytes would put its weights into a CPU format for inference at the first validation, and could
    # not train them again.
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False

    if len(tokenizer) > model_config.get_text_config().vocab_size:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.pad_token_id = tokenizer.pad_token_id
    head = head_name(model)
    setattr(model, head, Float32Head(getattr(model, head), config.head_dropout))
    return (add_lora(model, kind, config.lora, encoding.marker_id) if config.lora else model), encoding


def refuse_quantized(model_config: Any, path: str) -> None:
    """Raises InputError for a base that is stored in few bits: its weights take no updates, and none could be
    merged into them exactly.
    """
    stored = getattr(model_config, "quantization_config", None)
    if stored is None:
        return
    method = stored.get("quant_method") if isinstance(stored, dict) else stored.quant_method
    if method != "mxfp4":  # which transformers unpacks when it loads a model
        raise InputError(
            f"model {path}: its weights are stored quantized ({getattr(method, 'value', method)}, says its "
            "config.json); expected the "
            "unquantized model (--quantization nf4 with --lora.rank puts it into 4 bits while it is trained)"
        )


def set_attention_dropout(model_config: Any, p_dropout: float) -> None:
    """Raises InputError for an architecture that has none."""
    if not hasattr(model_config, "attention_dropout"):
        raise InputError(
            f"backbone_dropout {p_dropout}: {model_config.model_type} has no attention_dropout; expected 0"
        )
    model_config.attention_dropout = p_dropout


def attention_option(config: TrainingConfig, model_config: Any, path: str) -> dict[str, Any]:
    """The `attn_implementation` that was asked for. Raises InputError for one that leaves out what the model
    defines.
    """
    cap = soft_cap(model_config)
    if config.attention == "sdpa" and cap is not None:
        raise InputError(
            f"attention sdpa: model {path} squeezes its attention scores into ±{cap:g}, which sdpa leaves "
            "out; expected auto, eager or "
            "flash_attention_2"
        )
    return {} if config.attention == "auto" else {"attn_implementation": config.attention}


def four_bit_options(config: TrainingConfig) -> dict[str, Any]:
    """The base in 4 bits (NF4, scales quantized too), heads and embeddings excepted. Raises InputError where
    bitsandbytes is missing.
    """
    if find_spec("bitsandbytes") is None:
        raise InputError(
            "quantization nf4: bitsandbytes is not installed; expected `pip install 'prm-train[qlora]'`"
        )
    from transformers import BitsAndBytesConfig

    device = "cpu" if config.use_cpu or not torch.cuda.is_available() else torch.cuda.current_device()
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, config.dtype),
        llm_int8_skip_modules=["score", "classifier", *LANGUAGE_HEADS],
    )
    return {"quantization_config": settings, "device_map": {"": device}}


def rebuild_scorer(kind: Kind, config: ScorerConfig, trained: Mapping[str, Tensor]) -> Any:
    """The scorer with LoRA in whole and unquantized on the CPU: the base loaded again, and the weights that
    training has changed.
    """
    model, _ = build_scorer(kind, replace(config, quantization="none", attention="auto"))
    load_trained(model, trained)
    return model


def save_scorer(
    model: Any,
    encoding: ScorerEncoding,
    facts: CheckpointFacts,
    folder: Path,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint that transformers loads by itself: LoRA merged, the head's weights beside the
    backbone's, facts in config.json.

    `weights` are the model's where they had to be gathered from several processes. A model with LoRA is used
    up. Raises RuntimeError if the written tokenizer, loaded again, encodes otherwise than the one that
    training used.
    """
    if hasattr(model, "merge_and_unload"):
        model = merged(model)
    model.config.update(kind_named(facts.kind).head_settings(facts))
    write_facts(facts, model.config)
    model.config.use_cache = True
    model.save_pretrained(folder, state_dict=weights)
    encoding.tokenizer.save_pretrained(folder)
    sample = "Start: 12.5 + 3\n\nx = 7, {y}", ["One step, 1 + 2 = 3.", "\\frac{1}{2} \n Answer: 7"]
    if ScorerEncoding(load_tokenizer(str(folder)), encoding.facts).encode(*sample) != encoding.encode(
        *sample
    ):
        raise RuntimeError(
            f"{folder}: the saved tokenizer gives other ids than the one in training, so scores would be "
            "meaningless"
        )
