"""The trainer of PRMs and ORMs on single solutions: transformers.Trainer with a loss that is exact."""

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from accelerate.utils import DistributedType
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Sampler, SequentialSampler
from transformers import EvalPrediction, Trainer, TrainingArguments

from prm_train.examples.batches import Collator, GroupSampler, filler
from prm_train.examples.examples import Example
from prm_train.examples.unlabeled import UNLABELED
from prm_train.metrics.validation import outcome_metrics, step_metrics
from prm_train.networks.heads import head_name
from prm_train.networks.packed_attention import use_packed_attention
from prm_train.training.losses import place_loss, step_logits
from prm_train.training.settings import LossSettings


class RewardTrainer(Trainer):
    """Trains a network of `build_scorer` on examples.

    Differences from Trainer: an optimizer step takes `per_device_train_batch_size` rows of each process,
    which the collator cuts into forward passes (`gradient_accumulation_steps` is 1); the loss is a sum over
    labeled places divided by their number in the whole step (Trainer's own loss of these heads grows with
    accumulation and processes); an optional learning rate of the head; validation compares only labeled
    places, over the whole validation set at once. Raises ValueError on several GPUs in one process.
    """

    def __init__(
        self,
        model: Any,
        arguments: TrainingArguments,
        collator: Collator,
        training: Sequence[Example],
        validation: Sequence[Example],
        loss: LossSettings,
        head_learning_rate: float | None = None,
    ) -> None:
        if arguments.n_gpu > 1:
            command = f"accelerate launch -m prm_train.train_{collator.kind}"
            raise ValueError(
                f"{arguments.n_gpu} GPUs in one process, expected one process a GPU: start with `{command}`"
            )
        if arguments.gradient_accumulation_steps != 1:
            raise ValueError(
                f"gradient_accumulation_steps: got {arguments.gradient_accumulation_steps}, expected 1: the "
                "collator cuts a step"
            )
        self.kind = collator.kind
        self.head_learning_rate = head_learning_rate
        self.place_loss = place_loss(loss)
        self.validation = sorted(validation, key=lambda example: len(example.input_ids))
        model.config.use_cache = False  # with a cache, packed rows would attend to each other
        if collator.batching.is_packed:
            use_packed_attention(model, arguments.device)  # the model goes there below
        super().__init__(
            model=model,
            args=arguments,
            data_collator=collator,
            train_dataset=[*training, filler(training[0])] if arguments.world_size > 1 else training,
            eval_dataset=self.validation or None,
            compute_loss_func=self.step_loss,  # makes Trainer count the labels of the step over all processes
            compute_metrics=self.metrics,
        )

    def place_logits(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        """Log-odds of the score, of the shape of the labels: (B, T) for a PRM, (B, 1) for an ORM."""
        outputs = model(
            **{name: tensor for name, tensor in batch.items() if name in ("input_ids", "position_ids")}
        )
        return step_logits(outputs.logits) if self.kind == "prm" else outputs.logits

    def step_loss(self, model: Any, batch: dict[str, Tensor], n_labeled: Tensor) -> Tensor:
        """The share of one forward pass in the loss of the optimizer step, whose labels on all processes are
        `n_labeled`.
        """
        logits, labels = self.place_logits(model, batch), batch["labels"]
        row_sizes = row_label_counts(labels, batch.get("position_ids"))
        is_labeled = labels != UNLABELED

        # A loss in bfloat16 would round away what close scores differ by.
        logits = logits[is_labeled].to(torch.promote_types(logits.dtype, torch.float32))
        targets, weights = labels[is_labeled].to(logits.dtype), batch["weights"][is_labeled].to(logits.dtype)
        return self.place_loss(logits, targets, weights, n_labeled, row_sizes)

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Tensor | None = None
    ) -> Tensor:
        """Forward and backward of every pass of the step; gradients are exchanged with the last one."""
        model.train()
        inputs = self._prepare_inputs(inputs)
        batches, n_processes = self._same_number_everywhere(inputs["batches"]), self.accelerator.num_processes
        assert num_items_in_batch is not None  # counted since there is a compute_loss_func

        # Each pass has the share of its labels in those of the whole step, so gradients are to be added up.
        # DDP averages them over the processes, hence the factor n_processes; DeepSpeed would divide by the
        # number of passes, hence scale_wrt_gas.
        options = {"scale_wrt_gas": False} if self.is_deepspeed_enabled else {}
        total = torch.zeros((), device=self.args.device)

        for index, batch in enumerate(batches):
            is_last = index == len(batches) - 1
            self.accelerator.gradient_state._set_sync_gradients(is_last)
            with (
                contextlib.nullcontext() if is_last else self.accelerator.no_sync(model),
                self.compute_loss_context_manager(),
            ):
                loss = self.step_loss(model, batch, num_items_in_batch) * n_processes
                self.accelerator.backward(loss, **options)
            total = total + loss.detach()
        return total

    def _same_number_everywhere(self, batches: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        """Where weights are spread over processes, all must make equally many passes: one that has fewer adds
        its first row, unlabeled.
        """
        spread = (DistributedType.DEEPSPEED, DistributedType.FSDP)
        if self.accelerator.distributed_type not in spread or self.accelerator.num_processes == 1:
            return batches
        n_batches = int(self.accelerator.gather(torch.tensor([len(batches)], device=self.args.device)).max())
        first = {name: tensor[:1] for name, tensor in batches[0].items()}
        empty = first | {"labels": torch.full_like(first["labels"], UNLABELED)}
        return [empty] * (n_batches - len(batches)) + batches

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Of forward and backward: 6 a parameter and token, padding included."""
        n_tokens = sum(batch["input_ids"].numel() for batch in inputs["batches"])
        return int(6 * n_tokens * sum(parameter.numel() for parameter in self.model.parameters()))

    def prediction_step(
        self,
        model: Any,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, Tensor, Tensor]:
        """Logits and targets of the labeled places (B, S). No loss: a mean of batch means is not the loss,
        `metrics` computes that.
        """
        found: list[tuple[Tensor, Tensor]] = []
        own = self._prepare_inputs(inputs)["batches"]
        batches = self._same_number_everywhere(own)
        for index, batch in enumerate(batches):
            with torch.no_grad():
                logits = self.place_logits(model, batch)
            # The passes before these are fillers of `_same_number_everywhere`
            if index >= len(batches) - len(own):
                found += labeled_places(logits, batch["labels"], batch.get("position_ids"))
        logits = pad_sequence([logits for logits, _ in found], batch_first=True)
        return (
            None,
            logits,
            pad_sequence([labels for _, labels in found], batch_first=True, padding_value=UNLABELED),
        )

    def metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """Of the whole validation set: see `prm_train.metrics.validation`."""
        is_labeled = prediction.label_ids != UNLABELED
        logits = [row[places] for row, places in zip(prediction.predictions, is_labeled, strict=True)]
        if self.kind == "prm":
            return step_metrics(logits, self.validation)
        return outcome_metrics(
            np.concatenate(logits),
            prediction.label_ids[:, 0],
            [example.question for example in self.validation],
        )

    def validation_logits(self) -> tuple[list[np.ndarray], list[Example]]:
        """The logits of the validation examples' places (S,) each, and the examples, on every process
        alike.
        """
        return self.logits_of(self.validation), self.validation

    def logits_of(self, examples: Sequence[Example]) -> list[np.ndarray]:
        """The logits of the examples' places, (S,) each. All processes must call it with the same examples.

        It leaves no trace in training: random states are as before.
        """
        order = sorted(range(len(examples)), key=lambda i: len(examples[i].input_ids))
        self.compute_metrics: Any = None  # `metrics` knows the validation examples alone
        try:
            with torch.random.fork_rng(devices=[]):  # a loader draws a number; dropout is off
                loader = self.get_test_dataloader([examples[i] for i in order])
                found = self.evaluation_loop(loader, "scoring", prediction_loss_only=False)
        finally:
            self.compute_metrics = self.metrics
        rows = {i: row[: len(examples[i].targets)] for i, row in zip(order, found.predictions, strict=True)}
        return [rows[i] for i in range(len(examples))]

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW as Trainer makes it; the head's parameters move to a group of their own where they have their
        own rate.
        """
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if is_new and self.head_learning_rate is not None:
            head_at_its_rate(optimizer, self.model, self.head_learning_rate)
        return optimizer

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler:
        n_processes = self.args.world_size
        # On several processes __init__ has put a filler behind the examples, which the sampler takes where a
        # group is not whole.
        examples = self.train_dataset[:-1] if n_processes > 1 else self.train_dataset
        lengths = [len(example.input_ids) for example in examples]
        return GroupSampler(lengths, self.args.train_batch_size * n_processes, self.args.seed, n_processes)

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler:
        """In order (they are sorted by length): `metrics` pairs predictions with examples."""
        return SequentialSampler(eval_dataset)


def head_at_its_rate(optimizer: torch.optim.Optimizer, model: Any, learning_rate: float) -> None:
    """Move the head's parameters to a group of their own, without weight decay."""
    name_of_head = head_name(model)
    head = {id(parameter) for name, parameter in model.named_parameters() if name_of_head in name.split(".")}
    taken = []
    for group in optimizer.param_groups:
        taken += [parameter for parameter in group["params"] if id(parameter) in head]
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in head]
    optimizer.add_param_group({"params": taken, "lr": learning_rate, "weight_decay": 0.0})


def labeled_places(
    values: Tensor, labels: Tensor, position_ids: Tensor | None
) -> list[tuple[Tensor, Tensor]]:
    """For each row, the values and labels of its labeled places: (S,) each, of (B, T), or of the rows packed
    into (1, T).
    """
    is_labeled, sizes = labels != UNLABELED, row_label_counts(labels, position_ids)
    return list(zip(values[is_labeled].split(sizes), labels[is_labeled].split(sizes), strict=True))


def row_label_counts(labels: Tensor, position_ids: Tensor | None) -> list[int]:
    """How many labels each row has; a packed row begins where its position is 0."""
    is_labeled = labels != UNLABELED
    if position_ids is None:
        counts: list[int] = is_labeled.sum(1).tolist()
        return counts
    row = (position_ids[0] == 0).cumsum(0) - 1
    return torch.bincount(row[is_labeled[0]], minlength=int(row[-1]) + 1).tolist()
