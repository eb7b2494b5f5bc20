"""PRM: a token classifier of two classes, bad and good, read at the marker behind each step."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from transformers import AutoModelForTokenClassification

from data_gen.models.pretrained import load_model_config
from data_gen.rows.layouts import PrmRow
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.checkpoints.qwen_layout import QWEN_PRM, load_qwen_network
from prm_train.encoding.aggregation import Aggregation
from prm_train.encoding.paths import ScorerEncoding
from prm_train.examples.examples import ExampleSet, prm_examples
from prm_train.examples.targets import OWN_LABELS, LabelAlgebra
from prm_train.kinds.classifiers import ClassifierKind
from prm_train.kinds.model_kind import Checkpoint
from prm_train.kinds.paths import PIECES_READING, QUESTION_READING, EncodedPath
from prm_train.kinds.score_meaning import PROPER_LOSSES, ScoreMeaning, label_algebra
from prm_train.kinds.serving import TokenClassifier
from prm_train.kinds.step_rows import StepRowsKind
from prm_train.networks.class_logits import log_odds_at

logger = logging.getLogger(__name__)


class PrmKind(StepRowsKind, ClassifierKind):
    """Scores every step. What a score means, label settings say."""

    name = "prm"
    title = "Process reward model"
    reading = (
        f"{QUESTION_READING}; then for each step: step + step_separator, marker_token; {PIECES_READING}. "
        "Score of a step: softmax at its "
        "marker, class good"
    )
    auto_class = AutoModelForTokenClassification
    lora_task = "TOKEN_CLS"
    serving = TokenClassifier()
    head: ClassVar[dict[str, Any]] = {
        "id2label": {0: "bad", 1: "good"},
        "label2id": {"bad": 0, "good": 1},
        "classifier_dropout": 0.0,
    }
    layouts = ("transformers", "qwen_prm")
    has_label_settings = True

    def facts(self, encoding: ScorerEncoding, labels: str, aggregation: Aggregation) -> CheckpointFacts:
        """Of a new checkpoint; `labels` are the semantics of its label settings."""
        return CheckpointFacts(self.name, encoding.facts, labels, aggregation)

    def load_network(self, path: str, dtype: str, trust_remote_code: bool, **more: Any) -> Any:
        """In the layout of Qwen2.5-Math-PRM, too, which `publish --layout qwen_prm` writes: our encoding, a
        head of two layers.
        """
        if load_model_config(path, trust_remote_code).architectures == [QWEN_PRM]:
            return load_qwen_network(path, dtype)
        return super().load_network(path, dtype, trust_remote_code, **more)

    def examples(
        self, rows: Sequence[PrmRow], encoding: Any, max_length: int, algebra: LabelAlgebra = OWN_LABELS
    ) -> ExampleSet:
        return prm_examples(rows, encoding, algebra, max_length)

    def calibration_labels(self, path: str, facts: CheckpointFacts, algebra: LabelAlgebra) -> LabelAlgebra:
        if algebra.semantics != facts.labels:
            logger.warning(
                "trained on %r, calibrated for %r: see the label settings", facts.labels, algebra.semantics
            )
        return algebra

    def logits(self, checkpoint: Checkpoint, path: EncodedPath) -> list[float]:
        """Of each step."""
        return log_odds_at(checkpoint.model, path.ids, path.positions, (0, 1))

    def score_meaning(
        self, facts: CheckpointFacts, training: Mapping[str, Any], calibration: LabelAlgebra | None
    ) -> ScoreMeaning:
        """Scores mean what they were last fitted to. A loss that is not proper (pqm, focal) fixes an order
        alone, which Platt's calibration turns into probabilities; a temperature cannot, since it has no bias.
        """
        trained = label_algebra(training)
        meant = calibration or trained
        is_fitted = facts.calibration.method == "platt" or (
            training.get("loss") in PROPER_LOSSES and meant == trained
        )
        is_known = training or calibration is not None
        other = meant.semantics if calibration is not None and meant.semantics != facts.labels else None
        if not is_fitted or not is_known:
            return ScoreMeaning(meant, "order", other)
        return ScoreMeaning(meant, "probability" if meant.label_kind == "hard" else "value", other)


PRM = PrmKind()
