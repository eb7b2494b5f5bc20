"""Language models that are trained as such (implicit PRMs, generative verifiers, revision models): how one is
loaded, with or without LoRA, and how it is made whole again and written.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from data_gen.models.pretrained import load_model, load_model_config
from data_gen.models.tokenizer import load_tokenizer
from data_gen.problems.tasks import model_path
from prm_train.encoding.paths import EncodingFacts, ScorerEncoding
from prm_train.kinds.lookup import write_facts
from prm_train.networks.special_ids import settle_language_model
from prm_train.training.lora import add_lora, load_trained, merged
from prm_train.training.run import Training
from prm_train.training.scorer_network import (
    attention_option,
    four_bit_options,
    refuse_quantized,
    set_attention_dropout,
)
from prm_train.training.settings import TrainingConfig, is_quantized


class LanguageModelTraining(Training):
    """What the trainings of language models share: the model that is written is the base, loaded again, with
    what was trained.
    """

    def whole_model(self, model: Any, weights: Mapping[str, Tensor]) -> Any:
        whole, _ = build_language_model(self.config, is_for_training=False)
        if self.config.lora:
            load_trained(whole, weights)
            return merged(whole)
        whole.load_state_dict(weights)
        return whole

    def write(self, model: Any, weights: Mapping[str, Tensor], encoding: ScorerEncoding) -> None:
        write_facts(self.facts(encoding), model.config)
        model.config.use_cache = True
        model.save_pretrained(self.config.output)
        encoding.tokenizer.save_pretrained(self.config.output)


def build_language_model(config: TrainingConfig, is_for_training: bool = True) -> tuple[Any, ScorerEncoding]:
    """The causal language model `config.model` and an encoding with its own tokenizer, without a marker. Its
    special ids are settled (see `prm_train.networks.special_ids`).

    Only for training it has the config's attention kernel, dropout and 4 bits. Raises InputError if there is
    no dropout to set.
    """
    path = model_path(config.model)
    tokenizer = load_tokenizer(path, config.trust_remote_code)
    facts = EncodingFacts(
        "chat" if tokenizer.chat_template else "plain", config.step_separator, marker_token=""
    )
    model_config = load_model_config(path, config.trust_remote_code)
    refuse_quantized(model_config, path)

    options: dict[str, Any] = {}
    if is_for_training:
        if config.backbone_dropout:
            set_attention_dropout(model_config, config.backbone_dropout)
        options |= attention_option(config, model_config, path)
        if is_quantized(config):
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
    return (add_lora(model, "revision", config.lora) if config.lora else model), ScorerEncoding(
        tokenizer, facts
    )
