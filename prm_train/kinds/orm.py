"""ORM: a sequence classifier of one class, whose logit is read at the end of a solution."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import AutoModelForSequenceClassification

from data_gen.records.steps import split_steps
from data_gen.rows.layouts import OrmHistoryRow, OrmPair, OrmRow
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.encoding.paths import ScorerEncoding
from prm_train.examples.examples import ExampleSet
from prm_train.examples.outcome import OutcomeRows, outcome_examples, read_outcome_rows
from prm_train.examples.targets import OWN_LABELS, LabelAlgebra
from prm_train.kinds.classifiers import ClassifierKind
from prm_train.kinds.model_kind import Checkpoint
from prm_train.kinds.paths import (
    PIECES_READING,
    QUESTION_READING,
    EncodedPath,
    Labels,
    ScoredPath,
    encode_steps,
    question_path,
)
from prm_train.kinds.score_meaning import ScoreMeaning
from prm_train.kinds.serving import SequenceClassifier

# Of an ORM from pairs: servers return the logit as it is.
REWARD_HEAD = {"id2label": {0: "reward"}, "label2id": {"reward": 0}, "problem_type": "regression"}


class OrmKind(ClassifierKind):
    """Scores whole solutions. From pairs (`is_reward`) its logit is a reward; its prompts may show earlier
    attempts (`has_attempts`).
    """

    name = "orm"
    title = "Outcome reward model"
    reading = (
        f"{QUESTION_READING}; then for each step: step + step_separator, marker_token; {PIECES_READING}. "
        "Score: sigmoid of the one logit; "
        "where is_reward, the logit itself, a reward"
    )
    rows = "orm or orm_pairs"
    auto_class = AutoModelForSequenceClassification
    lora_task = "SEQ_CLS"
    serving = SequenceClassifier()
    # the one logit counts as a label of its own: binary cross-entropy, sigmoid when served
    head: ClassVar[dict[str, Any]] = {
        "id2label": {0: "correct"},
        "label2id": {"correct": 0},
        "problem_type": "multi_label_classification",
    }
    scores_steps = False

    def facts(self, encoding: ScorerEncoding, is_reward: bool, has_attempts: bool) -> CheckpointFacts:
        """Of a new checkpoint."""
        labels = "whether the solution's answer is right"
        if is_reward:
            labels = "which of a right and a wrong solution of one question is the right one"
        elif has_attempts:
            labels = "whether the last attempt's answer is right, with those before it in view"
        return CheckpointFacts(
            self.name, encoding.facts, labels, "last", is_reward=is_reward, has_attempts=has_attempts
        )

    def head_settings(self, facts: CheckpointFacts) -> dict[str, Any]:
        return REWARD_HEAD if facts.is_reward else self.head

    def read_rows(self, path: Path) -> OutcomeRows:
        return read_outcome_rows(path)

    def rows_of(self, facts: CheckpointFacts) -> str:
        return "orm_history" if facts.has_attempts else self.rows

    def fault_of_rows(self, rows: Sequence[Any], facts: CheckpointFacts) -> str | None:
        if any(isinstance(row, OrmHistoryRow) != facts.has_attempts for row in rows):
            return f"got rows {'without' if facts.has_attempts else 'with'} earlier attempts"
        return None

    def examples(
        self, rows: Any, encoding: Any, max_length: int, algebra: LabelAlgebra = OWN_LABELS
    ) -> ExampleSet:
        """One a solution, however many pairs it stands in."""
        return outcome_examples(rows, encoding, max_length)

    def paths(self, row: OrmRow | OrmPair | OrmHistoryRow, separator: str) -> tuple[ScoredPath, ...]:
        if isinstance(row, OrmPair):
            return tuple(
                question_path(row.prompt, split_steps(side, separator)) for side in (row.chosen, row.rejected)
            )
        if isinstance(row, OrmRow):
            return (question_path(row.prompt, split_steps(row.completion, separator)),)
        last_attempt = "".join(message.content for message in row.completion)
        return (ScoredPath(row.prompt, split_steps(last_attempt, separator)),)

    def labels(
        self, row: OrmRow | OrmPair | OrmHistoryRow, n_steps: Sequence[int], algebra: LabelAlgebra
    ) -> tuple[Labels, ...]:
        return ((True,), (False,)) if isinstance(row, OrmPair) else ((row.label,),)

    def encode(self, path: ScoredPath, encoding: ScorerEncoding) -> EncodedPath:
        """The one position is the end of the last step."""
        found = encode_steps(path, encoding)
        return EncodedPath(found.ids, found.positions[-1:], found.n_head)

    def logits(self, checkpoint: Checkpoint, path: EncodedPath) -> list[float]:
        """The one of the solution."""
        return [float(checkpoint.model(input_ids=torch.tensor([path.ids])).logits.float()[0, 0])]

    def gives_scores(self, facts: CheckpointFacts) -> bool:
        return not facts.is_reward

    def score_meaning(
        self, facts: CheckpointFacts, training: Mapping[str, Any], calibration: LabelAlgebra | None
    ) -> ScoreMeaning:
        """Pairs fix an order alone, which Platt's calibration turns into probabilities; a temperature cannot,
        since it has no bias.
        """
        is_order = facts.is_reward and facts.calibration.method != "platt"
        return ScoreMeaning(OWN_LABELS, "order" if is_order else "probability")


ORM = OrmKind()
