"""The trainings of a PRM and of an ORM on single solutions.

`PrmTraining` and `OrmTraining` name the parts that `prm_train.training.run` puts together: the examples, the
network with its new head (`scorer_network`) and its trainer (`reward_trainer`). `fit_prm` goes
from labeled solutions to a PRM in one call, for notebooks and scripts.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor
from transformers import TrainingArguments

from data_gen.labeling.problems import Labeled
from data_gen.labeling.views import LabelView
from data_gen.problems.tasks import task_of_problem
from data_gen.records.solutions import Problem
from data_gen.rows.filters import Filter
from data_gen.rows.layouts import OrmHistoryRow, PrmRow, write_rows
from data_gen.rows.prm import prm_rows
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CheckpointFacts, Kind
from prm_train.encoding.paths import ScorerEncoding
from prm_train.examples.batches import Batching, Collator
from prm_train.examples.examples import Example, ExampleSet
from prm_train.examples.outcome import OutcomeRows
from prm_train.kinds.load import load_scorer
from prm_train.kinds.orm import ORM
from prm_train.kinds.prm import PRM
from prm_train.scoring.protocol import Scorer
from prm_train.training.arguments import training_arguments
from prm_train.training.config import TrainOrmConfig, TrainPrmConfig
from prm_train.training.reward_trainer import RewardTrainer
from prm_train.training.run import Training, run_training
from prm_train.training.save import saved_scores, scores_of
from prm_train.training.scorer_network import build_scorer, rebuild_scorer, save_scorer
from prm_train.training.settings import LossSettings, ScorerConfig

logger = logging.getLogger(__name__)


class ScorerTraining(Training):
    """What the trainings of a PRM and of an ORM share: a language model with a new head, and scores that are
    read from this head alone.
    """

    config: ScorerConfig

    def arguments(self) -> TrainingArguments:
        return training_arguments(self.config)

    def build(self) -> tuple[Any, ScorerEncoding]:
        return build_scorer(self.kind, self.config)

    def scores(self, model: Any, encoding: ScorerEncoding, rows: Sequence[Example]) -> list[float]:
        return scores_of(model, self.kind, rows)

    def whole_model(self, model: Any, weights: Mapping[str, Tensor]) -> Any:
        return rebuild_scorer(self.kind, self.config, weights) if self.config.lora else model

    def write(self, model: Any, weights: Mapping[str, Tensor], encoding: ScorerEncoding) -> None:
        # Without LoRA the model is the trained one itself, of which this process may hold a part alone:
        # `weights` are all of them.
        save_scorer(
            model, encoding, self.facts(encoding), self.config.output, None if self.config.lora else weights
        )

    def scores_on_disk(self, encoding: ScorerEncoding, rows: Sequence[Example]) -> list[float]:
        return saved_scores(self.config.output, self.kind, rows, self.config)


@dataclass(frozen=True)
class PrmTraining(ScorerTraining):
    """A PRM from labeled steps: one score at the end of each step."""

    rows: Sequence[PrmRow]
    config: TrainPrmConfig
    kind: ClassVar[Kind] = "prm"

    def examples(self, encoding: ScorerEncoding, max_length: int) -> ExampleSet:
        return PRM.examples(self.rows, encoding, max_length, self.config)

    def trainer(
        self,
        model: Any,
        arguments: Any,
        encoding: ScorerEncoding,
        training: Sequence[Example],
        validation: Sequence[Example],
    ) -> RewardTrainer:
        batching = Batching(self.config.n_rows_at_most, self.config.batch_tokens, self.config.packing)
        collator = Collator("prm", encoding.tokenizer.pad_token_id, batching)
        return RewardTrainer(
            model, arguments, collator, training, validation, self.config, self.config.head_learning_rate
        )

    def facts(self, encoding: ScorerEncoding) -> CheckpointFacts:
        return PRM.facts(encoding, self.config.semantics, self.config.aggregation)


@dataclass(frozen=True)
class OrmTraining(ScorerTraining):
    """An ORM from whole solutions, each against its label: one score at the end of each. Raises InputError
    for candidates beside rows with earlier attempts.
    """

    rows: OutcomeRows
    config: TrainOrmConfig
    kind: ClassVar[Kind] = "orm"

    def __post_init__(self) -> None:
        if self.has_attempts and self.config.candidates is not None:
            raise InputError(
                f"candidates {self.config.candidates}: {self.config.rows} holds solutions after earlier "
                "attempts, "
                "which candidates are not; expected null"
            )

    @property
    def has_attempts(self) -> bool:
        """Whether the rows are solutions after earlier attempts, which the prompt shows."""
        return any(isinstance(row, OrmHistoryRow) for row in self.rows)

    def examples(self, encoding: ScorerEncoding, max_length: int) -> ExampleSet:
        return ORM.examples(self.rows, encoding, max_length)

    def trainer(
        self,
        model: Any,
        arguments: Any,
        encoding: ScorerEncoding,
        training: Sequence[Example],
        validation: Sequence[Example],
    ) -> Any:
        collator = Collator(
            "orm",
            encoding.tokenizer.pad_token_id,
            Batching(self.config.n_rows_at_most, self.config.batch_tokens),
        )
        # Labels are right or wrong, and there is one of each solution: binary cross-entropy
        loss = LossSettings()
        return RewardTrainer(
            model, arguments, collator, training, validation, loss, self.config.head_learning_rate
        )

    def facts(self, encoding: ScorerEncoding) -> CheckpointFacts:
        return ORM.facts(encoding, is_reward=False, has_attempts=self.has_attempts)


def fit_prm(
    problems: Sequence[Problem], labeled: Sequence[Labeled], output: Path, *, model: str, **settings: Any
) -> Scorer:
    """A PRM that starts from the language model `model` and learns the labels that `prm_train.label` gave
    these problems' solutions.

    The rows are written to <output>-rows.jsonl beside the folder `output`, which gets the checkpoint and
    training/report.json. `settings` are those of `TrainPrmConfig`. A training that is finished there is not
    made again, one that was broken off goes on. Raises InputError as `run_training` does.
    """
    rows, left_out = list[PrmRow](), Counter[str]()
    for problem, outcome in zip(problems, labeled, strict=True):
        # As `build` has it: only a task of ours compares answers so that no second look is needed
        rule = Filter(second_opinion=task_of_problem(problem) is None)
        of_problem, reasons = prm_rows(problem, outcome.solutions, LabelView(), rule)
        rows += of_problem
        left_out.update(reasons)
    if left_out:
        logger.info("left out of %d rows: %s", len(rows), dict(left_out))
    path = output.with_name(f"{output.name}-rows.jsonl")
    config = TrainPrmConfig(rows=path, output=output, model=model, **settings)
    write_rows(path, rows)
    run_training(PrmTraining(rows, config))
    return load_scorer(str(output))
