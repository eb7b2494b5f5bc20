"""RewardTrainer: transformers.Trainer for PRMs and ORMs, with a loss that is exact and metrics on the labelled places only."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler, SequentialSampler
from transformers import EvalPrediction, Trainer, TrainingArguments

from prm_train.checkpoints import Kind
from prm_train.collators import GroupSampler, OutcomeCollator, StepCollator
from prm_train.evaluation.estimators import expected_calibration_error, reliability_bins
from prm_train.examples import Example
from prm_train.losses import UNLABELLED, binary_cross_entropy, step_logits
from prm_train.metrics import auroc, brier, within_problem_auroc


class RewardTrainer(Trainer):
    """Trains a network of `build_scorer` on examples.

    Differences from Trainer: batches as `GroupSampler` makes them; the loss is a sum over labelled places divided by their number in the
    whole optimizer step (Trainer's own loss of these heads grows with accumulation and processes); an optional learning rate of the head;
    validation compares only labelled places, over the whole validation set at once. Raises ValueError on several GPUs in one process.
    """

    def __init__(
        self,
        kind: Kind,
        model: Any,
        arguments: TrainingArguments,
        pad_id: int,
        training: Sequence[Example],
        validation: Sequence[Example],
        head_learning_rate: float | None = None,
    ) -> None:
        if arguments.n_gpu > 1:
            command = f"accelerate launch -m prm_train.train_{kind}"
            raise ValueError(f"{arguments.n_gpu} GPUs in one process, expected one process a GPU: start with `{command}`")
        self.kind = kind
        self.head_learning_rate = head_learning_rate
        self.validation = sorted(validation, key=lambda example: len(example.input_ids))
        model.config.use_cache = False
        super().__init__(
            model=model,
            args=arguments,
            data_collator=StepCollator(pad_id) if kind == "prm" else OutcomeCollator(pad_id),
            train_dataset=training,
            eval_dataset=self.validation or None,
            compute_loss_func=self.loss,
            compute_metrics=self.metrics,
        )

    def place_logits(self, outputs: Any) -> Tensor:
        """Logits of the score, of the shape of the labels: (B, T) for a PRM, (B, 1) for an ORM."""
        return step_logits(outputs.logits) if self.kind == "prm" else outputs.logits

    def loss(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor) -> Tensor:
        """`num_items_in_batch` counts the labels of all accumulated batches of all processes; Trainer sums what this returns over them."""
        return binary_cross_entropy(self.place_logits(outputs), labels, num_items_in_batch)

    def prediction_step(
        self, model: Any, inputs: dict[str, Tensor], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[None, Tensor, Tensor]:
        """Logits and targets of the labelled places (B, S). No loss: a mean of batch means is not the loss, `metrics` computes that."""
        inputs = self._prepare_inputs(inputs)
        labels = inputs.pop("labels")
        with torch.no_grad():
            logits = self.place_logits(model(**inputs))
        return (None, *gather_labelled(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels))

    def metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """Of the whole validation set. Soft targets count as positive for AUROC from 0.5 up."""
        is_labelled = prediction.label_ids != UNLABELLED
        logits, targets = prediction.predictions[is_labelled], prediction.label_ids[is_labelled]
        questions = [example.question for example, row in zip(self.validation, is_labelled, strict=True) for _ in range(row.sum())]
        return validation_metrics(logits, targets, questions, "step_" if self.kind == "prm" else "")

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW as Trainer makes it; the head's parameters move to a group of their own where they have their own rate."""
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if is_new and self.head_learning_rate is not None:
            head = {id(parameter) for name, parameter in self.model.named_parameters() if "score" in name.split(".")}
            taken = []
            for group in optimizer.param_groups:
                taken += [parameter for parameter in group["params"] if id(parameter) in head]
                group["params"] = [parameter for parameter in group["params"] if id(parameter) not in head]
            optimizer.add_param_group({"params": taken, "lr": self.head_learning_rate, "weight_decay": 0.0})
        return optimizer

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler:
        lengths = [len(example.input_ids) for example in self.train_dataset]
        n_rows = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return GroupSampler(lengths, n_rows, self.args.seed)

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler:
        """In order (they are sorted by length): `metrics` pairs predictions with examples."""
        return SequentialSampler(eval_dataset)


def gather_labelled(values: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The values and labels of the labelled places of each row, moved to the front: (B, S) of (B, T), S the most labels of a row."""
    is_labelled = labels != UNLABELLED
    n_places = int(is_labelled.sum(1).max())
    order = (~is_labelled).int().argsort(dim=1, stable=True)[:, :n_places]
    return values.gather(1, order), labels.gather(1, order)


def validation_metrics(logits: np.ndarray, targets: np.ndarray, questions: Sequence[str], prefix: str) -> dict[str, float]:
    """loss (nats), AUROC over all places and within a question, Brier score, calibration error; AUROCs only where both kinds occur."""
    scores = 1 / (1 + np.exp(-logits.astype(float)))
    loss = np.logaddexp(0, logits.astype(float)) - targets * logits
    is_positive = targets >= 0.5
    found = {
        f"{prefix}auroc": auroc(scores, is_positive),
        f"{prefix}within_problem_auroc": within_problem_auroc(list(scores), list(is_positive), questions),
        f"{prefix}brier": brier(scores, targets),
        f"{prefix}ece": expected_calibration_error(reliability_bins(scores, targets)),
        "loss": float(loss.mean()),
        "n_labels": len(targets),
    }
    return {name: value for name, value in found.items() if value is not None}
