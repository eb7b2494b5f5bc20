"""The arguments that transformers' Trainer gets, and the launcher that started it: on which devices, in how
many processes.

What would train wrongly or save nothing is refused with the reason.

Silent faults of launchers that are caught here, all seen with accelerate 1.15 without a GPU: `accelerate
launch --cpu --num_processes 2` starts one process; FSDP becomes two trainings that never exchange anything;
DeepSpeed with use_cpu becomes plain DDP.
"""

import importlib.util
import os
from typing import Any

import torch
from accelerate.utils import DistributedType
from transformers import TrainingArguments

from data_gen.models.pretrained import load_model_config
from data_gen.problems.tasks import model_path
from data_gen.settings.errors import InputError
from prm_train.networks.packed_attention import MODEL_TYPES, fits_varlen, has_varlen
from prm_train.training.callbacks import tracker
from prm_train.training.folder import is_finished
from prm_train.training.settings import LaunchSettings, TrainingConfig, is_packed, is_quantized


def training_arguments(config: TrainingConfig, kind: type[Any] = TrainingArguments, **more: Any) -> Any:
    """The arguments of a Trainer of ours, whose collator cuts the rows of an optimizer step into forward
    passes by itself.

    They are an object of class `kind`, where a trainer has its own; `more` replaces arguments and adds some.
    """
    folder, n_rows = config.output / "training", config.batch_size * config.n_accumulated
    has_validation = config.validation_share > 0
    saves: dict[str, Any] = {"save_strategy": "epoch"}
    if config.n_steps_between_saves:
        saves = {"save_strategy": "steps", "save_steps": config.n_steps_between_saves}

    arguments: dict[str, Any] = dict(
        output_dir=str(folder),
        num_train_epochs=config.n_epochs,
        per_device_train_batch_size=n_rows,
        per_device_eval_batch_size=n_rows,
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
        # Every weight takes part in every pass; looking for others costs a walk of the graph
        ddp_find_unused_parameters=False,
        **device_settings(config),
        **saves,
    )
    return kind(**(arguments | more))


def trl_arguments(config: TrainingConfig, kind: type[Any], **more: Any) -> Any:
    """The arguments of a trainer of TRL, which accumulates forward passes of `batch_size` rows; `kind` is its
    own class of arguments.
    """
    return training_arguments(
        config,
        kind,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.n_accumulated,
        # TRL would cut rows, or drop them, without a word: our examples are short enough already
        max_length=None,
        **more,
    )


# --- what the launcher asked for


def device_settings(config: LaunchSettings) -> dict[str, Any]:
    """The TrainingArguments that choose device and precision. Raises InputError if what the launcher asks for
    cannot run there.
    """
    is_cpu = config.use_cpu or not torch.accelerator.is_available()
    is_deepspeed = _is_set("ACCELERATE_USE_DEEPSPEED")
    if _is_set("ACCELERATE_USE_FSDP") and is_cpu:
        raise InputError(
            "FSDP without a GPU: accelerate would train an unconnected copy in each process; expected ddp, "
            "zero2 or zero3"
        )
    if is_deepspeed and config.use_cpu:
        raise InputError(
            "use_cpu: got true under DeepSpeed, which Trainer would leave out then; expected false, also "
            "without a GPU"
        )
    if (
        "ACCELERATE_MIXED_PRECISION" in os.environ
        and "MASTER_ADDR" in os.environ
        and "WORLD_SIZE" not in os.environ
    ):
        raise InputError(
            "`accelerate launch` was asked for several processes and started one, as it does with --cpu; "
            "expected --multi_gpu beside "
            "--num_processes, also without a GPU"
        )
    if is_deepspeed:  # Trainer takes a CPU for DeepSpeed only with an explicit backend and without use_cpu
        return {
            "ddp_backend": config.ddp_backend or ("gloo" if is_cpu else None),
            "use_cpu": False,
            "bf16": False,
        }
    return {"ddp_backend": config.ddp_backend, "use_cpu": is_cpu, "bf16": config.bf16_autocast}


def check_launch(arguments: TrainingArguments, config: TrainingConfig) -> None:
    """Once the processes have met and before anything is loaded. Raises InputError with what was started and
    what was expected.

    Turns on DeepSpeed's own autocast for `bf16_autocast`: under its bf16 mode the head would be bfloat16,
    which loses small updates.
    """
    n_started = int(os.environ.get("WORLD_SIZE", "1"))
    if arguments.world_size != n_started:
        raise InputError(
            f"{n_started} processes were started and {arguments.world_size} train together; each would train "
            "a copy of its own"
        )
    if is_packed(config) and arguments.device.type == "cuda":
        _check_packing(config)
    if arguments.deepspeed_plugin is not None:
        _check_deepspeed(arguments.deepspeed_plugin, config)
        if config.bf16_autocast:
            arguments.deepspeed_plugin.deepspeed_config["torch_autocast"] = {
                "enabled": True,
                "dtype": "bfloat16",
            }


def check_accelerator(accelerator: Any) -> None:
    """Before the first step: what the launcher asked for is what the Trainer has. Raises InputError."""
    kinds = {
        "ACCELERATE_USE_FSDP": DistributedType.FSDP,
        "ACCELERATE_USE_DEEPSPEED": DistributedType.DEEPSPEED,
    }
    for variable, wanted in kinds.items():
        if _is_set(variable) and accelerator.distributed_type is not wanted:
            raise InputError(
                f"the launcher asked for {wanted.value}, the Trainer has {accelerator.distributed_type.value}"
            )


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() in ("true", "1")


def _check_packing(config: TrainingConfig) -> None:
    """Raises InputError where no kernel would mind that rows of varying length lie behind each other."""
    if config.attention == "flash_attention_2" and importlib.util.find_spec("flash_attn") is None:
        raise InputError("attention flash_attention_2: flash_attn is not installed")
    if config.attention != "auto" or is_finished(config.output / "training"):
        return
    fault = _no_varlen(config)
    if fault is not None:
        raise InputError(
            f"packing on a GPU with attention auto: {fault}, as torch's own kernel for rows of varying "
            "length takes it, or attention flash_attention_2, whose kernels take such rows, too (attention "
            "sdpa trains nevertheless, slower: it may mask the square of the whole pass)"
        )


def _no_varlen(config: TrainingConfig) -> str | None:
    """What keeps this training from torch's kernel, and what was expected; None if nothing does."""
    if not has_varlen():
        return f"got torch {torch.__version__} on this GPU, expected torch 2.10 and an Ampere GPU, or newer"
    if not config.bf16_autocast and config.dtype != "bfloat16":
        return f"got dtype {config.dtype} without bf16_autocast, expected bf16_autocast or dtype bfloat16"
    if config.backbone_dropout:
        return f"got backbone_dropout {config.backbone_dropout:g}, expected 0"
    model_config = load_model_config(model_path(config.model), config.trust_remote_code)
    if not fits_varlen(model_config):
        wanted = f"{', '.join(MODEL_TYPES[:-1])} or {MODEL_TYPES[-1]}"
        kind = model_config.model_type
        return f"got model {config.model} ({kind}), expected {wanted} whose attention is over all tokens"
    return None


def _check_deepspeed(plugin: Any, config: TrainingConfig) -> None:
    """Refuse at the start what could not be saved, or would have been rounded, at the end."""
    for name in ("bf16", "fp16"):
        if plugin.deepspeed_config.get(name, {}).get("enabled") is True:
            raise InputError(
                f"DeepSpeed's {name} mode would round the head to 16 bits; expected mixed_precision: 'no' in "
                "accelerate's config, and "
                "bf16_autocast in the training's"
            )
    if plugin.zero_stage != 3:
        return
    if is_quantized(config):
        raise InputError("quantization nf4 with ZeRO stage 3, which has not been tried; expected stage 2")
    if not plugin.deepspeed_config["zero_optimization"].get("stage3_gather_16bit_weights_on_model_save"):
        raise InputError(
            "DeepSpeed ZeRO stage 3 would save no weights; expected zero3_save_16bit_model: true in "
            "accelerate's config"
        )
