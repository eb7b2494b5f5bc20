"""Training a revision model with TRL's SFTTrainer, when to stop, and what the report says of its
revisions.
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback, TrainerState

from data_gen.grading.graders import load_grader
from data_gen.policies.engine.transformers_policy import load_policy
from data_gen.records.sampling import SamplingParams
from data_gen.rows.layouts import RevisionRow
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.encoding.paths import ScorerEncoding
from prm_train.examples.evenly import evenly
from prm_train.examples.examples import Example, ExampleSet, is_validation_question
from prm_train.examples.revision import sft_row
from prm_train.kinds.revision import REVISION
from prm_train.metrics.revision_rates import next_attempts, revision_rates
from prm_train.metrics.training_report import TrainingReport
from prm_train.training.config import TrainRevisionConfig
from prm_train.training.sft_trainer import GroupedSFTTrainer, ScoredByTokens

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RevisionTraining(ScoredByTokens):
    """A language model that writes the next attempt, from chains of attempts."""

    rows: Sequence[RevisionRow]
    config: TrainRevisionConfig

    def examples(self, encoding: ScorerEncoding, max_length: int) -> ExampleSet:
        return REVISION.examples(self.rows, encoding, max_length)

    def trainer(
        self,
        model: Any,
        arguments: Any,
        encoding: ScorerEncoding,
        training: Sequence[Example],
        validation: Sequence[Example],
    ) -> "RevisionTrainer":
        rows = ([sft_row(example) for example in examples] for examples in (training, validation))
        trainer = RevisionTrainer(model, arguments, encoding.tokenizer, *rows)
        if self.config.stop_after_minimum is not None:
            trainer.stop_by(StopAfterMinimum(self.config.stop_after_minimum))
        return trainer

    def facts(self, encoding: ScorerEncoding) -> CheckpointFacts:
        return REVISION.facts(encoding, max((row.n_attempts for row in self.rows), default=0))


class StopAfterMinimum(TrainerCallback):
    """Ends the training `n_evaluations` after the lowest validation loss so far, so that the last weights are
    those of the paper's rule.

    The validation chains are not the model's own, so their loss is no good guide: models from slightly after
    its minimum revise better (Snell et al. 2024, App. H). The losses are read from the trainer's state, which
    a resumed training has, too.
    """

    def __init__(self, n_evaluations: int) -> None:
        self.n_evaluations = n_evaluations

    def is_over(self, state: TrainerState) -> bool:
        """Whether the training ends with the evaluations so far."""
        losses = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
        n_since = len(losses) - 1 - losses.index(min(losses)) if losses else -1
        if n_since < self.n_evaluations:
            return False
        logger.info(
            "%d evaluations since the lowest validation loss (%.4f): training ends", n_since, min(losses)
        )
        return True

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.is_over(state):
            control.should_training_stop = True


class RevisionTrainer(GroupedSFTTrainer):
    """Ends by `stopping` where there is one, also where a training that it had ended is resumed: Trainer does
    not remember that.
    """

    stopping: StopAfterMinimum | None = None

    def stop_by(self, stopping: StopAfterMinimum) -> None:
        self.stopping = stopping
        self.add_callback(stopping)

    def train(self, resume_from_checkpoint: str | None = None, **more: Any) -> Any:
        if resume_from_checkpoint is not None and self.stopping is not None:
            state = TrainerState.load_from_json(str(Path(resume_from_checkpoint) / "trainer_state.json"))
            if self.stopping.is_over(state):
                self.args.max_steps = state.global_step  # a callback comes too late to prevent the first step
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **more)


def report_rates(rows: Sequence[RevisionRow], config: TrainRevisionConfig) -> None:
    """Draw the next attempt after held-out chains with the saved model, where it was trained, and add the
    rates to the report, once.
    """
    state = PartialState(cpu=config.use_cpu)
    if not state.is_main_process:
        return
    path = config.output / "training" / "report.json"
    report = TrainingReport.read(path)
    held_out = [
        row
        for row in rows
        if row.kind == "revision" and is_validation_question(row.question, config.validation_share)
    ]
    if report.revisions is not None or not held_out or not config.n_revised_chains:
        return
    chains = evenly(held_out, config.n_revised_chains)
    policy = load_policy(
        str(config.output),
        dtype=config.dtype,
        device=str(state.device),
        trust_remote_code=config.trust_remote_code,
    )
    grader = load_grader(config.grader, "")
    params = SamplingParams(config.max_new_tokens, config.temperature)
    attempts, n_left_out = asyncio.run(next_attempts(policy, policy.tokenizer, grader, chains, params))
    if n_left_out:
        told = (n_left_out, len(chains), params.max_new_tokens, policy.context_length)
        logger.warning(
            "%d of %d held-out chains and max_new_tokens %d are beyond the context of %d tokens: left out",
            *told,
        )
    if not attempts:
        return
    rates = revision_rates(attempts, n_left_out)
    replace(report, revisions=rates).write(path)
    logger.info("%s: %s", config.output, json.dumps(asdict(rates)))
