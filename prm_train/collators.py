"""Examples → batches: which examples go together, and how they are padded (on the right).

No attention mask: attention is causal, so no position that is read looks at padding on its right. The logits are the same, and torch's
attention need not read a mask.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Sampler

from data_gen.records import derive_seed
from prm_train.examples import Example
from prm_train.losses import UNLABELLED


@dataclass(frozen=True)
class StepCollator:
    """For a PRM: `labels` (B, T) hold a target at the labelled step positions and UNLABELLED elsewhere."""

    pad_id: int

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        input_ids = pad(examples, self.pad_id)
        labels = torch.full(input_ids.shape, UNLABELLED)
        for row, example in enumerate(examples):
            labels[row, list(example.positions)] = torch.tensor(example.targets)
        return {"input_ids": input_ids, "labels": labels}


@dataclass(frozen=True)
class OutcomeCollator:
    """For an ORM: `labels` (B, 1) hold the target of each solution."""

    pad_id: int

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        return {"input_ids": pad(examples, self.pad_id), "labels": torch.tensor([example.targets for example in examples])}


def pad(examples: Sequence[Example], pad_id: int) -> Tensor:
    """Ids (B, T), T the longest of them."""
    n_tokens = max(len(example.input_ids) for example in examples)
    return torch.tensor([example.input_ids + (pad_id,) * (n_tokens - len(example.input_ids)) for example in examples])


class GroupSampler(Sampler[int]):
    """Random groups of examples, each sorted by length. A group is what one optimizer step sees.

    So a step sees the same examples however they are cut into batches, accumulation and processes, and the more batches a step is cut into,
    the less of them is padding. Groups of like length, the usual remedy against padding, teach less a step: short PRM examples are those
    with an early error, so such groups differ in their labels.
    """

    def __init__(self, lengths: Sequence[int], group_size: int, seed: int) -> None:
        self.lengths = lengths
        self.group_size = group_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "epoch", self.epoch))
        shuffled = torch.randperm(len(self.lengths), generator=generator).tolist()
        for at in range(0, len(shuffled), self.group_size):
            yield from sorted(shuffled[at : at + self.group_size], key=lambda i: self.lengths[i])
