"""One training by GRPO, from problems to a policy: refused if the folder holds another, skipped if finished,
resumed if broken off.

The loop is TRL's. What stands here: problems as its rows, rewards as its reward functions, this project's
credit for steps, and what a run leaves behind. `output` gets the policy; `output/training` holds config.json
(what the run is), curve.jsonl (what the trainer logged, and how many validation problems were solved, by
step), checkpoint-N (to resume from, deleted at the end) and report.json, which is written last.
"""

import logging
import os
from collections.abc import Collection
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

import torch
from accelerate.utils import DistributedType
from datasets import Dataset
from transformers import AutoModelForCausalLM, PrinterCallback, set_seed
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from transformers.utils import logging as transformers_logging
from trl import GRPOConfig as GrpoArguments
from trl import GRPOTrainer

from data_gen.files.stored_record import StoredRecord
from data_gen.grading.graders import load_grader
from data_gen.models.eos_ids import need_eos_ids
from data_gen.models.names import model_line
from data_gen.models.pretrained import load_model
from data_gen.models.prompt_layout import PromptLayout
from data_gen.models.tokenizer import load_tokenizer
from data_gen.problems.sources import load_problems
from data_gen.problems.tasks import model_path
from data_gen.process.disk_faults import writing
from data_gen.process.library_noise import show_no_loading_bars
from data_gen.records.grader import Grader
from data_gen.settings.errors import InputError
from prm_train.kinds.load import load_scorer
from prm_train.rewards import OrmReward, OutcomeReward, StepCredit
from prm_train.rewards.adapters.trl import StepCreditTrainer
from prm_train.rewards.monitors import ALARM, LENGTH, RewardMonitor
from prm_train.rl.curve import Curve, read_curve
from prm_train.rl.folder import REPORT, claimed_folder
from prm_train.rl.format_reward import FormatReward
from prm_train.rl.problems import check_prompts, prompt_rows
from prm_train.rl.settings import GrpoConfig
from prm_train.rl.validation import ValidationCallback, validate
from prm_train.training.arguments import device_settings
from prm_train.training.callbacks import TrainingCost, TrainingProgress, finish_tracking, tracker
from prm_train.training.folder import last_whole_checkpoint, remove_resume_files

logger = logging.getLogger(__name__)
CURVE = "curve.jsonl"


@dataclass(frozen=True)
class GrpoReport(StoredRecord):
    """report.json. `solved` is the share of the validation problems that greedy answers solve, at the start
    and at the end (None without validation). `n_tokens` were generated for the training, in `n_completions`.
    """

    WRITTEN_BY = "`prm-train grpo`"

    n_steps: int
    n_completions: int
    n_tokens: int
    wall_seconds: float
    cpu_seconds: float
    solved_before: float | None = None
    solved: float | None = None


def train_grpo(config: GrpoConfig) -> None:
    """Train, or go on, or do nothing where `config.output` holds the finished training.

    Raises InputError for another training's folder or the policy's own, a base or scorer that cannot be
    loaded or is another one than that which began the run, another number of processes than began it, too few
    problems for a step, prompts that the trainer would read otherwise than `sample` does, and validation of
    weights that are spread over processes.
    """
    folder, arguments = config.output / "training", grpo_arguments(config)
    with writing(config.output), claimed_folder(config, arguments):
        if (folder / REPORT).exists():
            logger.info("%s: this training is finished; nothing to do", config.output)
            return
        checkpoint = last_whole_checkpoint(folder)
        step = int(checkpoint.rpartition("-")[2]) if checkpoint else 0
        transformers_logging.set_verbosity_error()
        show_no_loading_bars()
        set_seed(config.seed)
        trainer, layout = build_trainer(config, arguments)
        cost = add_callbacks(config, trainer, layout, step)
        if is_over(config, step):
            # Trainer makes another step of a training that was broken off behind its last one
            trainer.args.max_steps, trainer.args.num_train_epochs = -1, 0
        trainer.train(resume_from_checkpoint=checkpoint)
        finish(config, trainer, cost)


def is_over(config: GrpoConfig, step: int) -> bool:
    """Whether a training that goes on behind `step` has nothing left to do but to be saved."""
    lines = read_curve(config.output / "training" / CURVE)
    return step >= config.n_steps or (config.stop_on_alarm and any(line.get(ALARM) for line in lines))


# --- what TRL is given


def grpo_arguments(config: GrpoConfig) -> GrpoArguments:
    """Raises InputError as `device_settings` does, for completions of a step that the processes cannot share
    evenly, and for a vLLM that is not there.
    """
    if config.vllm != "none" and find_spec("vllm") is None:
        raise InputError(
            f"vllm: got {config.vllm}, and vLLM is not installed; expected `pip install 'trl[vllm]'`, or none"
        )
    folder, n_rows = config.output / "training", config.n_prompts * config.n_generations
    n_in_a_pass = min(config.batch_size, n_rows)
    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    if n_rows % (n_in_a_pass * n_processes):
        raise InputError(
            f"batch_size: got {n_in_a_pass} in each of {n_processes} processes, expected that "
            f"{n_rows} completions of a step (n_prompts * n_generations) are whole passes of all"
        )
    return GrpoArguments(
        output_dir=str(folder),
        max_steps=config.n_steps,
        per_device_train_batch_size=n_in_a_pass,
        gradient_accumulation_steps=n_rows // (n_in_a_pass * n_processes),
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.lr_schedule,
        warmup_steps=config.n_warmup_steps,
        num_generations=config.n_generations,
        max_completion_length=config.max_new_tokens,
        temperature=config.temperature,
        beta=config.kl_weight,
        loss_type=config.loss,
        scale_rewards=config.scale_rewards,
        reward_weights=reward_weights(config),
        use_vllm=config.vllm != "none",
        vllm_gpu_memory_utilization=config.vllm_memory_share,
        gradient_checkpointing=config.gradient_checkpointing,
        seed=config.seed,
        logging_steps=1,
        save_steps=config.n_steps_between_saves,
        save_total_limit=1,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to=tracker(config.report_to, folder),
        **device_settings(config),
    )


def reward_weights(config: GrpoConfig) -> list[float]:
    """Of `reward_functions`. The outcome is always looked at, with weight 0 where it is no reward: monitors
    and the curve read it.
    """
    weights = [config.outcome_weight]
    if config.format_pattern is not None:
        weights.append(config.format_weight)
    if config.orm is not None:
        weights.append(config.orm_weight)
    return weights


def reward_functions(config: GrpoConfig, eos_ids: Collection[int], device: str) -> list[Any]:
    """What rewards whole completions."""
    found: list[Any] = [OutcomeReward(_grader(config), eos_ids=eos_ids, wrong_reasons=config.wrong_reasons)]
    if config.format_pattern is not None:
        found.append(FormatReward(config.format_pattern))
    if config.orm is not None:
        scorer = load_scorer(config.orm, device=device, trust_remote_code=config.trust_remote_code)
        found.append(OrmReward(scorer, separator=config.step_separator))
    return found


def build_trainer(config: GrpoConfig, arguments: GrpoArguments) -> tuple[GRPOTrainer, PromptLayout]:
    """The trainer, and how it asks."""
    tokenizer = load_tokenizer(model_path(config.model), config.trust_remote_code)
    layout = PromptLayout(config.prompt_template, config.system_prompt)
    layout.check(tokenizer)
    rows = prompt_rows(load_problems(config.problems), layout, tokenizer)
    if len(rows) < config.n_prompts:
        raise InputError(
            f"problems {config.problems.source}: got {len(rows)}, expected at least n_prompts "
            f"({config.n_prompts}), those of one optimizer step"
        )
    check_prompts(rows, layout, tokenizer)
    model, device = load_policy(config), str(arguments.device)
    eos_ids = need_eos_ids(config.model, tokenizer, model.config, model.generation_config)
    given: dict[str, Any] = {
        "model": model,
        "reward_funcs": reward_functions(config, eos_ids, device),
        "args": arguments,
        "train_dataset": Dataset.from_list(rows),
        "processing_class": tokenizer,
    }
    credit = step_credit(config, device)
    trainer = StepCreditTrainer(**given, step_credit=credit) if credit else GRPOTrainer(**given)
    if trainer.is_world_process_zero():
        logger.info(
            "%s", model_line("policy", config.model, model.num_parameters(), config.dtype, arguments.device)
        )
    return trainer, layout


def load_policy(config: GrpoConfig) -> Any:
    options: dict[str, Any] = {}
    if config.attention != "auto":
        options["attn_implementation"] = config.attention
    return load_model(
        AutoModelForCausalLM,
        model_path(config.model),
        dtype=getattr(torch, config.dtype),
        trust_remote_code=config.trust_remote_code,
        **options,
    )


def step_credit(config: GrpoConfig, device: str) -> StepCredit | None:
    if config.prm is None:
        return None
    credit = StepCredit(
        load_scorer(config.prm, device=device, trust_remote_code=config.trust_remote_code),
        config.credit,
        separator=config.step_separator,
        step_weight=config.credit_weight,
        outcome_weight=float(any(reward_weights(config))),
    )
    credit.scorer  # noqa: B018 - refuses an ORM, before anything is drawn
    return credit


def add_callbacks(config: GrpoConfig, trainer: GRPOTrainer, layout: PromptLayout, step: int) -> TrainingCost:
    """Those of a training that goes on behind `step`. The clock of the run starts here."""
    curve = Curve(config.output / "training" / CURVE, step)
    cost = TrainingCost(config.output / "training")
    trainer.remove_callback(PrinterCallback)
    # The monitor adds to the logs that the curve keeps
    monitor = RewardMonitor(stops_training=config.stop_on_alarm)
    lines = read_curve(curve.path)
    monitor.recall(lines)
    for callback in (TrainingProgress("train grpo"), cost, monitor, curve):
        trainer.add_callback(callback)
    if config.validation is not None:
        _check_whole(trainer)
        problems, grader = load_problems(config.validation), _grader(config)

        def look(step: int, model: Any) -> None:
            found = validate(
                trainer.accelerator.unwrap_model(model),
                trainer.processing_class,
                layout,
                problems,
                grader,
                config.max_new_tokens,
            )
            curve.add(step, **{f"validation/{name}": value for name, value in asdict(found).items()})
            logger.info("step %d: %.1f %% of %d problems solved", step, 100 * found.solved, len(problems))

        looked_at = max((line["step"] for line in lines if "validation/solved" in line), default=None)
        trainer.add_callback(ValidationCallback(config.n_steps_between_validations, look, looked_at))
    return cost


def _check_whole(trainer: GRPOTrainer) -> None:
    """Raises InputError where no process has all weights."""
    kind = trainer.accelerator.distributed_type
    is_zero_3 = trainer.is_deepspeed_enabled and is_deepspeed_zero3_enabled()
    if kind is DistributedType.FSDP or is_zero_3:
        raise InputError(
            f"validation: the weights are spread over processes ({kind.value}); expected null, and `sample` "
            "with the saved policy"
        )


def _grader(config: GrpoConfig) -> Grader:
    return load_grader(config.grader, config.problems.source)


# --- what is left behind


def finish(config: GrpoConfig, trainer: GRPOTrainer, cost: TrainingCost) -> None:
    """Save the policy and report. All processes come here, since each may hold a part of the weights."""
    folder = config.output / "training"
    trainer.save_model(str(config.output))
    if trainer.is_world_process_zero():
        trainer.processing_class.save_pretrained(config.output)
        for written in (config.output / "training_args.bin", folder / "README.md"):
            written.unlink(missing_ok=True)  # a pickle, which nobody should load; a card that says nothing
        lines, n_rows = read_curve(folder / CURVE), config.n_prompts * config.n_generations
        solved = [line["validation/solved"] for line in lines if "validation/solved" in line]
        lengths = [line[LENGTH] for line in lines if LENGTH in line]
        seconds = cost.so_far()
        GrpoReport(
            n_steps=trainer.state.global_step,
            n_completions=n_rows * trainer.state.global_step,
            n_tokens=round(n_rows * sum(lengths)),
            wall_seconds=seconds.wall_seconds,
            cpu_seconds=seconds.cpu_seconds,
            solved_before=solved[0] if solved else None,
            solved=solved[-1] if solved else None,
        ).write(folder / REPORT)
        remove_resume_files(folder)
        logger.info("%s: %d steps", folder / REPORT, trainer.state.global_step)
    finish_tracking(trainer)
    trainer.accelerator.end_training()
