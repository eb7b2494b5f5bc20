"""Make the base policy of the built-in task from nothing: `python -m data_gen.pretrain --output models/base`.

A Qwen2 network imitates the documents of `data_gen.problems.arithmetic.rules`, mistakes included. Writes the
model, the tokenizer and `pretraining.json` (configuration, cost, loss curve, accuracy of the most likely
result per operation). The same command goes on where it was broken off.
"""

import json
import logging
import random
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, get_wsd_schedule, set_seed

from data_gen.files.locks import lock
from data_gen.files.run_identity import claim_run
from data_gen.files.stored_record import StoredRecord
from data_gen.models.names import check_device
from data_gen.models.pretraining_checkpoint import (
    PretrainingPoint,
    PretrainingProgress,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)
from data_gen.models.tokenizer import train_tokenizer
from data_gen.problems.arithmetic import rules
from data_gen.records.draw_keys import derive_seed
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PretrainConfig:
    """Defaults make the policy that ships with the project."""

    seed: int = 0
    n_steps: int = 6000
    documents_per_batch: int = 32  # larger batches learn more slowly per token
    # The only operation in the text, to measure what a network can learn; empty: all of the task
    operation: str = ""
    p_chain: float = 0.25  # share of the batches whose documents hold earlier attempts
    max_earlier_attempts: int = 4
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    n_warmup_steps: int = 100
    decay_share: float = 0.5  # share of the steps, at the end, in which the learning rate falls to 0
    hidden_size: int = 96
    n_layers: int = 4
    n_heads: int = 3
    n_kv_heads: int = 1
    intermediate_size: int = 256
    vocab_size: int = 352
    context_length: int = 2048
    device: str = "cpu"

    @property
    def levels(self) -> tuple[dict[str, float], ...]:
        """Which operations the chains of the text draw from."""
        return ({self.operation: 1.0},) if self.operation else rules.LEVELS


@dataclass(frozen=True)
class PretrainingCost:
    n_parameters: int
    n_tokens: int
    wall_seconds: int
    cpu_seconds: int


@dataclass(frozen=True)
class PretrainingReport(StoredRecord):
    """pretraining.json; `operation_accuracy` is that of the most likely result, by operation."""

    WRITTEN_BY = "data_gen.pretrain"

    config: PretrainConfig
    cost: PretrainingCost
    operation_accuracy: Mapping[str, float]
    loss_curve: tuple[PretrainingPoint, ...]


def documents(config: PretrainConfig) -> Iterator[list[list[dict[str, str]]]]:
    """Endless batches of chats; the documents of a batch hold as many attempts of as many operations, so
    there is little padding.
    """
    rng = random.Random(derive_seed(config.seed, "pretrain"))
    while True:
        n_earlier = rng.randint(1, config.max_earlier_attempts) if rng.random() < config.p_chain else 0
        n_operations, batch = rng.randint(rules.MIN_OPERATIONS, rules.MAX_OPERATIONS), []
        for _ in range(max(1, config.documents_per_batch // (n_earlier + 1))):
            question, attempts = rules.draw_document(rng, n_operations, n_earlier, config.levels)
            chat = []
            for attempt in attempts:
                chat += [{"role": "user", "content": question}, {"role": "assistant", "content": attempt}]
            batch.append(chat)
        yield batch


def encode_batch(
    tokenizer: PreTrainedTokenizerFast, chats: list[list[dict[str, str]]]
) -> dict[str, torch.Tensor]:
    """input_ids and labels (B, T), padded on the right; only what the assistant writes is learnt.

    Causal attention never looks at padding on the right, so the model needs no attention mask.
    """
    batch = tokenizer.apply_chat_template(
        chats,
        return_dict=True,
        return_assistant_tokens_mask=True,
        padding=True,
        tokenizer_kwargs={"padding_side": "right"},
    )
    input_ids = torch.tensor(batch["input_ids"])
    labels = torch.where(torch.tensor(batch["assistant_masks"]).bool(), input_ids, -100)
    return {"input_ids": input_ids, "labels": labels}


def build_model(config: PretrainConfig, tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            num_hidden_layers=config.n_layers,
            num_attention_heads=config.n_heads,
            num_key_value_heads=config.n_kv_heads,
            intermediate_size=config.intermediate_size,
            max_position_embeddings=config.context_length,
            tie_word_embeddings=True,
            initializer_range=0.05,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )


@torch.inference_mode()
def operation_accuracy(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    levels: Sequence[dict[str, float]],
    seed: int = 1,
    n_attempts: int = 4000,
) -> dict[str, float]:
    """Share of operations whose right line is the most likely one, without and (`*_misconception`) in
    misconception contexts.

    Read from one forward pass over right solutions: greedy decoding writes a line exactly when it is the
    argmax at each of its tokens.
    """
    rng = random.Random(derive_seed(seed, "operation accuracy"))
    hits: dict[str, list[bool]] = defaultdict(list)
    (newline,) = tokenizer.encode("\n")
    for _ in range(n_attempts // 50):
        chains = [rules.draw_chain(rng, levels=levels) for _ in range(50)]
        texts = [rules.solution_text(chain, chain.totals()) for chain in chains]
        chats = [
            [{"role": "user", "content": chain.question()}, {"role": "assistant", "content": text}]
            for chain, text in zip(chains, texts, strict=True)
        ]
        batch = encode_batch(tokenizer, chats)
        labels = batch.pop("labels")[:, 1:]
        is_argmax = model(**batch).logits[:, :-1].argmax(-1) == labels
        for chain, row_labels, row_hits in zip(chains, labels, is_argmax, strict=True):
            start = int((row_labels != -100).nonzero()[0])
            ends = (row_labels == newline).nonzero().flatten().tolist()
            for (name, operands), v, end in zip(
                chain.operations, [chain.start, *chain.values()][:-1], ends, strict=True
            ):
                kind = name + "_misconception" * (
                    len(operands) == 1 and rules.is_misconception_context(name, v, operands[0])
                )
                hits[kind].append(bool(row_hits[start : end + 1].all()))
                start = end + 1
    return {name: round(sum(values) / len(values), 3) for name, values in sorted(hits.items())}


def pretrain(
    config: PretrainConfig, output: Path, n_steps_per_checkpoint: int = 200, n_attempts: int = 4000
) -> None:
    """Make the policy; where an earlier call was broken off, go on from its last checkpoint in
    `output/training`, to the same weights. Raises InputError where that one had another config, or is still
    at work, and where there is no such device.
    """
    check_device(config.device)
    folder = output / "training"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    with path.open("w") as held:
        if not lock(held.fileno(), path):
            raise InputError(
                f"output {output}: another pretraining is at work in this folder; expected one at a time, or "
                "a folder for each"
            )
        claim_run(folder, config, is_begun=newest_checkpoint(folder) is not None)
        make_policy(config, output, folder, n_steps_per_checkpoint, n_attempts)
        shutil.rmtree(folder)


def make_policy(
    config: PretrainConfig, output: Path, folder: Path, n_steps_per_checkpoint: int, n_attempts: int
) -> None:
    """Write model, tokenizer and pretraining.json; `folder` holds the checkpoints, the accuracies are from
    `n_attempts` solutions.
    """
    set_seed(config.seed)
    stream = documents(config)
    sample_texts = [message["content"] for _ in range(60) for chat in next(stream) for message in chat]
    tokenizer = train_tokenizer(sample_texts, config.vocab_size, config.context_length)
    model = build_model(config, tokenizer)
    model.to(config.device)
    progress = train(config, model, tokenizer, stream, folder, n_steps_per_checkpoint)
    model.cpu().eval()
    cost = PretrainingCost(
        model.num_parameters(),
        progress.n_tokens,
        wall_seconds=round(progress.wall_seconds),
        cpu_seconds=round(progress.cpu_seconds),
    )
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    accuracy = operation_accuracy(model, tokenizer, config.levels, n_attempts=n_attempts)
    report = PretrainingReport(config, cost, accuracy, progress.loss_curve)
    report.write(output / "pretraining.json")
    logger.info("wrote %s: %s", output, json.dumps(report.operation_accuracy))


def train(
    config: PretrainConfig,
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    stream: Iterator[list[list[dict[str, str]]]],
    folder: Path,
    n_steps_per_checkpoint: int,
) -> PretrainingProgress:
    """All steps, or those after the checkpoint in `folder`, whose documents are drawn again and left out."""
    optimizer = torch.optim.AdamW(
        [{"params": list(model.parameters()), "initial_lr": config.learning_rate}],
        lr=config.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=config.weight_decay,
    )
    checkpoint, done = newest_checkpoint(folder), PretrainingProgress()
    if checkpoint is not None:
        done = load_checkpoint(checkpoint, model, optimizer)
        logger.info("going on after step %d of %d", done.step, config.n_steps)
    schedule = get_wsd_schedule(
        optimizer,
        num_warmup_steps=config.n_warmup_steps,
        num_decay_steps=int(config.decay_share * config.n_steps),
        num_training_steps=config.n_steps,
        decay_type="linear",
        last_epoch=done.step - 1,
    )
    for _ in range(done.step):
        next(stream)
    started = time.perf_counter() - done.wall_seconds, time.process_time() - done.cpu_seconds
    curve, n_tokens, losses = [*done.loss_curve], done.n_tokens, [*done.losses]
    for step in range(done.step + 1, config.n_steps + 1):
        batch = encode_batch(tokenizer, next(stream))
        losses.append(update(model, optimizer, batch))
        schedule.step()
        n_tokens += int((batch["input_ids"] != tokenizer.pad_token_id).sum())
        seconds = time.perf_counter() - started[0], time.process_time() - started[1]
        if step % 200 == 0 or step == config.n_steps:
            curve.append(PretrainingPoint(step, round(sum(losses) / len(losses), 4), n_tokens))
            losses, rate = [], n_tokens / seconds[0]
            logger.info("step %d of %d: loss %.4f, %.0f tokens/s", step, config.n_steps, curve[-1].loss, rate)
        done = PretrainingProgress(step, n_tokens, tuple(losses), tuple(curve), *seconds)
        if step % n_steps_per_checkpoint == 0 or step == config.n_steps:
            save_checkpoint(folder, model, optimizer, done)
            logger.debug("checkpoint after step %d", step)
    return done


def update(model: Qwen2ForCausalLM, optimizer: torch.optim.AdamW, batch: dict[str, torch.Tensor]) -> float:
    """One step on a batch of `encode_batch`; its mean loss in nats per learnt token."""
    # only positions that predict an assistant token need their logits over the vocabulary
    input_ids, labels = (batch[name].to(model.device) for name in ("input_ids", "labels"))
    hidden = model.model(input_ids=input_ids, use_cache=False).last_hidden_state[:, :-1]  # (B, T-1, H)
    targets = labels[:, 1:]
    loss = cross_entropy(model.lm_head(hidden[targets != -100]), targets[targets != -100])
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


@dataclass(frozen=True, kw_only=True)
class PretrainCommand(PretrainConfig):
    """Make the base policy of the built-in task; the defaults make the one that ships with the project."""

    output: Path = field(metadata={"help": "folder for the model, its tokenizer and pretraining.json"})
    n_steps_per_checkpoint: int = field(
        default=200,
        metadata={"help": "updates between checkpoints, from which a run that was killed goes on"},
    )

    def __post_init__(self) -> None:
        if self.n_steps_per_checkpoint < 1:
            raise ValueError(f"n_steps_per_checkpoint is {self.n_steps_per_checkpoint}, expected at least 1")


def main(argv: Sequence[str] | None = None) -> None:
    command = parse_config(PretrainCommand, argv)
    pretrain(
        PretrainConfig(**{each.name: getattr(command, each.name) for each in fields(PretrainConfig)}),
        command.output,
        command.n_steps_per_checkpoint,
    )


if __name__ == "__main__":
    run_command(main, "pretrain")
