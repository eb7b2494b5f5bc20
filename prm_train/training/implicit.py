"""Implicit PRM: step rewards from outcome labels alone (Yuan et al. 2024, "Free process rewards without
process labels").

The reward of a text is how much likelier a trained policy finds it than the policy it was trained from, the
reference::

    reward(step) = beta * sum over the tokens of the step of  log pi(token | all before) - log pi_ref(token |
                                                              all before)

Rewards add up along a solution. Training (their cross-entropy variant) makes the sigmoid of a whole
solution's sum the probability that its answer is right; the sum up to a step is then a value of the prefix
(their proposition 3.1: an exponential average over its continuations), and what the step adds is its own
reward. So the score of a step is the sigmoid of the sum up to it (aggregation `last`), and
`ImplicitPrmTree.reward` gives what it adds.

A checkpoint is a causal language model with the reference beside it, in the folder `reference`; scoring runs
both. Tokens are those that a policy would write: the head, then the steps with their separators, no marker.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import TrainingArguments
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from data_gen.rows.layouts import OrmRow
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import Kind
from prm_train.encoding.paths import ScorerEncoding
from prm_train.examples.batches import Batching, Collator
from prm_train.examples.examples import Example, ExampleSet
from prm_train.kinds.implicit_prm import IMPLICIT_PRM, REFERENCE, ImplicitPrmFacts, TextEncoding
from prm_train.kinds.model_kind import ScorerOptions
from prm_train.metrics.ranking import sigmoid
from prm_train.networks.token_log_probs import token_log_probs
from prm_train.training.arguments import training_arguments
from prm_train.training.config import TrainImplicitPrmConfig
from prm_train.training.language_model import LanguageModelTraining, build_language_model
from prm_train.training.reward_trainer import RewardTrainer
from prm_train.training.settings import LossSettings


@dataclass(frozen=True)
class ImplicitPrmTraining(LanguageModelTraining):
    """An implicit PRM from whole solutions; its checkpoint has the reference beside it."""

    rows: Sequence[OrmRow]
    config: TrainImplicitPrmConfig
    kind: ClassVar[Kind] = "implicit_prm"

    def arguments(self) -> TrainingArguments:
        return training_arguments(self.config)

    def build(self) -> tuple[Any, ScorerEncoding]:
        """Raises InputError under ZeRO stage 3, whose models cannot run before training."""
        if is_deepspeed_zero3_enabled():
            raise InputError(
                "DeepSpeed ZeRO stage 3: the reference runs before training, when no model is whole; "
                "expected stage 2 or DDP"
            )
        model, encoding = build_language_model(self.config)
        return model, TextEncoding(encoding.tokenizer, encoding.facts)

    def examples(self, encoding: ScorerEncoding, max_length: int) -> ExampleSet:
        return implicit_examples(self.rows, encoding, max_length)

    def trainer(
        self,
        model: Any,
        arguments: Any,
        encoding: ScorerEncoding,
        training: Sequence[Example],
        validation: Sequence[Example],
    ) -> "ImplicitPrmTrainer":
        collator, bf16 = self._collator(encoding), self.config.bf16_autocast
        training, validation = (
            with_reference(rows, model, collator, arguments.device, bf16) for rows in (training, validation)
        )
        return ImplicitPrmTrainer(
            self.config.beta, model, arguments, collator, training, validation, LossSettings()
        )

    def _collator(self, encoding: ScorerEncoding) -> "ImplicitCollator":
        pad_id = encoding.tokenizer.pad_token_id or 0  # any id: no token that counts sees padding
        return ImplicitCollator("orm", pad_id, Batching(self.config.n_rows_at_most, self.config.batch_tokens))

    def facts(self, encoding: ScorerEncoding) -> ImplicitPrmFacts:
        return IMPLICIT_PRM.facts(encoding, self.config.beta)

    def trained_scores(self, trainer: Any, encoding: ScorerEncoding, rows: Sequence[Example]) -> list[float]:
        # The rows are examples as they were before `trainer` gave them their reference.
        known = {example.input_ids: example for example in (*trainer.train_dataset, *trainer.validation)}
        return super().trained_scores(trainer, encoding, [known[row.input_ids] for row in rows])

    def is_compared_exactly(self, trainer: Any) -> bool:
        # The reference of the rows was computed at the precision of the training
        return not self.config.bf16_autocast and super().is_compared_exactly(trainer)

    @torch.no_grad()
    def scores(self, model: Any, encoding: ScorerEncoding, rows: Sequence[Example]) -> list[float]:
        """The rows must know their reference (see `with_reference`)."""
        model.eval()
        device = next(model.parameters()).device
        logits: list[Tensor] = []
        for batch in self._collator(encoding)(rows)["batches"]:
            logits.append(
                log_odds(
                    model, {name: tensor.to(device) for name, tensor in batch.items()}, self.config.beta
                )[:, 0]
            )
        return torch.sigmoid(torch.cat(logits).double()).tolist()

    def write(self, model: Any, weights: Mapping[str, Tensor], encoding: ScorerEncoding) -> None:
        super().write(model, weights, encoding)
        reference, _ = build_language_model(replace(self.config, lora=None), is_for_training=False)
        reference.save_pretrained(self.config.output / REFERENCE)

    def scores_on_disk(self, encoding: ScorerEncoding, rows: Sequence[Example]) -> list[float]:
        dtype = "float64" if self.config.dtype == "float64" else "float32"
        scorer = IMPLICIT_PRM.load_scorer(str(self.config.output), ScorerOptions(dtype))
        ends = [(len(encoding.encode_head(row.question)), len(row.input_ids)) for row in rows]
        logits = [scorer.rewards(row.input_ids, each)[0] for row, each in zip(rows, ends, strict=True)]
        return sigmoid(logits).tolist()


# --- the rows, each with its log-probability under the reference


@dataclass(frozen=True)
class ImplicitExample(Example):
    """The first `n_head` ids are the question; `reference` is the log-probability of the rest under the
    reference.
    """

    n_head: int = 0
    reference: float = 0.0


@dataclass(frozen=True)
class ImplicitCollator(Collator):
    """An ORM's batch, and (B, 1) each of `n_head`, `n_tokens` (without padding) and `reference`."""

    def _padded(self, batch: Sequence[Any]) -> dict[str, Tensor]:
        return super()._padded(batch) | {
            "n_head": torch.tensor([[example.n_head] for example in batch]),
            "n_tokens": torch.tensor([[len(example.input_ids)] for example in batch]),
            "reference": torch.tensor([[example.reference] for example in batch], dtype=torch.float64),
        }


def implicit_examples(rows: Sequence[OrmRow], encoding: ScorerEncoding, max_length: int) -> ExampleSet:
    """One example a row. Raises InputError if no row is left; a row longer than `max_length` tokens is left
    out.
    """
    found = IMPLICIT_PRM.examples(rows, encoding, max_length)
    examples = [
        ImplicitExample(**vars(example), n_head=len(encoding.encode_head(example.question)))
        for example in found.examples
    ]
    return ExampleSet(tuple(examples), found.left_out)


def solution_log_probs(model: Any, batch: Mapping[str, Tensor]) -> Float[Tensor, "batch 1"]:
    """log p(solution | question) of each row."""
    input_ids, n_head = batch["input_ids"], batch["n_head"]
    n_kept = input_ids.shape[1] - int(n_head.min()) + 1  # logits of the questions are of no use
    log_probs = token_log_probs(model(input_ids=input_ids, logits_to_keep=n_kept).logits, input_ids)  # (B, T)
    columns = torch.arange(input_ids.shape[1], device=input_ids.device)
    is_solution = (columns >= n_head) & (columns < batch["n_tokens"])
    return (log_probs * is_solution).sum(1, keepdim=True)


def log_odds(model: Any, batch: Mapping[str, Tensor], beta: float) -> Float[Tensor, "batch 1"]:
    """The sum of the rewards of each row's solution: the log-odds that its answer is right."""
    return beta * (solution_log_probs(model, batch) - batch["reference"])


# --- the trainer


class ImplicitPrmTrainer(RewardTrainer):
    """Binary cross-entropy of the sum of a solution's rewards: all else is as for an ORM. The examples know
    their reference.
    """

    def __init__(self, beta: float, *arguments: Any) -> None:
        self.beta = beta
        super().__init__(*arguments)
        # Trainer would count a language model's labels without the first, which is a row here
        self._loss_shifts_labels = False

    def place_logits(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        return log_odds(model, batch, self.beta)


@torch.no_grad()
def with_reference(
    examples: Sequence[Example], model: Any, collator: Collator, device: torch.device, bf16_autocast: bool
) -> list[Example]:
    """The examples with their log-probabilities under `model`, which is not trained yet; in their order.
    Every process computes all.

    `bf16_autocast` as in the training, whose rounding a log-ratio would hold otherwise.
    """
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].input_ids))
    model.to(device).eval()
    found: list[float] = []
    for batch in collator([examples[i] for i in order])["batches"]:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16_autocast):
            found += solution_log_probs(model, {name: tensor.to(device) for name, tensor in batch.items()})[
                :, 0
            ].tolist()
    by_place = dict(zip(order, found, strict=True))
    return [replace(example, reference=by_place[i]) for i, example in enumerate(examples)]  # type: ignore[call-arg]
