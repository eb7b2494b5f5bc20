"""One training of SCoRe from a base model to a checkpoint: refused if the folder holds another, skipped if
finished, resumed if broken off.

`output` gets the checkpoint, a plain causal language model; `output/training` holds the run: config.json and
models.json (what it is), checkpoint-N (to resume from, deleted at the end) and report.json, which is written
last.
"""

import asyncio
import logging
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from transformers import AutoModelForCausalLM, PrinterCallback, TrainingArguments, set_seed

from data_gen.files.result_tables import result_table
from data_gen.files.run_identity import claim_run
from data_gen.files.stored_record import StoredRecord
from data_gen.grading.graders import load_grader
from data_gen.models.names import model_line
from data_gen.models.pretrained import load_model
from data_gen.models.tokenizer import load_tokenizer
from data_gen.policies.engine.transformers_policy import load_policy
from data_gen.problems.sources import load_problems
from data_gen.problems.tasks import model_path
from data_gen.process.disk_faults import writing
from data_gen.records.solutions import Problem
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.encoding.paths import EncodingFacts
from prm_train.kinds.lookup import write_facts
from prm_train.metrics.self_correction import MEASURES, SelfCorrection, self_correction
from prm_train.metrics.training_report import TrainingSeconds
from prm_train.self_correction.chains import ChainDrawer, TwoAttempts
from prm_train.self_correction.settings import TrainScoreConfig
from prm_train.self_correction.trainer import ScoreTrainer, frozen_policy
from prm_train.training.callbacks import TrainingCost, TrainingProgress
from prm_train.training.folder import (
    check_output,
    last_whole_checkpoint,
    remove_resume_files,
    training_lock,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoreReport(StoredRecord):
    """training/report.json. `curve` holds the means of the logged steps; `held_out` has greedy attempts of
    the base and of the trained model.
    """

    WRITTEN_BY: ClassVar[str] = "`prm-train train-score`"

    n_problems: int
    curve: tuple[Mapping[str, float], ...]
    held_out: Mapping[str, SelfCorrection] | None
    tokens: Mapping[str, int]
    seconds: TrainingSeconds


class ScoreProgress(TrainingProgress):
    """Shows the accuracy of both attempts beside the steps."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        if "attempts/accuracy_1" in logs:
            first, second = logs["attempts/accuracy_1"], logs["attempts/accuracy_2"]
            self.loss = f"right {first:.3f}, then {second:.3f}"


def run_score(config: TrainScoreConfig) -> None:
    """Train, or go on, or do nothing if `config.output` holds the finished training. Raises InputError."""
    folder, base_path = config.output / "training", model_path(config.model)
    with writing(config.output), training_lock(config.output):
        check_output(config.output, base_path)
        if not config.resume and folder.exists():
            shutil.rmtree(folder)
        if (folder / "report.json").exists():
            claim_run(folder, replace(config, resume=True))
            logger.info("%s: this training is finished; nothing to do", config.output)
            remove_resume_files(folder)
            return
        set_seed(config.seed)
        problems, held_out = split_problems(config)
        trainer, tokenizer = build(config, problems)
        base = frozen_policy(trainer.base, tokenizer, config)
        claim_run(folder, replace(config, resume=True), {"model": base.policy_id})
        cost = TrainingCost(folder)
        trainer.add_callback(cost)
        trainer.train(resume_from_checkpoint=last_whole_checkpoint(folder))
        rates = {} if not held_out else attempted_twice(trainer, tokenizer, held_out)
        save(trainer.model, tokenizer, config)
        report = ScoreReport(
            len(problems), curve(trainer.state), rates or None, tokens(trainer.state), cost.so_far()
        )
        report.write(folder / "report.json")  # from here on the training is a finished one
        remove_resume_files(folder)
        logger.info("%s:\n%s", folder / "report.json", rates_table(rates) if rates else "no held-out problem")


def split_problems(config: TrainScoreConfig) -> tuple[list[Problem], list[Problem]]:
    """Those to train on, and the last `n_held_out`. Raises InputError where nothing is left to train on."""
    found = load_problems(config.problems)
    n_trained = len(found) - config.n_held_out
    if n_trained < 1:
        raise InputError(
            f"problems {config.problems.source}: got {len(found)} with n_held_out {config.n_held_out}, "
            "expected some more to train on"
        )
    return found[:n_trained], found[n_trained:]


def build(config: TrainScoreConfig, problems: Sequence[Problem]) -> tuple[ScoreTrainer, Any]:
    """A trainer and the base's tokenizer. Raises InputError for a launch in several processes."""
    path, trusted = model_path(config.model), config.trust_remote_code
    arguments = training_arguments(config)
    if arguments.world_size > 1:
        raise InputError(f"got {arguments.world_size} processes, expected one: train-score draws in it")
    tokenizer = load_tokenizer(path, trusted)
    dtype = getattr(torch, config.dtype)
    model, base = (
        load_model(AutoModelForCausalLM, path, dtype=dtype, trust_remote_code=trusted) for _ in range(2)
    )
    n = model.num_parameters()
    logger.info("%s", model_line("model", config.model, n, config.dtype, arguments.device))
    grader = load_grader(config.grader, config.problems.source)
    trainer = ScoreTrainer(model, base, tokenizer, arguments, config, problems, grader)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(ScoreProgress("train-score"))
    return trainer, tokenizer


def training_arguments(config: TrainScoreConfig) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(config.output / "training"),
        max_steps=config.n_steps,
        per_device_train_batch_size=config.problems_per_step,
        learning_rate=config.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=config.n_warmup_steps,
        weight_decay=0.0,
        max_grad_norm=config.max_grad_norm,
        seed=config.seed,
        use_cpu=config.use_cpu or not torch.accelerator.is_available(),
        logging_steps=config.n_steps_between_logs,
        save_strategy="steps",
        save_steps=config.n_steps_between_saves,
        save_total_limit=1,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to="none",
    )


def attempted_twice(
    trainer: ScoreTrainer, tokenizer: Any, problems: Sequence[Problem]
) -> dict[str, SelfCorrection]:
    """The measures of greedy attempts by the base and by the trained model."""
    params = replace(trainer.config.params, temperature=0.0)
    measured = {}
    for name, model in (("base", trainer.base), ("trained", trainer.model)):
        policy = frozen_policy(model, tokenizer, trainer.config)
        drawer = ChainDrawer(policy, trainer.grader, params, trainer.config.prompts)
        measured[name] = self_correction(verdicts(asyncio.run(drawer.draw(problems, 1))))
    return measured


def verdicts(groups: Sequence[Sequence[TwoAttempts]]) -> list[list[Any]]:
    return [[chain.verdicts for chain in group] for group in groups]


def save(model: Any, tokenizer: Any, config: TrainScoreConfig) -> None:
    """Write the checkpoint, and check that what is on disk is what is in memory. Raises RuntimeError."""
    encoding = EncodingFacts("chat" if tokenizer.chat_template else "plain", "\n", marker_token="")
    facts = CheckpointFacts("revision", encoding, "rewards of two attempts (SCoRe)", "last")
    write_facts(facts, model.config)
    in_memory = frozen_policy(model, tokenizer, config).policy_id
    model.save_pretrained(config.output)
    tokenizer.save_pretrained(config.output)
    saved = load_policy(
        str(config.output), dtype=config.dtype, trust_remote_code=config.trust_remote_code
    ).policy_id
    if saved != in_memory:
        raise RuntimeError(f"{config.output}: the checkpoint is not the model that was trained")


def curve(state: Any) -> tuple[dict[str, float], ...]:
    """The logged means of the attempts, with the loss; Trainer's last entry has those of the last steps."""
    return tuple(
        {
            name: round(float(value), 6)
            for name, value in entry.items()
            if name != "total_flos" and not name.startswith("train_")
        }
        for entry in state.log_history
        if "attempts/accuracy_1" in entry
    )


def tokens(state: Any) -> dict[str, int]:
    """Tokens of the whole training, from the means in its log: generated, prompts read for that, trained on,
    and read by the base for the KL.
    """
    total, before = Counter[str](), 0.0
    for entry in curve(state):
        for name, value in entry.items():
            if name.startswith("tokens/"):
                total[name.removeprefix("tokens/")] += round(value * (entry["step"] - before))
        before = entry["step"]
    return dict(total)


def rates_table(rates: Mapping[str, SelfCorrection]) -> str:
    def words(found: SelfCorrection) -> str:
        each = {name: getattr(found, name) for name in MEASURES}
        return ", ".join(f"{name} {v.mean:.3f} [{v.low:.3f}, {v.high:.3f}]" for name, v in each.items())

    return result_table({name: words(found) for name, found in rates.items()})
