"""Token classifiers from TRL's PRMTrainer: question, then each step and the separator, tokenized one by one;
no chat template.

[bos] ids(question) ids(step 1) ids(separator) ids(step 2) ids(separator) …
                                            ^ score 1                   ^ score 2
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForTokenClassification

from data_gen.models.pretrained import adapted_model, from_hub_or_folder, load_model
from data_gen.models.prompt_ids import encode_text
from data_gen.models.tokenizer import load_tokenizer
from data_gen.settings.errors import InputError
from prm_train.encoding.aggregation import Aggregation
from prm_train.networks.load_whole import load_whole
from prm_train.scoring.foreign.paths import ForeignPrm

TRL_AGGREGATION: Aggregation = "min"


@dataclass(frozen=True)
class TrlEncoding:
    """`separator` is the training's step_separator, which the checkpoint does not say; TRL's default is a
    newline.
    """

    tokenizer: Any
    separator: str

    def encode_head(self, question: str) -> tuple[int, ...]:
        bos = self.tokenizer.bos_token_id
        return (*(() if bos is None else (bos,)), *encode_text(self.tokenizer, question))

    def encode_step(self, step: str) -> tuple[int, ...]:
        # Which may be a special token
        separator = self.tokenizer.encode(self.separator, add_special_tokens=False)
        return (*encode_text(self.tokenizer, step), *separator)


def load_trl(path: str, dtype: str, separator: str) -> ForeignPrm:
    """Whole models, and adapters (PEFT) with their head, beside which their base is loaded."""
    base = adapted_model(path)
    model = (
        load_whole(AutoModelForTokenClassification, path, dtype)
        if base is None
        else load_adapted(path, base, dtype)
    )
    if model.config.num_labels != 2:
        raise InputError(f"{path}: {model.config.num_labels} classes, expected 2 (bad, good)")
    tokenizer = load_tokenizer(path)
    return ForeignPrm(model, tokenizer, TrlEncoding(tokenizer, separator), TRL_AGGREGATION)


def load_adapted(path: str, base: str, dtype: str) -> Any:
    """The token classifier on `base` with the adapter of `path`, unmerged. Raises InputError where it lacks
    weights or the head.
    """
    model = load_model(AutoModelForTokenClassification, base, new_head=True, dtype=getattr(torch, dtype))
    with from_hub_or_folder(path):
        found = model.load_adapter(path)
    faults = sorted({*found.missing_keys, *found.unexpected_keys})
    if faults or not hasattr(model.score, "modules_to_save"):
        raise InputError(
            f"{path}: {', '.join(faults[:3]) or 'no head'}: not in the adapter, or not of it; expected a "
            "PRM's updates and head"
        )
    return model.eval()
