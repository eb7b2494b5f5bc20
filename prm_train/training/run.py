"""One training from rows to checkpoint: refused if the folder holds another, skipped if finished, resumed if broken off.

`output` gets the checkpoint; `output/training` holds the run: config.json and sources.json (what it is: see `prm_train.training.folder`),
checkpoint-N (to resume from) and cost.json (what it took so far), both deleted at the end, and report.json (its end: data, loss curve,
validation metrics, parity of the checkpoint on disk, cost), which is written last.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, TrainerCallback, TrainingArguments, set_seed
from transformers.integrations.deepspeed import unset_hf_deepspeed_config
from transformers.utils import logging as transformers_logging

from data_gen.models.forward_settings import context_length, short_length
from data_gen.models.names import model_line
from data_gen.models.saved_tokenizer import warn_if_replaced
from data_gen.policies.first_prompt import shortened
from data_gen.process.disk_faults import writing
from data_gen.process.library_noise import show_no_loading_bars
from data_gen.settings.errors import InputError
from data_gen.settings.parse import dump_config
from prm_train.checkpoints.facts import CheckpointFacts, Kind, store_calibration
from prm_train.encoding.paths import ScorerEncoding
from prm_train.examples.batches import Batching, Collator
from prm_train.examples.examples import Example, ExampleSet, split_by_question
from prm_train.metrics.calibration import CalibrationError, CalibrationFit, calibrate
from prm_train.metrics.training_report import LossPoint, TrainingReport, TrainingSeconds
from prm_train.networks.gathering import gathered_weights
from prm_train.networks.special_ids import say_once
from prm_train.training.best_of_n import BestOfN, RunFacts, finish_tracking, frozen_problems, tracker
from prm_train.training.callbacks import TrainingCost, TrainingProgress, training_table, validation_metrics
from prm_train.training.config import LossSettings, TrainingConfig
from prm_train.training.first_checks import check_before_training, check_rows_apart
from prm_train.training.folder import begun_with, claim_folder, is_finished, last_whole_checkpoint, remove_resume_files
from prm_train.training.launching import check_accelerator, check_launch, device_settings
from prm_train.training.lock import training_lock
from prm_train.training.parity import Parity, check_parity, max_abs_difference, parity_rows, scores_of
from prm_train.training.reward_trainer import RewardTrainer
from prm_train.training.scorer_network import build_scorer, rebuild_scorer, save_scorer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """What differs between trainings: the examples of so many tokens at most, the loss, and what the checkpoint says of itself.

    The methods train a PRM or a pointwise ORM; other kinds of training override them.
    """

    kind: Kind
    examples: Callable[[ScorerEncoding, int], ExampleSet]
    loss: LossSettings
    facts: Callable[[ScorerEncoding], CheckpointFacts]

    def arguments(self, config: TrainingConfig, folder: Path) -> TrainingArguments:
        return training_arguments(config, folder)

    def build(self, config: TrainingConfig) -> tuple[Any, ScorerEncoding]:
        """The network to be trained and its encoding."""
        return build_scorer(self.kind, config)

    def trainer(
        self, model: Any, arguments: Any, encoding: ScorerEncoding, data: tuple[list[Example], list[Example]], config: TrainingConfig
    ) -> Any:
        """A transformers.Trainer for (training, validation) examples."""
        n_rows = config.batch_size if config.batch_tokens is None else config.batch_size * config.n_accumulated
        batching = Batching(n_rows, config.batch_tokens, config.packing)
        collator = Collator(self.kind, encoding.tokenizer.pad_token_id, batching)
        return RewardTrainer(model, arguments, collator, *data, self.loss, config.head_learning_rate)

    def save(self, trainer: Any, encoding: ScorerEncoding, rows: Sequence[Example], config: TrainingConfig) -> Parity | None:
        """Write the checkpoint and compare its scores of `rows` with those in memory; None on all processes but the main one."""
        return save_trained(trainer, encoding, self.facts(encoding), rows, config)


def run_training(task: Task, config: TrainingConfig) -> None:
    """Train, or go on training, or do nothing if `config.output` holds the finished training already.

    Raises InputError as `claim_folder` and `training_lock` do, if no label is left to train on, and if the way it was launched would not
    train one model; RuntimeError if the checkpoint does not score as the trained model.
    """
    arguments = task.arguments(config, config.output / "training")
    check_launch(arguments, config)
    with writing(config.output), ExitStack() as held:
        with arguments.main_process_first(desc="claim the output folder"):
            if arguments.process_index == 0:
                held.enter_context(training_lock(config.output))
                claim_folder(config, arguments.world_size)
        _run_training(task, config, arguments)


def _run_training(task: Task, config: TrainingConfig, arguments: TrainingArguments) -> None:
    folder = config.output / "training"
    if is_finished(folder):
        logger.info("%s: this training is finished; nothing to do", config.output)
        return
    transformers_logging.set_verbosity_error()  # its load report lists the new head and the old language model head, both meant
    show_no_loading_bars()
    say_once.cache_clear()
    set_seed(config.seed)
    model, encoding = task.build(config)
    if arguments.process_index == 0:
        logger.info("%s", model_line("model", config.model, model.num_parameters(), config.dtype, arguments.device))
        warn_if_replaced(encoding.tokenizer, model.config, config.model)
    _say_dropout(config, model)
    data = task.examples(encoding, max_length(config, model))
    questions = dict.fromkeys(example.question for example in parity_rows(data.examples))
    check_before_training(model, encoding, task.kind, [*questions], config)
    training, validation = split_by_question(data.examples, config.validation_share)
    _check_split(training, validation, config)
    if arguments.process_index == 0:
        logger.info("first row, %d tokens: %r", len(training[0].input_ids), shortened(encoding.tokenizer.decode(training[0].input_ids)))
    trainer = task.trainer(model, arguments, encoding, (training, validation), config)
    check_accelerator(trainer.accelerator)
    check_rows_apart(trainer.model, training, config)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(TrainingProgress(f"train {task.kind}"))
    trainer.add_callback(RunFacts(trainer, config, _data_facts(training, validation, data.left_out)))
    if config.candidates is not None:
        trainer.add_callback(_best_of_n(trainer, task, config, encoding, training))
    if validation:
        trainer.add_callback(SaveAfterValidation())
    cost = TrainingCost(folder)
    trainer.add_callback(cost)
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(folder))
    if validation and config.keep == "lowest_validation_loss":
        trainer.evaluate()
    seconds = cost.so_far()
    calibration = _fit_calibration(trainer, config) if validation else None
    parity = task.save(trainer, encoding, parity_rows(validation or training), config)
    if parity is not None:
        report = _report(config, trainer.state, training, validation, data.left_out, seconds)
        _finish(config, replace(report, parity=parity), calibration)
        logger.info("%s:\n%s", folder / "report.json", training_table(report))
    finish_tracking(trainer)
    trainer.end()


def _finish(config: TrainingConfig, report: TrainingReport, calibration: CalibrationFit | None) -> None:
    """What makes a training a finished one, and then the end of what was only there to go on with it."""
    folder = config.output / "training"
    if calibration is not None:
        store_calibration(config.output, calibration.calibration, calibration.thresholds)
    replace(report, sources=begun_with(folder), calibration=calibration).write(folder / "report.json")
    remove_resume_files(folder)


class SaveAfterValidation(TrainerCallback):
    """A checkpoint that is due at the last step of an epoch waits for the epoch's validation, so that it holds its figures."""

    def __init__(self) -> None:
        self.is_waiting = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if control.should_save and (state.epoch.is_integer() or state.global_step >= state.max_steps):
            control.should_save, self.is_waiting = False, True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_save |= self.is_waiting
        self.is_waiting = False


def _best_of_n(trainer: Any, task: Task, config: TrainingConfig, encoding: ScorerEncoding, training: Sequence[Example]) -> BestOfN:
    """Raises InputError if no candidates are left."""
    assert task.kind in ("prm", "orm"), task.kind  # the configs of other kinds refuse candidates
    questions = {example.question for example in training}
    problems = frozen_problems(config, task.kind, encoding, max_length(config, trainer.model), questions)
    n_rows = config.batch_size * config.n_accumulated * trainer.args.world_size
    tokens_a_step = n_rows * sum(len(example.input_ids) for example in training) / len(training)
    return BestOfN(trainer, problems, task.facts(encoding).aggregation, config.monitoring_share, tokens_a_step)


def _fit_calibration(trainer: Any, config: TrainingConfig) -> CalibrationFit | None:
    """None where none is wanted, or none can be had: that is said, and no reason to lose a training. All processes must come here."""
    if config.calibration == "none":
        return None
    try:
        logits, examples = trainer.validation_logits()
        return calibrate(logits, examples, config.calibration)
    except CalibrationError as error:
        logger.warning("%s: no calibration is stored: %s", config.output, error)
        return None


def save_trained(
    trainer: Any, encoding: ScorerEncoding, facts: CheckpointFacts, rows: Sequence[Example], config: TrainingConfig
) -> Parity | None:
    """Write the checkpoint from the main process and compare its scores with those of the model in memory; None on the others.

    All processes must come here, since each may hold a part of the weights. Raises RuntimeError if the scores differ.
    """
    with trainer.compute_loss_context_manager():
        scores = scores_of(trainer.model_wrapped, facts.kind, rows)
    model, is_main = trainer.accelerator.unwrap_model(trainer.model), trainer.args.process_index == 0
    weights = gathered_weights(model, only_trained=config.lora is not None, keep=is_main)
    if not is_main:
        return None
    unset_hf_deepspeed_config()  # from here on models are loaded whole, by this process alone
    if not config.lora:
        save_scorer(model, encoding, facts, config.output, weights)
        return check_parity(config.output, facts.kind, rows, scores, config)
    whole = rebuild_scorer(facts.kind, config, weights)
    trained_scores, scores = scores, scores_of(whole, facts.kind, rows) if config.quantization != "none" else scores
    save_scorer(whole, encoding, facts, config.output)
    parity = check_parity(config.output, facts.kind, rows, scores, config)
    return parity if config.quantization == "none" else replace(parity, quantization_difference=max_abs_difference(trained_scores, scores))


def max_length(config: TrainingConfig, model: Any) -> int:
    """The most tokens of a row: `config.max_length`, or the model's context where that is shorter, or the part of it that LongRoPE reads
    with its short factors: a longer row would change what the rows beside it mean.
    """
    context, border = context_length(model.config), short_length(model.config)
    if context < config.max_length:
        logger.info("%s: its context of %d tokens is shorter than max_length %d", config.model, context, config.max_length)
    if border is not None and border < config.max_length:
        logger.info("%s: rows are of %d tokens at most, since beyond that LongRoPE rotates all of a batch otherwise", config.model, border)
    return min(context, config.max_length, border or context)


def _say_dropout(config: TrainingConfig, model: Any) -> None:
    """A base's own dropout, which no setting of ours has chosen."""
    values = model.config.get_text_config().to_dict()
    of_base = {name: p for name, p in values.items() if name.endswith(("dropout", "pdrop")) and isinstance(p, float) and p > 0}
    for name in ("classifier_dropout", "summary_first_dropout", *(["attention_dropout"] if config.backbone_dropout else [])):
        of_base.pop(name, None)
    if of_base:
        shown = ", ".join(f"{name} {p:g}" for name, p in of_base.items())
        logger.info(
            "%s: its config has %s: losses while training are random ones, others for packed rows than for padded", config.model, shown
        )


def training_arguments(config: TrainingConfig, folder: Path, kind: type[Any] = TrainingArguments, **more: Any) -> Any:
    """As an object of class `kind`, where a trainer has its own; `more` replaces settings and adds some."""
    has_validation = config.validation_share > 0
    saves: dict[str, Any] = {"save_strategy": "epoch"}
    if config.n_steps_between_saves:
        saves = {"save_strategy": "steps", "save_steps": config.n_steps_between_saves}
    settings: dict[str, Any] = dict(
        output_dir=str(folder),
        num_train_epochs=config.n_epochs,
        per_device_train_batch_size=config.batch_size * config.n_accumulated,  # the rows of a step; Batching cuts them
        per_device_eval_batch_size=config.batch_size * config.n_accumulated,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.lr_schedule,
        warmup_steps=config.warmup_share,
        adam_beta1=config.adam_betas[0],
        adam_beta2=config.adam_betas[1],
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        gradient_checkpointing=config.gradient_checkpointing,
        seed=config.seed,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        eval_strategy="epoch" if has_validation else "no",
        logging_steps=config.n_steps_between_logs,
        load_best_model_at_end=config.keep == "lowest_validation_loss",
        metric_for_best_model="loss" if has_validation else None,
        save_total_limit=1,
        disable_tqdm=True,
        report_to=tracker(config.report_to, folder),
        run_name=config.run_name,
        ddp_find_unused_parameters=False,  # every weight takes part in every pass; looking for others costs a walk of the graph
        **device_settings(config),
        **saves,
    )
    return kind(**(settings | more))


def _check_split(training: Sequence[Example], validation: Sequence[Example], config: TrainingConfig) -> None:
    n_questions = len({example.question for example in (*training, *validation)})
    if not training or (config.validation_share and not validation):
        raise InputError(
            f"{config.rows}: {n_questions} questions with validation_share {config.validation_share} give {len(training)} training and "
            f"{len(validation)} validation rows; expected some of each (validation_share 0 trains on everything)"
        )


def _data_facts(training: Sequence[Example], validation: Sequence[Example], left_out: Counter[str]) -> dict[str, int]:
    """Rows and labels by what became of them; the names of what was left out are `prm_train.examples.examples`' own."""
    parts = (("training", training), ("validation", validation))
    counts = {f"{name} rows": len(part) for name, part in parts}
    labels = {f"{name} labels": sum(len(example.targets) for example in part) for name, part in parts}
    return counts | labels | {f"left out: {reason}": n for reason, n in left_out.items()}


def _report(
    config: TrainingConfig,
    state: Any,
    training: Sequence[Example],
    validation: Sequence[Example],
    left_out: Counter[str],
    cost: dict[str, float],
) -> TrainingReport:
    """What a reader asks of a finished training. The curve's losses are means since the entry before; one entry an evaluation."""
    shown = ("step", "loss", "grad_norm", "learning_rate")
    curve = tuple(LossPoint(**{name: entry[name] for name in shown}) for entry in state.log_history if "loss" in entry)
    evaluations: list[dict[str, float]] = []
    for entry in state.log_history:
        found = validation_metrics(entry)
        if "loss" in found:
            evaluations.append({"step": entry["step"], **found})
        elif found:
            evaluations[-1] |= found  # best-of-N, which follows a validation
    return TrainingReport(
        config=dump_config(config),
        model_is_folder=Path(config.model).is_dir(),
        n_steps=state.global_step,
        n_training_rows=len(training),
        n_training_labels=sum(len(example.targets) for example in training),
        n_training_tokens=sum(len(example.input_ids) for example in training),
        n_validation_rows=len(validation),
        left_out=dict(left_out),
        cost=TrainingSeconds(**cost),
        loss_curve=curve,
        validation=tuple(evaluations),
    )
