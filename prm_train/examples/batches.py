"""Examples → the forward passes of one optimizer step: which examples go together, how they are cut into
batches, padded or packed.

No attention mask: attention is causal, so no position that is read looks at padding on its right. The logits
are the same, and torch's attention need not read a mask.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler

from data_gen.records.draw_keys import derive_seed
from prm_train.checkpoints.facts import Kind
from prm_train.examples.examples import Example
from prm_train.examples.unlabeled import UNLABELED


@dataclass(frozen=True)
class Batching:
    """How the rows that a process sees in one optimizer step are cut into forward passes: `batch_size` rows
    at most, and `batch_tokens` tokens at most (padding included) where it is set. A longer row has a pass of
    its own.

    `is_packed` lays the rows of a pass one behind the other in one row, each attending to itself alone: no
    padding at all. It pays with attention kernels for rows of varying length: those of a GPU, and
    `prm_train.networks.packed_attention` on a CPU; without them attention costs the square of the whole pass.
    """

    batch_size: int
    batch_tokens: int | None = None
    is_packed: bool = False

    def cut(self, examples: Sequence[Example]) -> list[list[Example]]:
        """The examples in their order, in as many passes as it takes; they should come sorted by length."""
        batches: list[list[Example]] = []
        n_tokens = longest = 0
        for example in examples:
            length = len(example.input_ids)
            longest = max(longest, length)
            if self.is_packed:
                n_tokens += length
            else:  # every row of a batch is padded to its longest
                n_tokens = longest * (len(batches[-1]) + 1 if batches else 1)
            is_full = not batches or len(batches[-1]) == self.batch_size
            if is_full or (self.batch_tokens is not None and n_tokens > self.batch_tokens):
                batches.append([])
                n_tokens = longest = length
            batches[-1].append(example)
        return batches


@dataclass(frozen=True)
class Collator:
    """`{"labels": targets of all places of the optimizer step (P,), "batches": [what one forward pass takes,
    ...]}`.

    A batch holds `input_ids` (B, T), `labels` and `weights`: (B, T) for a PRM, UNLABELED but at labeled step
    positions, and (B, 1) for an ORM; if packed, `position_ids` (1, T) begin at 0 with every row. Trainer
    counts the labels of a step in the flat tensor. Of a group's fillers one is kept where there is nothing
    else.
    """

    kind: Kind
    pad_id: int
    batching: Batching

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        examples = [example for example in examples if example.targets != (UNLABELED,)] or examples[:1]
        labels = torch.tensor([target for example in examples for target in example.targets])
        collate = self._packed if self.batching.is_packed else self._padded
        return {"labels": labels, "batches": [collate(batch) for batch in self.batching.cut(examples)]}

    def _padded(self, batch: Sequence[Example]) -> dict[str, Tensor]:
        input_ids = pad(batch, self.pad_id)
        if self.kind == "orm":
            return {
                "input_ids": input_ids,
                "labels": torch.tensor([example.targets for example in batch]),
                "weights": torch.tensor([example.weights for example in batch]),
            }
        labels, weights = torch.full(input_ids.shape, UNLABELED), torch.zeros(input_ids.shape)
        for row, example in enumerate(batch):
            labels[row, list(example.positions)] = torch.tensor(example.targets)
            weights[row, list(example.positions)] = torch.tensor(example.weights)
        return {"input_ids": input_ids, "labels": labels, "weights": weights}

    def _packed(self, batch: Sequence[Example]) -> dict[str, Tensor]:
        one_by_one = [self._padded([example]) for example in batch]
        packed = {
            name: torch.cat([each[name] for each in one_by_one], dim=1)
            for name in ("input_ids", "labels", "weights")
        }
        return packed | {
            "position_ids": torch.cat([torch.arange(len(example.input_ids)) for example in batch])[None]
        }


def pad(examples: Sequence[Example], pad_id: int) -> Tensor:
    """Ids (B, T), T the longest of them."""
    n_tokens = max(len(example.input_ids) for example in examples)
    return torch.tensor(
        [example.input_ids + (pad_id,) * (n_tokens - len(example.input_ids)) for example in examples]
    )


class GroupSampler(Sampler[int]):
    """Random groups of examples, each sorted by length. A group is what one optimizer step sees on all
    processes.

    So a step sees the same examples however they are cut into batches and processes, and the more batches a
    step is cut into, the less of them is padding. Groups of like length, the usual remedy against padding,
    teach less a step: short PRM examples are those with an early error, so such groups differ in their
    labels. Each of `n_processes` gets every n-th example of the sorted group; a last group that is not whole
    is filled up with the index behind the last example (see `filler`), as otherwise some rows would be taken
    twice.
    """

    def __init__(self, lengths: Sequence[int], group_size: int, seed: int, n_processes: int = 1) -> None:
        self.lengths = lengths
        self.group_size = group_size
        self.seed = seed
        self.n_processes = n_processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        if self.n_processes == 1:
            return len(self.lengths)
        return -(-len(self.lengths) // self.group_size) * self.group_size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "epoch", self.epoch))
        shuffled = torch.randperm(len(self.lengths), generator=generator).tolist()
        for at in range(0, len(shuffled), self.group_size):
            by_length = sorted(shuffled[at : at + self.group_size], key=lambda i: self.lengths[i])
            if self.n_processes == 1:
                yield from by_length
                continue
            for rank in range(self.n_processes):
                own = by_length[rank :: self.n_processes]
                yield from own
                yield from [len(self.lengths)] * (self.group_size // self.n_processes - len(own))


def filler(example: Example) -> Example:
    """One token without a label, to make the shares of all processes equally long."""
    return Example("", example.input_ids[:1], (0,), (UNLABELED,), (0.0,))
