"""What is checked of a base model before it is trained, so that hours of training cannot end in a checkpoint
that is of no use.

`max_length` and `say_dropout`: what the base's config limits or brings along.

`check_before_training`: all that a checkpoint holds but its weights is written once and read back.
`check_rows_apart`: what the model says of a row does not depend on the rows beside it. What makes it so:
attention in both directions, which sees padding that no mask hides (trainings here pass none), and layers
that carry a state from token to token (linear attention, state-space models), or let a packed row see the end
of the one before it.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from data_gen.models.forward_settings import context_length, short_length
from data_gen.policies.engine.rounding import is_same_but_for_rounding
from data_gen.records.chats import Message
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import Kind
from prm_train.encoding.paths import ScorerEncoding
from prm_train.examples.examples import Example
from prm_train.kinds.lookup import kind_named
from prm_train.kinds.paths import ScoredPath
from prm_train.networks.special_ids import check_padding
from prm_train.publishing.publishable import PROBES, check_publishable
from prm_train.training.settings import PackingSettings, TrainingConfig, is_packed

logger = logging.getLogger(__name__)
N_CHECKED = 64  # tokens of a row


def max_length(config: TrainingConfig, model: Any) -> int:
    """The most tokens of a row: `config.max_length`, or the model's context where that is shorter, or the
    part of it that LongRoPE reads with its short factors: a longer row would change what the rows beside it
    mean.
    """
    context, border = context_length(model.config), short_length(model.config)
    if context < config.max_length:
        logger.info(
            "%s: its context of %d tokens is shorter than max_length %d",
            config.model,
            context,
            config.max_length,
        )
    if border is not None and border < config.max_length:
        logger.info(
            "%s: rows are of %d tokens at most, since beyond that LongRoPE rotates all of a batch otherwise",
            config.model,
            border,
        )
    return min(context, config.max_length, border or context)


def say_dropout(config: TrainingConfig, model: Any) -> None:
    """A base's own dropout, which no setting of ours has chosen."""
    values = model.config.get_text_config().to_dict()
    of_base = {
        name: p
        for name, p in values.items()
        if name.endswith(("dropout", "pdrop")) and isinstance(p, float) and p > 0
    }
    for name in (
        "classifier_dropout",
        "summary_first_dropout",
        *(["attention_dropout"] if config.backbone_dropout else []),
    ):
        of_base.pop(name, None)
    if of_base:
        shown = ", ".join(f"{name} {p:g}" for name, p in of_base.items())
        logger.info(
            "%s: its config has %s: losses while training are random ones, others for packed rows than for "
            "padded",
            config.model,
            shown,
        )


@torch.no_grad()
def check_rows_apart(model: Any, examples: Sequence[Example], config: TrainingConfig) -> None:
    """Compare the hidden states of rows alone, with other tokens behind them and, if rows are packed, behind
    another row.

    Dropout is off meanwhile. Raises InputError where they differ. Not under ZeRO stage 3, whose models cannot
    run before training.
    """
    if is_deepspeed_zero3_enabled():
        return
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    # Both fit together
    n_tokens = min(N_CHECKED, (short_length(plain.config) or context_length(plain.config)) // 2)
    first, second = ([*example.input_ids[:n_tokens]] for example in (examples[0], examples[-1]))
    positions = torch.tensor([*range(len(first)), *range(len(second))], device=plain.device)
    if is_packed(config):
        _check_room(plain, config)
    was_training = model.training
    model.eval()
    with torch.autocast(plain.device.type, torch.bfloat16, enabled=config.bf16_autocast):
        others = first[:1] * len(second)
        if not _is_same(
            _states(plain, first + second)[: len(first)], _states(plain, first + others)[: len(first)], config
        ):
            raise InputError(
                f"model {config.model}: what it says of a token depends on tokens behind it, so on padding, "
                "too; expected a causal "
                "language model"
            )
        if is_packed(config) and not _is_same(
            _states(plain, first + second, positions)[len(first) :], _states(plain, second), config
        ):
            raise InputError(
                f"packing: got true with model {config.model}, in which a packed row depends on the row "
                "before it (its layers carry a "
                "state from token to token, or their attention does not mind where a row begins); expected "
                "false"
            )
    model.train(was_training)


def _check_room(model: Any, config: PackingSettings) -> None:
    """Some attention code of its own (GPT-Neo) holds a mask of the context's size, and fails in a pass of
    more tokens.
    """
    context, n_tokens = (
        context_length(model.config),
        config.batch_tokens or config.batch_size * config.max_length,
    )
    if n_tokens > context and any(buffer.shape[-2:] == (context, context) for buffer in model.buffers()):
        raise InputError(
            f"packing: got true with model {config.model}, whose attention takes passes of {context} tokens "
            f"at most, and up to {n_tokens} "
            "in a pass; expected false, or smaller batch_tokens and max_length"
        )


def _states(model: Any, token_ids: list[int], positions: Tensor | None = None) -> Tensor:
    """Of the backbone (T, H), since a new head says little; logits (T, V) of a language model that hides its
    backbone.
    """
    inputs = {} if positions is None else {"position_ids": positions[None]}
    ids = torch.tensor([token_ids], device=model.device)
    states: Tensor = model.base_model(input_ids=ids, use_cache=False, **inputs)[0][0]
    return states


def _is_same(states: Tensor, wanted: Tensor, config: TrainingConfig) -> bool:
    return is_same_but_for_rounding(
        states, wanted, torch.bfloat16 if config.bf16_autocast else getattr(torch, config.dtype)
    )


def check_before_training(
    model: Any, encoding: ScorerEncoding, kind: Kind, questions: Sequence[str], config: TrainingConfig
) -> None:
    """Write all of a checkpoint but its weights, and check that. Raises InputError naming the base, as
    `check_publishable`.

    A tokenizer with code of its own is not loaded again: `publish` takes none.
    """
    source = f"model {config.model}"
    if config.trust_remote_code:
        check_padding(model.config, source)
        return
    paths = [ScoredPath((Message("user", text),), (text,)) for text in (*PROBES, *questions)]
    with TemporaryDirectory() as name:
        model.config.save_pretrained(name)
        encoding.tokenizer.save_pretrained(name)
        check_publishable(Path(name), model.config, encoding, kind_named(kind), paths, source, "trained")
