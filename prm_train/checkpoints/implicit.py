"""An implicit PRM on disk: its encoding, its facts, and the log-probabilities that its rewards are made of."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.encoding.paths import ScorerEncoding

REFERENCE = "reference"  # the folder of the reference inside a checkpoint


class TextEncoding(ScorerEncoding):
    """Paths as a policy writes them: steps end with their separator, and no marker follows."""

    def encode_piece(self, piece: str) -> tuple[int, ...]:
        return self.encode_text(piece + self.facts.step_separator)


@dataclass(frozen=True, kw_only=True)
class ImplicitPrmFacts(CheckpointFacts):
    """`beta` turns log-ratios into log-odds; `reference` is the folder of the reference inside the checkpoint."""

    beta: float
    reference: str = REFERENCE


def token_log_probs(logits: Float[Tensor, "batch kept vocabulary"], input_ids: Int[Tensor, "batch token"]) -> Float[Tensor, "batch token"]:
    """log p(token | all before it), 0 for the first token; where `logits` are those of the last positions only, 0 further on, too."""
    n_found = logits.shape[1] - 1  # the last position predicts nothing that is there
    logits = logits[:, :-1].to(torch.promote_types(logits.dtype, torch.float32))
    n_missing = input_ids.shape[1] - n_found
    return pad(-cross_entropy(logits.transpose(1, 2), input_ids[:, n_missing:], reduction="none"), (n_missing, 0))
