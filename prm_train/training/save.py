"""The end of every training: its checkpoint is written, loaded again, and compared with the model in memory.

The comparison is in the report as `parity`. What it catches has all happened elsewhere: a head left out of an
adapter, updates not merged, weights lost or rounded on the way out of several processes, a class order turned
round.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from data_gen.models.pretrained import load_model
from prm_train.checkpoints.facts import Kind
from prm_train.encoding.paths import ScorerEncoding
from prm_train.examples.evenly import evenly
from prm_train.examples.examples import Example
from prm_train.metrics.training_report import Parity as Parity
from prm_train.networks.gathering import gathered_weights
from prm_train.training.settings import TrainingConfig, is_quantized

AUTO_CLASSES = {"prm": AutoModelForTokenClassification, "orm": AutoModelForSequenceClassification}
N_ROWS = 8
# Largest difference of two scores. A bfloat16 number has 8 bits, and so have the weights that LoRA is merged
# into: among many scores there a few differ by more.
TOLERANCES = {"float64": 1e-6, "float32": 1e-4, "bfloat16": 0.05}
SHARE_BEYOND = {"float64": 0.0, "float32": 0.0, "bfloat16": 0.01}


class SavesCheckpoint(ABC):
    """The part of a training that writes its checkpoint. `save` is the same for all kinds; each says how its
    four steps are done.
    """

    config: TrainingConfig

    @abstractmethod
    def scores(self, model: Any, encoding: ScorerEncoding, rows: Sequence[Example]) -> list[float]:
        """The scores of the rows' places by a model in memory, which is left in evaluation mode."""

    @abstractmethod
    def whole_model(self, model: Any, weights: Mapping[str, Tensor]) -> Any:
        """The model to be written. `model` is the trained one, `weights` those that `gathered_weights` took
        out of it: under LoRA the updates and what else was trained, which go into the unquantized base.
        """

    @abstractmethod
    def write(self, model: Any, weights: Mapping[str, Tensor], encoding: ScorerEncoding) -> None:
        """Write what `whole_model` gave to `config.output`, with the tokenizer and what config.json says of
        this kind.
        """

    @abstractmethod
    def scores_on_disk(self, encoding: ScorerEncoding, rows: Sequence[Example]) -> list[float]:
        """The scores of the rows' places by the checkpoint in `config.output`."""

    def trained_scores(self, trainer: Any, encoding: ScorerEncoding, rows: Sequence[Example]) -> list[float]:
        """The scores by the trained model, at the precision of its weights or that of the training."""
        if self.is_compared_exactly(trainer):
            with without_autocast(trainer.model):
                return self.scores(trainer.model, encoding, rows)
        with trainer.compute_loss_context_manager():
            return self.scores(trainer.model_wrapped, encoding, rows)

    def is_compared_exactly(self, trainer: Any) -> bool:
        """Whether the trained model, float32 and whole in each process, can score without autocast, as the
        checkpoint will.
        """
        spread = (DistributedType.DEEPSPEED, DistributedType.FSDP)
        is_whole = trainer.accelerator.distributed_type not in spread
        takes_float32 = self.config.attention != "flash_attention_2"
        is_float32 = self.config.dtype == "float32" and not is_quantized(self.config)
        return is_whole and takes_float32 and is_float32

    def save(self, trainer: Any, encoding: ScorerEncoding, rows: Sequence[Example]) -> Parity | None:
        """Write the checkpoint and compare its scores of `rows` with those in memory; None on all processes
        but the main one.

        Raises RuntimeError if the scores differ.
        """
        # All processes score and gather, since each may hold a part of the weights.
        trained = self.trained_scores(trainer, encoding, rows)
        model, is_main = trainer.accelerator.unwrap_model(trainer.model), trainer.args.process_index == 0
        weights = gathered_weights(model, only_trained=self.config.lora is not None, keep=is_main)
        if not is_main:
            return None

        # From here on models are loaded whole, by this process alone.
        unset_hf_deepspeed_config()
        model = self.whole_model(model, weights)
        # A base in 4 bits scores otherwise than the unquantized one that is written, with which the
        # checkpoint must agree.
        whole = self.scores(model, encoding, rows) if is_quantized(self.config) else None
        self.write(model, weights, encoding)
        dtype = self.config.dtype
        if self.config.bf16_autocast and not self.is_compared_exactly(trainer):
            dtype = "bfloat16"
        loaded = self.scores_on_disk(encoding, rows)
        return compare_scores(trained, loaded, self.config.output, dtype, len(rows), whole)


@contextmanager
def without_autocast(model: Any) -> Iterator[None]:
    """`model` computes in the precision of its weights. Accelerate has put autocast around its `forward` and
    keeps the model's own; `unwrap_model(keep_fp32_wrapper=False)` would also take off what transformers put
    around that.
    """
    own = vars(model).get("_original_forward")
    if own is None:
        yield
        return
    wrapped, model.forward = model.forward, own
    try:
        yield
    finally:
        model.forward = wrapped


def parity_rows(examples: Sequence[Example]) -> list[Example]:
    """Up to `N_ROWS` of them, evenly spread."""
    return evenly(examples, N_ROWS)


@torch.no_grad()
def scores_of(model: Any, kind: Kind, examples: Sequence[Example]) -> list[float]:
    """Scores at the positions of the examples, one row at a time: sigmoid(z1 - z0) of a PRM, sigmoid(z) of an
    ORM.

    Leaves the model in evaluation mode. Where its weights are spread over processes, all of them must call it
    with the same examples.
    """
    model.eval()
    device = next(model.parameters()).device
    found: list[float] = []
    for example in examples:
        logits = model(input_ids=torch.tensor([example.input_ids], device=device)).logits[0].double()
        values = (
            logits[list(example.positions), 1] - logits[list(example.positions), 0]
            if kind == "prm"
            else logits
        )
        found += torch.sigmoid(values).tolist()
    return found


def saved_scores(
    folder: Path, kind: Kind, examples: Sequence[Example], config: TrainingConfig
) -> list[float]:
    """The scores of a PRM's or an ORM's checkpoint, which is loaded as its users load it, with transformers
    alone.
    """
    dtype = getattr(torch, config.dtype)
    model = load_model(
        AUTO_CLASSES[kind], str(folder), dtype=dtype, trust_remote_code=config.trust_remote_code
    )
    return scores_of(model, kind, examples)


def compare_scores(
    trained: Sequence[float],
    loaded: Sequence[float],
    folder: Path,
    dtype: str,
    n_rows: int,
    whole: Sequence[float] | None = None,
) -> Parity:
    """Scores in memory and those of the checkpoint in `folder`, both at the precision of `dtype`; `whole` are
    those in memory of a base in 4 bits after it was made whole again, which is what was saved. Raises
    RuntimeError if they are not the same.
    """
    tolerance, share = TOLERANCES[dtype], SHARE_BEYOND[dtype]
    differences = abs_differences(loaded, trained if whole is None else whole)
    difference = differences.max().item()
    n_beyond = int((~(differences <= tolerance)).sum())  # also what is not a number
    if n_beyond > share * len(trained) or math.isnan(difference):
        raise RuntimeError(
            f"{folder}: {n_beyond} of {len(trained)} scores of {n_rows} rows differ by more than "
            f"{tolerance:g}, up to {difference:.2g}, from those of the trained model, expected at most "
            f"{share:.0%} of them; the checkpoint is not the model that was trained (training/checkpoint-* "
            "still holds that)"
        )
    return Parity(
        n_rows,
        len(trained),
        difference,
        tolerance,
        None if whole is None else abs_differences(trained, whole).max().item(),
    )


def abs_differences(a: Sequence[float], b: Sequence[float]) -> Tensor:
    return (torch.tensor(a, dtype=torch.float64) - torch.tensor(b, dtype=torch.float64)).abs()
