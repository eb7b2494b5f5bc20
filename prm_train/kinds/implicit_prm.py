"""Implicit PRM: two language models, whose log-ratio is the reward of a step (see
`prm_train.training.implicit`).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch

from data_gen.models.names import model_line
from data_gen.records.steps import split_steps
from data_gen.rows.layouts import OrmRow, read_rows
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.checkpoints.identity import content_id
from prm_train.encoding.paths import ScorerEncoding
from prm_train.examples.examples import ExampleSet, orm_examples
from prm_train.examples.targets import OWN_LABELS, LabelAlgebra
from prm_train.kinds.language_models import LanguageModelKind
from prm_train.kinds.model_kind import DEFAULT_OPTIONS, Checkpoint, ScorerOptions
from prm_train.kinds.paths import (
    PIECES_READING,
    QUESTION_READING,
    EncodedPath,
    Labels,
    ScoredPath,
    question_path,
)
from prm_train.metrics.ranking import Floats
from prm_train.networks.token_log_probs import token_log_probs
from prm_train.scoring.implicit import ImplicitPrmScorer

logger = logging.getLogger(__name__)

REFERENCE = "reference"  # the folder of the reference inside a checkpoint


class TextEncoding(ScorerEncoding):
    """Paths as a policy writes them: steps end with their separator, and no marker follows."""

    def encode_piece(self, piece: str) -> tuple[int, ...]:
        return self.encode_text(piece + self.facts.step_separator)


@dataclass(frozen=True, kw_only=True)
class ImplicitPrmFacts(CheckpointFacts):
    """`beta` turns log-ratios into log-odds; `reference` is the folder of the reference inside the
    checkpoint.
    """

    beta: float
    reference: str = REFERENCE


class ImplicitPrmKind(LanguageModelKind):
    """Learns from whole solutions, and gives every step a reward; the sigmoid of the sum of rewards so far is
    the score of a step.
    """

    name = "implicit_prm"
    title = "Implicit process reward model"
    reading = (
        f"{QUESTION_READING}; then for each step: step + step_separator; {PIECES_READING}. Reward of a step: "
        "beta * sum over its tokens of "
        "log p here - log p under the model in folder reference. Score of a step: sigmoid of the sum of "
        "rewards up to it"
    )
    rows = "orm"
    facts_class = ImplicitPrmFacts

    def facts(self, encoding: ScorerEncoding, beta: float) -> ImplicitPrmFacts:
        """Of a new checkpoint."""
        labels = (
            "whether the whole solution's answer is right; a step's score is the sigmoid of the "
            "log-ratios up to it"
        )
        return ImplicitPrmFacts(self.name, encoding.facts, labels, "last", beta=beta)

    def encoding(self, tokenizer: Any, facts: CheckpointFacts) -> TextEncoding:
        return TextEncoding(tokenizer, facts.encoding)

    def load(self, path: str, dtype: str = "float32", trust_remote_code: bool = False) -> Checkpoint:
        """With its reference."""
        found = super().load(path, dtype, trust_remote_code)
        folder = _facts(found).reference
        reference = self.load_network(path, dtype, trust_remote_code, subfolder=folder)
        return Checkpoint(self, found.facts, found.encoding, found.model, {folder: reference})

    def load_scorer(self, path: str, options: ScorerOptions = DEFAULT_OPTIONS) -> ImplicitPrmScorer:
        """It has no cache."""
        checkpoint = self.load(path, options.dtype, options.trust_remote_code)
        facts, reference = _facts(checkpoint), _reference(checkpoint)
        logger.info(
            "%s",
            model_line(
                "implicit PRM", path, checkpoint.model.num_parameters(), options.dtype, options.device
            ),
        )
        return ImplicitPrmScorer(
            checkpoint.model.to(options.device),
            reference.to(options.device),
            checkpoint.encoding,
            scorer_id=content_id((checkpoint.model, reference), checkpoint.encoding, facts),
            beta=facts.beta,
            aggregation=facts.aggregation,
            calibration=facts.calibration,
        )

    def read_rows(self, path: Path) -> list[OrmRow]:
        return read_rows(path, OrmRow)

    def examples(
        self, rows: Sequence[OrmRow], encoding: Any, max_length: int, algebra: LabelAlgebra = OWN_LABELS
    ) -> ExampleSet:
        return orm_examples(rows, encoding, max_length)

    def paths(self, row: OrmRow, separator: str) -> tuple[ScoredPath, ...]:
        return (question_path(row.prompt, split_steps(row.completion, separator)),)

    def labels(self, row: OrmRow, n_steps: Sequence[int], algebra: LabelAlgebra) -> tuple[Labels, ...]:
        """That of the solution at its last step."""
        (n,) = n_steps
        return ((*(None,) * (n - 1), row.label),)

    def logits(self, checkpoint: Checkpoint, path: EncodedPath) -> list[float]:
        """The reward of each step."""
        ids = torch.tensor([path.ids])
        found, reference = (
            token_log_probs(model(input_ids=ids).logits.float(), ids)
            for model in (checkpoint.model, _reference(checkpoint))
        )
        log_ratios = _facts(checkpoint).beta * (found - reference)[0]  # (T,)
        ends = [path.n_head, *(position + 1 for position in path.positions)]
        return [float(log_ratios[start:end].sum()) for start, end in pairwise(ends)]

    def gives_scores(self, facts: CheckpointFacts) -> bool:
        return False

    def scorer_logits(self, facts: CheckpointFacts, logits: Sequence[float]) -> Floats:
        """Of the sum of rewards so far."""
        return super().scorer_logits(facts, [*accumulate(logits)])


def _facts(checkpoint: Checkpoint) -> ImplicitPrmFacts:
    assert isinstance(checkpoint.facts, ImplicitPrmFacts)
    return checkpoint.facts


def _reference(checkpoint: Checkpoint) -> Any:
    return checkpoint.others[_facts(checkpoint).reference]


IMPLICIT_PRM = ImplicitPrmKind()
