"""Padding and end of text: decided before a training, for the tokenizer, config.json and
generation_config.json of what it writes.

Padding must be another token than EOS, by the tokenizer's word and by the config's, which may differ:
transformers reads an ORM's score at the last token that is not padding, vLLM at the last token, and a
language model that learns to write EOS must not have it masked. Padding that already is a token of its own
stays. Otherwise one is taken that the vocabulary keeps for such uses, and a new one where there is none.
"""

import logging
import re
from collections.abc import Collection
from functools import cache
from typing import Any

import torch
from transformers import GenerationConfig

from data_gen.models.eos_ids import eos_ids
from data_gen.settings.errors import InputError
from prm_train.networks.gathering import gathered

logger = logging.getLogger(__name__)

NEW_PADDING = "<|pad|>"
# Tokens of known tokenizers that text never holds and no model of theirs writes: padding for a language model
# without its own.
PADDINGS = (
    NEW_PADDING,
    "<|finetune_right_pad_id|>",
    "<|vision_pad|>",
    "<pad>",
    "[PAD]",
    "<|padding|>",
    "<unk>",
)
# How tokenizers name what they keep for later. The last of them is the one that a fine-tuning has taken least
# likely.
SPARE = re.compile(
    r"[<\[].*(reserved|unused|place.?holder|extra_id).*[>\]]|<SPECIAL_\d+>|\[control_\d+\]", re.IGNORECASE
)


def check_padding(config: Any, source: str) -> None:
    """Raises InputError unless there is a padding token and it is no EOS."""
    if config.pad_token_id is None or config.pad_token_id in eos_ids(config):
        raise InputError(
            f"{source}: pad_token_id {config.pad_token_id}, eos_token_id {config.eos_token_id}; expected a "
            "padding token of its own"
        )


def settle_padding(tokenizer: Any, taken: Collection[int | None]) -> None:
    """Leave, choose or add the tokenizer's padding token, which is none of the ids `taken`: EOS by any
    config, a step marker.
    """
    before = tokenizer.pad_token
    if before is not None and tokenizer.pad_token_id not in taken:
        return
    vocabulary, template = tokenizer.get_vocab(), str(tokenizer.chat_template)
    named = [token for token in PADDINGS if vocabulary.get(token, -1) not in (-1, *taken)]
    others = {*taken, *tokenizer.all_special_ids}
    spare = [
        token.content
        for token_id, token in sorted(tokenizer.added_tokens_decoder.items())
        if SPARE.fullmatch(token.content) and token_id not in others and token.content not in template
    ]
    found = (*[token for token in named if token != "<unk>"], *spare[-1:], *named, NEW_PADDING)[0]
    if found in vocabulary:
        tokenizer.pad_token = found
    else:
        tokenizer.add_special_tokens({"pad_token": found})
    say_once(
        f"{tokenizer.name_or_path or 'tokenizer'}: padding is {found} from here on; {before or 'none'} is "
        "what it had"
    )


def settle_language_model(model: Any, tokenizer: Any) -> None:
    """Bring EOS and padding of a language model and its tokenizer together, and make its generation_config
    one that can be saved.

    A tokenizer without EOS takes that of the config. What generation_config ends a text with goes on to do so
    beside the tokenizer's EOS. The same base always gives the same model.
    """
    config = model.config.get_text_config()
    if tokenizer.eos_token_id is None:
        known = [
            token_id for token_id in eos_ids(config) if token_id is not None and token_id < len(tokenizer)
        ]
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(known[0]) if known else None
    settle_padding(tokenizer, {tokenizer.eos_token_id, *eos_ids(config)})
    grow_vocabulary(model, len(tokenizer))
    # It imports all of PEFT and bitsandbytes: seconds that a process which only scores does not need
    from transformers.trainer_utils import align_special_tokens

    align_special_tokens(model, tokenizer)
    model.config.pad_token_id = tokenizer.pad_token_id  # `config` may be a part of it
    mend_generation_config(model)


def grow_vocabulary(model: Any, n_tokens: int) -> None:
    """Embeddings for up to `n_tokens` ids, where there are fewer. New rows are the mean of the old ones, so
    that a new token is no likelier than the old ones on average: a row of zeros would be the likeliest of all
    where logits are negative, as GPT-2's.
    """
    n_before = model.get_input_embeddings().num_embeddings
    if n_tokens <= n_before:
        return
    model.resize_token_embeddings(n_tokens, mean_resizing=False)
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    for rows in {layer.weight for layer in layers} | {
        layer.bias for layer in layers if getattr(layer, "bias", None) is not None
    }:
        with gathered([rows], is_changed=True), torch.no_grad():
            rows[n_before:] = rows[:n_before].float().mean(0).to(rows.dtype)


def mend_generation_config(model: Any) -> None:
    """Settings of sampling without do_sample, as Llama 2's first, cannot be saved: they are taken at their
    word. What is still invalid then is left out but for its special ids.
    """
    config, source = model.generation_config, model.config.name_or_path
    fault = _fault(config)
    if fault is None:
        return
    if config.temperature is None or config.temperature > 0:
        config.do_sample = True
    if config.do_sample and _fault(config) is None:
        say_once(f"{source}: generation_config: {fault}; do_sample is true from here on")
        return
    ids = {name: getattr(config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.generation_config = GenerationConfig(**ids)
    say_once(f"{source}: generation_config: {fault}; only its special ids are kept")


def _fault(config: GenerationConfig) -> str | None:
    """Why this generation_config cannot be saved: the settings at fault, or one sentence."""
    try:
        config.validate(strict=True)
    except ValueError as error:
        names = re.findall(r"^- `(\w+)`", str(error), re.MULTILINE)
        return f"its {', '.join(names)} without effect" if names else str(error).partition("\n")[0]
    return None


@cache
def say_once(message: str) -> None:
    """Once a training, although its base is loaded again when updates are merged."""
    logger.info(message)
