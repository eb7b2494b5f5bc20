"""TRL's SFTTrainer on rows of ids and labels, as policies, revision models and generative verifiers train on
them, and its arguments.

What differs from TRL: an optimizer step sees the rows that it sees in the trainings of scorers, for every cut
into batches and processes. TRL's own loader repeats rows at the end of an epoch until the last batches of all
processes are whole; here they are filled up with a row that has no label. The loss needs no more: it is a sum
over labeled tokens divided by their number in the whole step, and nothing else (TRL adds a loss of the
routers of experts where there are any; no other training here has one).
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import AutoModelForCausalLM
from trl import SFTConfig, SFTTrainer

from data_gen.models.pretrained import load_model
from prm_train.checkpoints.facts import Kind
from prm_train.encoding.paths import ScorerEncoding
from prm_train.examples.batches import GroupSampler
from prm_train.examples.examples import Example
from prm_train.examples.unlabeled import UNLABELED
from prm_train.training.arguments import trl_arguments
from prm_train.training.language_model import LanguageModelTraining, build_language_model

Rows = Sequence[dict[str, list[int]]]


class SftTraining(LanguageModelTraining):
    """What the trainings share that `GroupedSFTTrainer` makes."""

    def arguments(self) -> SFTConfig:
        return trl_arguments(self.config, SFTConfig)


class ScoredByTokens(SftTraining):
    """The training of a model that writes whole solutions, the next of a chain or the first: none of its
    numbers is a score, so what is compared of memory and disk is how likely it finds the tokens it learnt.
    """

    kind: ClassVar[Kind] = "revision"

    def build(self) -> tuple[Any, ScorerEncoding]:
        return build_language_model(self.config)

    def scores(self, model: Any, encoding: ScorerEncoding, rows: Sequence[Example]) -> list[float]:
        return token_probabilities(model, rows)

    def scores_on_disk(self, encoding: ScorerEncoding, rows: Sequence[Example]) -> list[float]:
        dtype = torch.float64 if self.config.dtype == "float64" else torch.float32
        path, trusted = str(self.config.output), self.config.trust_remote_code
        return token_probabilities(
            load_model(AutoModelForCausalLM, path, dtype=dtype, trust_remote_code=trusted), rows
        )


class GroupedSFTTrainer(SFTTrainer):
    """Trains a causal language model on `{"input_ids": ..., "labels": ...}`, whose labels are UNLABELED where
    nothing is learnt.
    """

    def __init__(
        self, model: Any, arguments: SFTConfig, tokenizer: Any, training: Rows, validation: Rows
    ) -> None:
        self.lengths = [len(row["input_ids"]) for row in training]
        filler = [{"input_ids": training[0]["input_ids"][:1], "labels": [int(UNLABELED)]}] * (
            arguments.world_size > 1
        )
        # Of experts: TRL would add a loss that is no sum over labeled tokens, if the model has one
        arguments.router_aux_loss_coef = 0.0
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list([*training, *filler]),
            eval_dataset=Dataset.from_list(list(validation)) if validation else None,
            processing_class=tokenizer,
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler:
        n_processes = self.args.world_size
        group_size = self.args.train_batch_size * self.args.gradient_accumulation_steps * n_processes
        return GroupSampler(self.lengths, group_size, self.args.seed, n_processes)


@torch.no_grad()
def token_probabilities(model: Any, rows: Sequence[Example]) -> list[float]:
    """The probability of each token of the answers, given all before it."""
    model.eval()
    device = next(model.parameters()).device
    found: list[float] = []
    for row in rows:
        ids = torch.tensor([row.input_ids], device=device)
        before = [position - 1 for position in row.positions]
        probabilities = model(input_ids=ids).logits[0, before].double().softmax(-1)
        found += probabilities.gather(1, ids[0, list(row.positions)][:, None])[:, 0].tolist()
    return found
