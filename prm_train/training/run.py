"""One training from rows to checkpoint: refused if the folder holds another, skipped if finished, resumed if
broken off.

`run_training` is the same for every kind of training and goes through three phases:

    begin    claim the output folder, build the network, make the examples, check all that could spoil the
             result
    train    transformers' Trainer, from the last checkpoint if there is one
    finish   calibrate the scores, save the checkpoint and compare it with the model in memory, report

What differs between kinds is in a subclass of `Training` each: PrmTraining and OrmTraining in
`scorer_training`, PairTraining in `pair_trainer`, ImplicitPrmTraining in `implicit`, VerifierTraining in
`verifier`, RevisionTraining in `revision`, PolicyTraining in `policy`.

`output` gets the checkpoint; `output/training` holds the run: config.json and sources.json (what it is: see
`prm_train.training.folder`), checkpoint-N (to resume from) and cost.json (what it took so far), both deleted
at the end, and report.json (its end: data, loss curve, validation metrics, parity of the checkpoint on disk,
cost), which is written last.
"""

import logging
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, cast

from transformers import PrinterCallback, TrainingArguments, set_seed
from transformers.utils import logging as transformers_logging

from data_gen.models.names import model_line
from data_gen.models.saved_tokenizer import warn_if_replaced
from data_gen.policies.first_prompt import shortened
from data_gen.process.disk_faults import writing
from data_gen.process.library_noise import show_no_loading_bars
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import UNCALIBRATED, CheckpointFacts, Kind, Reliability, store_calibration
from prm_train.encoding.paths import ScorerEncoding
from prm_train.examples.examples import Example, ExampleSet, split_by_question
from prm_train.metrics.calibration import CalibrationError, CalibrationFit, calibrate, reliability_of
from prm_train.networks.special_ids import say_once
from prm_train.training.arguments import check_accelerator, check_launch
from prm_train.training.best_of_n import best_of_n
from prm_train.training.callbacks import (
    SaveAfterValidation,
    TrackedRun,
    TrainingCost,
    TrainingProgress,
    finish_tracking,
)
from prm_train.training.first_checks import check_before_training, check_rows_apart, max_length, say_dropout
from prm_train.training.folder import (
    begun_with,
    claimed_folder,
    is_finished,
    last_whole_checkpoint,
    remove_resume_files,
)
from prm_train.training.forecast import forecast_table, measured, trial_arguments, trial_config
from prm_train.training.report import data_counts, training_report, training_table
from prm_train.training.save import SavesCheckpoint, parity_rows
from prm_train.training.settings import CalibrationSettings, CandidateSettings, TrainingConfig

logger = logging.getLogger(__name__)


class Training(SavesCheckpoint):
    """A kind of training. A subclass holds its rows and its config, and says how its checkpoint is written,
    too (`SavesCheckpoint`).
    """

    kind: ClassVar[Kind]
    config: TrainingConfig

    @property
    def title(self) -> str:
        """What is trained, in the progress bar."""
        return self.kind

    @abstractmethod
    def arguments(self) -> TrainingArguments:
        """How the trainer runs, made from the config."""

    @abstractmethod
    def build(self) -> tuple[Any, ScorerEncoding]:
        """The network to be trained and its encoding."""

    @abstractmethod
    def examples(self, encoding: ScorerEncoding, max_length: int) -> ExampleSet:
        """The rows as examples of `max_length` tokens at most. Raises InputError if no label is left to train
        on.
        """

    @abstractmethod
    def trainer(
        self,
        model: Any,
        arguments: Any,
        encoding: ScorerEncoding,
        training: Sequence[Example],
        validation: Sequence[Example],
    ) -> Any:
        """A transformers.Trainer for these examples."""

    @abstractmethod
    def facts(self, encoding: ScorerEncoding) -> CheckpointFacts:
        """What the checkpoint's config.json says of it."""


@dataclass(frozen=True)
class BegunTraining:
    """A training of which all but the training itself is ready. `left_out` counts rows and labels by the
    reason why they are not used.
    """

    training: Training
    trainer: Any
    encoding: ScorerEncoding
    examples: Sequence[Example]
    validation: Sequence[Example]
    left_out: Counter[str]
    cost: TrainingCost


def run_training(training: Training) -> None:
    """Train, or go on training, or do nothing if `config.output` holds the finished training already.

    Raises InputError as `claimed_folder` does, if no label is left to train on, and if the way it was
    launched would not train one model; RuntimeError if the checkpoint does not score as the trained model.
    """
    if training.config.forecast:
        forecast_training(training)
        return
    config, arguments = training.config, training.arguments()
    check_launch(arguments, config)

    with writing(config.output), claimed_folder(config, arguments):
        if is_finished(config.output / "training"):
            logger.info("%s: this training is finished; nothing to do", config.output)
            return
        begun = begin(training, arguments)
        train(begun)
        finish(begun)


def forecast_training(training: Training) -> None:
    """Say what a training will take, from its data and a few steps of it, and leave nothing behind."""
    started = time.perf_counter()
    with TemporaryDirectory() as folder:
        config: Any = trial_config(training.config, Path(folder))
        trial: Training = replace(cast("Any", training), config=config)
        arguments = trial_arguments(trial.arguments())
        check_launch(arguments, config)
        begun = begin(trial, arguments)
        before = time.perf_counter() - started
        found = measured(begun.trainer, begun.examples, begun.validation, begun.left_out, before)
        if begun.trainer.is_world_process_zero():
            logger.info("forecast of %s:\n%s", training.config.output, forecast_table(found))
        begun.trainer.end()


# --- begin


def begin(training: Training, arguments: TrainingArguments) -> BegunTraining:
    """Build the network and the examples, check both, and put a trainer together. All that is random follows
    from the seed set here.
    """
    config, is_main = training.config, arguments.process_index == 0
    _quieten_libraries()
    set_seed(config.seed)

    model, encoding = training.build()
    if is_main:
        logger.info(
            "%s", model_line("model", config.model, model.num_parameters(), config.dtype, arguments.device)
        )
        warn_if_replaced(encoding.tokenizer, model.config, config.model)
    say_dropout(config, model)

    found = training.examples(encoding, max_length(config, model))
    questions = dict.fromkeys(example.question for example in parity_rows(found.examples))
    check_before_training(model, encoding, training.kind, [*questions], config)
    examples, validation = split_by_question(found.examples, config.validation_share)
    _check_split(examples, validation, config)
    if is_main:
        logger.info(
            "first row, %d tokens: %r",
            len(examples[0].input_ids),
            shortened(encoding.tokenizer.decode(examples[0].input_ids)),
        )

    trainer = training.trainer(model, arguments, encoding, examples, validation)
    check_accelerator(trainer.accelerator)
    check_rows_apart(trainer.model, examples, config)
    _add_callbacks(training, trainer, encoding, examples, validation, found.left_out)
    cost = TrainingCost(config.output / "training")  # its clock starts here
    trainer.add_callback(cost)
    return BegunTraining(training, trainer, encoding, examples, validation, found.left_out, cost)


def _quieten_libraries() -> None:
    """Leave out what libraries say of every training, and begin anew with what is said once in each."""
    # The report of loading lists the new head as missing and the language model's as unused, and both are
    # meant to be.
    transformers_logging.set_verbosity_error()
    show_no_loading_bars()
    say_once.cache_clear()


def _check_split(training: Sequence[Example], validation: Sequence[Example], config: TrainingConfig) -> None:
    """Raises InputError where nothing is left to train on, or to validate on although that is asked for."""
    n_questions = len({example.question for example in (*training, *validation)})
    if not training or (config.validation_share and not validation):
        raise InputError(
            f"{config.rows}: {n_questions} questions with validation_share {config.validation_share} give "
            f"{len(training)} training and "
            f"{len(validation)} validation rows; expected some of each (validation_share 0 trains on "
            "everything)"
        )


def _add_callbacks(
    training: Training,
    trainer: Any,
    encoding: ScorerEncoding,
    examples: Sequence[Example],
    validation: Sequence[Example],
    left_out: Counter[str],
) -> None:
    """Their order counts: best-of-N adds its figures to those of the validation before it, and what is saved
    then holds both.
    """
    config = training.config
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(TrainingProgress(f"train {training.title}"))
    trainer.add_callback(TrackedRun(trainer, config, data_counts(examples, validation, left_out)))
    if isinstance(config, CandidateSettings) and config.candidates is not None:
        trainer.add_callback(best_of_n(trainer, config, training.facts(encoding), encoding, examples))
    if validation:
        trainer.add_callback(SaveAfterValidation())


# --- train


def train(begun: BegunTraining) -> None:
    """All epochs that are left. In the end the trainer holds the weights that are kept, and the figures of
    their validation.
    """
    config = begun.training.config
    begun.trainer.train(resume_from_checkpoint=last_whole_checkpoint(config.output / "training"))
    if begun.validation and config.keep == "lowest_validation_loss":
        # The weights are those of another epoch than the last, whose figures the report would end with
        begun.trainer.evaluate()


# --- finish


def finish(begun: BegunTraining) -> None:
    """Calibrate, save and report. All processes come here; the main one alone writes."""
    training, trainer, config = begun.training, begun.trainer, begun.training.config
    folder = config.output / "training"
    seconds = begun.cost.so_far()

    calibration = reliability = None
    if isinstance(config, CalibrationSettings) and begun.validation:
        calibration, reliability = _meaning_of_scores(trainer, config)
    parity = training.save(trainer, begun.encoding, parity_rows(begun.validation or begun.examples))

    if parity is not None:  # None on all processes but the main one
        report = training_report(
            config, trainer.state, begun.examples, begun.validation, begun.left_out, seconds
        )
        report = replace(report, parity=parity, sources=begun_with(folder), calibration=calibration)
        if reliability is not None:
            fitted, thresholds = (
                (calibration.calibration, calibration.thresholds) if calibration else (UNCALIBRATED, ())
            )
            store_calibration(config.output, fitted, thresholds, reliability)
        report.write(folder / "report.json")  # from here on the training is a finished one
        remove_resume_files(folder)
        logger.info("%s:\n%s", folder / "report.json", training_table(report))
    finish_tracking(trainer)
    trainer.end()


def _meaning_of_scores(
    trainer: Any, config: CalibrationSettings
) -> tuple[CalibrationFit | None, Reliability]:
    """The calibration, and how often scores are right with it. None where none is wanted, or where none can
    be fitted: a training is not lost for that, and a warning says so.

    All processes must come here, since each may hold a part of the weights.
    """
    logits, examples = trainer.validation_logits()
    fit = None
    if config.calibration != "none":
        try:
            fit = calibrate(logits, examples, config.calibration)
        except CalibrationError as error:
            logger.warning("%s: no calibration is stored: %s", config.output, error)
    return fit, reliability_of(logits, examples, fit.calibration if fit else UNCALIBRATED)
