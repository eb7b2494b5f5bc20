"""Language models to be trained as such (implicit PRMs, generative verifiers): loaded with or without LoRA, and made whole again."""

from dataclasses import replace
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from data_gen.models.pretrained import load_model, load_model_config
from data_gen.models.tokenizer import load_tokenizer
from data_gen.problems.tasks import model_path
from data_gen.settings.errors import InputError
from prm_train.encoding.paths import EncodingFacts, ScorerEncoding
from prm_train.networks.gathering import gathered_weights
from prm_train.networks.special_ids import settle_language_model
from prm_train.training.config import TrainingConfig
from prm_train.training.lora import add_lora, load_trained, merged
from prm_train.training.scorer_network import attention_option, four_bit_options, refuse_quantized


def build_language_model(config: TrainingConfig) -> tuple[Any, ScorerEncoding]:
    """The causal language model `config.model`, to be trained, and an encoding with its own tokenizer, without a marker. Its special ids
    are settled (see `prm_train.networks.special_ids`).

    Raises InputError if there is no dropout to set.
    """
    path = model_path(config.model)
    tokenizer = load_tokenizer(path, config.trust_remote_code)
    facts = EncodingFacts("chat" if tokenizer.chat_template else "plain", config.step_separator, marker_token="")
    model_config = load_model_config(path, config.trust_remote_code)
    refuse_quantized(model_config, path)
    if config.backbone_dropout:
        if not hasattr(model_config, "attention_dropout"):
            raise InputError(f"backbone_dropout {config.backbone_dropout}: {model_config.model_type} has no attention_dropout; expected 0")
        model_config.attention_dropout = config.backbone_dropout
    options = attention_option(config, model_config, path)
    if config.quantization == "nf4":
        options |= four_bit_options(config)
    model = load_model(
        AutoModelForCausalLM,
        path,
        config=model_config,
        dtype=getattr(torch, config.dtype),
        trust_remote_code=config.trust_remote_code,
        **options,
    )
    settle_language_model(model, tokenizer)
    return (add_lora(model, "revision", config.lora) if config.lora else model), ScorerEncoding(tokenizer, facts)


def whole_language_model(trainer: Any, config: TrainingConfig) -> Any | None:
    """The trained model on the CPU of the main process, updates merged, weights gathered; None on the others. All must come here."""
    is_main = trainer.args.process_index == 0
    model = trainer.accelerator.unwrap_model(trainer.model)
    weights = gathered_weights(model, only_trained=config.lora is not None, keep=is_main)
    if not is_main:
        return None
    unset_hf_deepspeed_config()
    whole, _ = build_language_model(replace(config, quantization="none", attention="auto", backbone_dropout=0.0))
    if config.lora:
        load_trained(whole, weights)
        return merged(whole)
    whole.load_state_dict(weights)
    return whole
