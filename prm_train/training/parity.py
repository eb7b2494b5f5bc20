"""Does the checkpoint on disk score as the model in memory did? Asked at the end of every training, and answered in its report.

What it catches has all happened elsewhere: a head left out of an adapter, updates not merged, weights lost or rounded on the way out of
several processes, a class order turned round. The checkpoint is loaded as its users load it, with transformers alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from data_gen.models.pretrained import load_model
from prm_train.checkpoints.facts import Kind
from prm_train.examples.evenly import evenly
from prm_train.examples.examples import Example
from prm_train.metrics.training_report import Parity as Parity
from prm_train.training.config import TrainingConfig

AUTO_CLASSES = {"prm": AutoModelForTokenClassification, "orm": AutoModelForSequenceClassification}
N_ROWS = 8
# Largest difference of two scores. A bfloat16 number has 8 bits, and so have the weights that LoRA is merged into.
TOLERANCES = {"float64": 1e-6, "float32": 1e-4, "bfloat16": 0.05}


def parity_rows(examples: Sequence[Example]) -> list[Example]:
    """Up to `N_ROWS` of them, evenly spread."""
    return evenly(examples, N_ROWS)


@torch.no_grad()
def scores_of(model: Any, kind: Kind, examples: Sequence[Example]) -> list[float]:
    """Scores at the positions of the examples, one row at a time: sigmoid(z1 - z0) of a PRM, sigmoid(z) of an ORM.

    Leaves the model in evaluation mode. Where its weights are spread over processes, all of them must call it with the same examples.
    """
    model.eval()
    device = next(model.parameters()).device
    found: list[float] = []
    for example in examples:
        logits = model(input_ids=torch.tensor([example.input_ids], device=device)).logits[0].double()
        values = logits[list(example.positions), 1] - logits[list(example.positions), 0] if kind == "prm" else logits
        found += torch.sigmoid(values).tolist()
    return found


def check_parity(folder: Path, kind: Kind, examples: Sequence[Example], scores: Sequence[float], config: TrainingConfig) -> Parity:
    """Load the checkpoint and compare with `scores`, those of the model in memory. Raises RuntimeError if they are not the same."""
    dtype = getattr(torch, config.dtype)
    model = load_model(AUTO_CLASSES[kind], str(folder), dtype=dtype, trust_remote_code=config.trust_remote_code)
    return compare_scores(scores, scores_of(model, kind, examples), config, len(examples))


def compare_scores(
    trained: Sequence[float], loaded: Sequence[float], config: TrainingConfig, n_rows: int, whole: Sequence[float] | None = None
) -> Parity:
    """Scores in memory and those of the checkpoint; `whole` are those in memory of a base in 4 bits after it was made whole again, which
    is what was saved. Raises RuntimeError if they are not the same.
    """
    tolerance = TOLERANCES["bfloat16" if config.bf16_autocast else config.dtype]
    difference = max_abs_difference(loaded, trained if whole is None else whole)
    if not difference <= tolerance:  # also when it is not a number
        raise RuntimeError(
            f"{config.output}: scores of {n_rows} rows differ by up to {difference:.2g} from those of the trained model, expected at most "
            f"{tolerance:g}; the checkpoint is not the model that was trained (training/checkpoint-* still holds that)"
        )
    return Parity(n_rows, len(trained), difference, tolerance, None if whole is None else max_abs_difference(trained, whole))


def max_abs_difference(a: Sequence[float], b: Sequence[float]) -> float:
    return (torch.tensor(a, dtype=torch.float64) - torch.tensor(b, dtype=torch.float64)).abs().max().item()
