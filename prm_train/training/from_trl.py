"""The settings of a PRM training with TRL, and what they are here.

`TrlPrmSettings` holds those of TRL 1.13, the last release with a PRMTrainer, under their names and with their
defaults: what its PRMConfig (with transformers' TrainingArguments), ModelConfig and ScriptArguments say of
the weights that come out. A setting is taken over, or it asks for nothing (`NEEDS_NOTHING`), or its name and
the reason stand in `misfits`. Loads without torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from prm_train.training.config import TrainPrmConfig
from prm_train.training.settings import LoraSettings


@dataclass(frozen=True, kw_only=True)
class TrlPrmSettings:
    """Which of them are taken over, and as what: `converted`."""

    # Model and data
    model_name_or_path: str | None = None
    model_revision: str | None = "main"
    trust_remote_code: bool = False
    dtype: str | None = "float32"
    attn_implementation: str | None = None
    dataset_name: str | None = None
    output_dir: str | None = None
    # The PRM's own
    max_length: int | None = 1024
    max_completion_length: int | None = None
    disable_dropout: bool = True
    step_separator: str = "\n"
    train_on_last_step_only: bool = False
    # Optimization
    per_device_train_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    num_train_epochs: float = 3.0
    max_steps: int = -1
    learning_rate: float = 1e-5
    lr_scheduler_type: str = "linear"
    lr_scheduler_kwargs: dict[str, Any] | str | None = None
    warmup_steps: float = 0
    warmup_ratio: float | None = None
    optim: str = "adamw_torch_fused"
    optim_args: str | None = None
    weight_decay: float = 0.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    label_smoothing_factor: float = 0.0
    neftune_noise_alpha: float | None = None
    seed: int = 42
    data_seed: int | None = None
    # Numbers and devices
    bf16: bool | None = None
    fp16: bool = False
    gradient_checkpointing: bool = True
    use_cpu: bool = False
    ddp_backend: str | None = None
    deepspeed: dict[str, Any] | str | None = None
    fsdp: str | None = None
    torch_compile: bool = False
    use_liger_kernel: bool = False
    # Low-rank updates
    use_peft: bool = False
    lora_r: int = 16
    lora_alpha: float = 32
    lora_dropout: float = 0.05
    lora_target_modules: str | list[str] | None = None
    lora_target_parameters: list[str] | None = None
    lora_modules_to_save: list[str] | None = None
    use_rslora: bool = False
    use_dora: bool = False
    load_in_8bit: bool = False
    load_in_4bit: bool = False
    bnb_4bit_quant_type: str = "nf4"
    # While it runs
    logging_steps: float = 10
    eval_strategy: str = "no"
    save_strategy: str = "steps"
    save_steps: float = 500
    load_best_model_at_end: bool = False
    metric_for_best_model: str | None = None
    report_to: str | list[str] | None = "none"
    run_name: str | None = None


# Settings of TRL that change nothing of the weights
# fmt: off
LEFT_OUT = frozenset((
    "average_tokens_across_devices", "bnb_4bit_quant_storage", "dataset_config", "dataset_num_proc",
    "dataset_test_split", "dataset_train_split", "disable_tqdm", "do_eval", "do_train", "eval_on_start",
    "eval_steps", "gradient_checkpointing_kwargs", "greater_is_better", "hub_model_id", "hub_private_repo",
    "hub_strategy", "log_level", "logging_first_step", "logging_strategy", "lora_task_type",
    "overwrite_output_dir", "per_device_eval_batch_size", "push_to_hub", "remove_unused_columns",
    "save_only_model", "save_total_limit", "use_bnb_nested_quant", "use_cache", "dataloader_num_workers",
    "dataloader_pin_memory", "dataloader_persistent_workers", "dataloader_prefetch_factor",
    "ddp_find_unused_parameters", "ddp_timeout",
))
# fmt: on

# Settings of which these values alone ask for nothing, and what to do otherwise
NEEDS_NOTHING: dict[str, tuple[tuple[Any, ...], str]] = {
    "model_revision": ((None, "main"), "download that revision and name its folder"),
    "max_completion_length": ((None,), "rows are cut at max_length alone"),
    "disable_dropout": ((True,), "say how much with backbone_dropout, head_dropout and lora.dropout"),
    "train_on_last_step_only": ((False,), "train-orm trains on the outcome of whole solutions"),
    "max_steps": ((-1, 0), "say how long with num_train_epochs"),
    "lr_scheduler_kwargs": ((None,), "schedules are linear, cosine and constant, without settings"),
    "optim": (("adamw_torch", "adamw_torch_fused"), "AdamW is the only optimizer"),
    "optim_args": ((None,), "AdamW is the only optimizer"),
    "adam_epsilon": ((1e-8,), "it is 1e-8"),
    "label_smoothing_factor": ((0,), "label_kind smoothed makes soft targets of rollout counts"),
    "neftune_noise_alpha": ((None, 0), "there is no noise on embeddings"),
    "data_seed": ((None,), "seed decides the order of the rows, too"),
    "fp16": ((False,), "bf16_autocast, or float32"),
    "deepspeed": ((None,), "launch/train.sh zero2 (or zero3, zero3-offload) starts it"),
    "fsdp": ((None, ""), "launch/train.sh fsdp2 starts it"),
    "torch_compile": ((False,), "models are not compiled"),
    "use_liger_kernel": ((False,), "batch_tokens and packing save time and memory here"),
}
NEEDS_NOTHING_OF_LORA: dict[str, tuple[tuple[Any, ...], str]] = {
    "lora_target_modules": (
        ("all-linear", ["all-linear"]),
        "all linear layers are updated here, TRL's default is queries and values alone: write all-linear",
    ),
    "lora_target_parameters": ((None,), "all linear layers are updated, and no others"),
    "lora_modules_to_save": (
        (None, ["score"], ["classifier"], ["classifier", "score"], ["score", "classifier"]),
        "the head and the embedding of the step marker are trained whole, and nothing else",
    ),
    "use_rslora": ((False,), "updates are multiplied by alpha / rank"),
    "use_dora": ((False,), "there is LoRA alone"),
    "load_in_8bit": ((False,), "quantization is nf4 or none"),
    "bnb_4bit_quant_type": (("nf4",), "quantization is nf4 or none"),
}
CHOICES: dict[str, tuple[str | None, ...]] = {
    "dtype": ("float32", "bfloat16"),
    "attn_implementation": (None, "sdpa", "eager", "flash_attention_2"),
    "lr_scheduler_type": ("linear", "cosine", "constant", "constant_with_warmup"),
    "ddp_backend": (None, "gloo", "nccl"),
    "eval_strategy": ("no", "epoch", "steps"),
    "save_strategy": ("steps", "epoch", "no"),
    "metric_for_best_model": (None, "loss", "eval_loss"),
}


def misfits(trl: TrlPrmSettings) -> Iterator[str]:
    """Of each setting that cannot be taken over its name, what came and what to do."""
    needs = NEEDS_NOTHING | (NEEDS_NOTHING_OF_LORA if trl.use_peft else {})
    for name, (values, otherwise) in needs.items():
        if getattr(trl, name) not in values:
            yield f"{name}: got {getattr(trl, name)!r}; {otherwise}"
    for name, choices in CHOICES.items():
        if getattr(trl, name) not in choices:
            yield f"{name}: got {getattr(trl, name)!r}, expected one of {', '.join(map(str, choices))}"
    yield from (words for is_so, words in _cannot_be(trl) if is_so)


def _cannot_be(trl: TrlPrmSettings) -> Iterator[tuple[bool, str]]:
    """What no list of values says: whether it is so, and the words for it."""
    yield trl.max_length is None, "max_length: got null, expected a number of tokens"
    yield trl.model_name_or_path is None, "model_name_or_path: not there, expected a folder or Hub name"
    yield (
        trl.warmup_steps >= 1,
        f"warmup_steps: got {trl.warmup_steps:g}, expected the share of all steps, below 1",
    )
    yield (
        trl.load_in_4bit and not trl.use_peft,
        "load_in_4bit: got true without use_peft; weights of 4 bits cannot be trained themselves",
    )
    yield (
        not _is_count(trl.logging_steps),
        f"logging_steps: got {trl.logging_steps:g}, expected a number of steps",
    )
    yield (
        trl.save_strategy == "steps" and not _is_count(trl.save_steps),
        f"save_steps: got {trl.save_steps:g}, expected a number of steps",
    )
    yield (
        trl.load_best_model_at_end and {trl.eval_strategy, trl.save_strategy} != {"epoch"},
        "load_best_model_at_end: expected eval_strategy and save_strategy epoch",
    )
    yield (
        tracker(trl) is None,
        f"report_to: got {trl.report_to!r}, expected none, or one of wandb and tensorboard",
    )


def _is_count(value: float) -> bool:
    return value >= 1 and value % 1 == 0


def converted(trl: TrlPrmSettings, rows: Path) -> TrainPrmConfig:
    """The same training on `rows`, of settings without `misfits`. Raises ValueError for what TrainPrmConfig
    refuses.
    """
    assert trl.model_name_or_path is not None
    assert trl.max_length is not None
    report_to = tracker(trl)
    assert report_to is not None
    schedule = trl.lr_scheduler_type
    warmup = trl.warmup_steps if trl.warmup_ratio is None else trl.warmup_ratio
    return TrainPrmConfig(
        rows=rows,
        output=Path(trl.output_dir or "trainer_output"),  # transformers' default
        model=trl.model_name_or_path,
        trust_remote_code=trl.trust_remote_code,
        step_separator=trl.step_separator,
        max_length=trl.max_length,
        validation_share=0.0 if trl.eval_strategy == "no" else 0.1,
        n_epochs=trl.num_train_epochs,
        batch_size=trl.per_device_train_batch_size,
        n_accumulated=trl.gradient_accumulation_steps,
        learning_rate=trl.learning_rate,
        lr_schedule=cast(Any, "constant_with_warmup" if schedule == "constant" else schedule),
        warmup_share=0.0 if schedule == "constant" else float(warmup),
        adam_betas=(trl.adam_beta1, trl.adam_beta2),
        weight_decay=trl.weight_decay,
        max_grad_norm=trl.max_grad_norm,
        seed=trl.seed,
        # disable_dropout, which is on, also switches off that of the updates
        lora=LoraSettings(trl.lora_r, trl.lora_alpha, 0.0) if trl.use_peft else None,
        quantization="nf4" if trl.load_in_4bit else "none",
        dtype=cast(Any, trl.dtype),
        bf16_autocast=not trl.fp16 if trl.bf16 is None else trl.bf16,
        gradient_checkpointing=trl.gradient_checkpointing,
        attention=cast(Any, trl.attn_implementation or "auto"),
        use_cpu=trl.use_cpu,
        ddp_backend=cast(Any, trl.ddp_backend),
        keep="lowest_validation_loss" if trl.load_best_model_at_end else "last",
        n_steps_between_logs=int(trl.logging_steps),
        n_steps_between_saves=int(trl.save_steps) if trl.save_strategy == "steps" else None,
        report_to=report_to,
        run_name=trl.run_name,
    )


def remarks(trl: TrlPrmSettings) -> Iterator[str]:
    """What is taken over and nevertheless does not do the same."""
    if trl.gradient_accumulation_steps > 1:
        yield (
            f"gradient_accumulation_steps {trl.gradient_accumulation_steps}: TRL multiplied loss and "
            "gradient by it before clipping, here they are those of one large batch"
        )
    if trl.use_peft and trl.lora_dropout:
        yield f"lora_dropout {trl.lora_dropout:g}: TRL set it to 0 (disable_dropout), as it is here"
    if trl.eval_strategy != "no":
        yield "eval_strategy: a tenth of the questions of the rows is kept for validation, after each epoch"
    if trl.save_strategy == "no":
        yield "save_strategy no: a checkpoint is written after each epoch"


def tracker(trl: TrlPrmSettings) -> Literal["none", "wandb", "tensorboard"] | None:
    """None where train-prm has none such."""
    named = [trl.report_to] if isinstance(trl.report_to, str) else trl.report_to or ["none"]
    return cast(Any, named[0]) if named in (["none"], ["wandb"], ["tensorboard"]) else None
