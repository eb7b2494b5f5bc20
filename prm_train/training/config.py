"""Settings of `train-prm` and `train-orm`. Loads without torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval

from data_gen.models.names import check_inputs
from data_gen.records.sampling import check_temperature
from data_gen.records.steps import check_separator
from prm_train.encoding.aggregation import Aggregation
from prm_train.examples.targets import LabelAlgebra

Share = Annotated[float, Interval(ge=0, lt=1)]


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank updates of all linear layers instead of training every weight; merged into the model when it is saved."""

    rank: Annotated[int, Ge(1)] = 16
    alpha: Annotated[float, Gt(0)] = 32.0
    dropout: Share = field(default=0.0, metadata={"help": "of what goes into the updates"})


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What training a PRM and an ORM share.

    One optimizer step sees batch_size * n_accumulated * processes rows, sorted by length: more and smaller forward passes hold less
    padding. With `batch_tokens` it sees the same rows, cut by tokens instead.
    """

    rows: Path = field(metadata={"help": "JSON lines that `prm-train build` wrote, or of the same layout", "is_input": True})
    output: Path = field(metadata={"help": "folder for the checkpoint; training/ inside it holds the report", "is_execution": True})
    model: str = field(
        metadata={
            "is_model": True,
            "help": "causal language model to start from: a folder, a Hub name, or 'base', which knows the built-in task alone",
        }
    )
    step_separator: str = "\n"
    max_length: Annotated[int, Ge(2)] = field(default=1024, metadata={"help": "tokens of a row"})
    validation_share: Share = field(default=0.1, metadata={"help": "of the questions, by a hash of their text"})

    n_epochs: Annotated[float, Gt(0)] = 1.0
    batch_size: Annotated[int, Ge(1)] = field(default=16, metadata={"help": "rows of one forward pass in one process"})
    n_accumulated: Annotated[int, Ge(1)] = field(default=1, metadata={"help": "forward passes of one optimizer step"})
    batch_tokens: Annotated[int, Ge(1)] | None = field(
        default=None, metadata={"help": "tokens of one forward pass, padding included, in place of batch_size rows"}
    )
    packing: bool = field(
        default=False, metadata={"help": "the rows of a pass one behind the other, without padding; for GPU kernels, slow on a CPU"}
    )
    learning_rate: Annotated[float, Gt(0)] = 1e-5
    head_learning_rate: Annotated[float, Gt(0)] | None = field(default=None, metadata={"help": "of the new head; null: as the rest"})
    lr_schedule: Literal["linear", "cosine", "constant_with_warmup"] = "cosine"
    warmup_share: Share = field(default=0.05, metadata={"help": "of the optimizer steps"})
    adam_betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: Annotated[float, Ge(0)] = 0.0
    max_grad_norm: Annotated[float, Ge(0)] = field(default=1.0, metadata={"help": "0: gradients are not clipped"})
    head_dropout: Share = 0.0
    backbone_dropout: Share = field(default=0.0, metadata={"help": "of the attention weights"})
    lora: LoraSettings | None = None
    quantization: Literal["none", "nf4"] = field(
        default="none", metadata={"help": "nf4: the base in 4 bits under lora (QLoRA); merged into the unquantized base when it is saved"}
    )
    seed: Annotated[int, Interval(ge=0, lt=2**32)] = 0

    dtype: Literal["float32", "bfloat16", "float64"] = field(default="float32", metadata={"help": "of the backbone; the head has float32"})
    bf16_autocast: bool = field(default=False, metadata={"help": "compute in bfloat16, keep the weights in `dtype`"})
    gradient_checkpointing: bool = False
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = field(
        default="auto", metadata={"help": "kernels; packing on a GPU wants flash_attention_2, the only one for rows of varying length"}
    )
    use_cpu: bool = field(default=False, metadata={"help": "even beside a GPU"})
    ddp_backend: Literal["gloo", "nccl"] | None = field(default=None, metadata={"help": "null: nccl on GPUs, gloo on CPUs"})
    trust_remote_code: bool = False

    keep: Literal["last", "lowest_validation_loss"] = field(default="last", metadata={"help": "which epoch's weights are kept"})
    resume: bool = field(default=True, metadata={"help": "go on from what output holds; false: start over", "is_execution": True})
    n_steps_between_logs: Annotated[int, Ge(1)] = 50
    n_steps_between_saves: Annotated[int, Ge(1)] | None = field(default=None, metadata={"help": "to resume from; null: once an epoch"})
    calibration: Literal["none", "temperature", "platt"] = field(
        default="none", metadata={"help": "of the scores, fitted on half of the validation questions (an ORM on pairs has platt anyway)"}
    )

    candidates: Path | None = field(
        default=None,
        metadata={"is_input": True, "help": "results.jsonl of a search: best-of-N on its held-out problems at each validation"},
    )
    n_candidates: Annotated[int, Ge(1)] = field(default=16, metadata={"help": "of each of those problems"})
    n_candidate_problems: Annotated[int, Ge(1)] = field(default=200, metadata={"help": "at most"})
    monitoring_share: Annotated[float, Gt(0)] = field(
        default=0.02,
        metadata={"help": "of the training's seconds, at most, for best-of-N; to keep to it, it takes fewer problems or waits"},
    )
    report_to: Literal["none", "wandb", "tensorboard"] = field(
        default="none", metadata={"help": "wandb: TensorBoard where it is not installed, or has no account and is not offline"}
    )
    run_name: str | None = None

    def __post_init__(self) -> None:
        check_separator(self.step_separator)
        if self.quantization != "none" and (self.lora is None or self.dtype == "float64"):
            raise ValueError(
                f"quantization: got {self.quantization!r} with lora {self.lora} and dtype {self.dtype}, expected lora settings, since "
                "weights of 4 bits cannot be trained themselves, and float32 or bfloat16 to compute in"
            )
        if self.batch_tokens is not None and self.batch_tokens < self.max_length:
            raise ValueError(f"batch_tokens: got {self.batch_tokens}, expected at least max_length {self.max_length}")
        if not self.validation_share and (self.calibration != "none" or self.candidates is not None):
            raise ValueError(
                f"validation_share: got 0 with calibration {self.calibration} and candidates {self.candidates}, expected more: the one is "
                "fitted on validation questions, the others are chosen from at each validation"
            )
        if self.keep == "lowest_validation_loss" and (not self.validation_share or self.n_steps_between_saves):
            raise ValueError(
                f"keep: got {self.keep!r} with validation_share {self.validation_share} and n_steps_between_saves "
                f"{self.n_steps_between_saves}, expected a validation share and a save an epoch (n_steps_between_saves null)"
            )


def check_named(config: TrainingConfig) -> None:
    """Raises InputError for rows, candidates or a base model that are not there; a finished training needs them no more."""
    if not (config.output / "training" / "report.json").exists():
        check_inputs(config)


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Which of `prm_train.training.losses`, and its settings."""

    loss: Literal["binary_cross_entropy", "cross_entropy", "mse", "focal", "pqm"] = "binary_cross_entropy"
    focal_gamma: Annotated[float, Ge(0)] = field(default=2.0, metadata={"help": "focal: how fast well judged steps stop counting"})
    pqm_margin: float = field(default=4.0, metadata={"help": "pqm: how far wrong steps are kept below right ones (zeta in the paper)"})


@dataclass(frozen=True, kw_only=True)
class TrainPrmConfig(TrainingConfig, LabelAlgebra, LossSettings):
    """Train a process reward model on labeled steps. Runs by itself or under `accelerate launch -m prm_train.train_prm`."""

    aggregation: Aggregation = field(default="min", metadata={"help": "how the checkpoint's users make one score of the step scores"})

    def __post_init__(self) -> None:
        TrainingConfig.__post_init__(self)
        LabelAlgebra.__post_init__(self)
        if self.loss == "cross_entropy" and self.label_kind != "hard":
            raise ValueError(
                f"loss cross_entropy: got label_kind {self.label_kind}, expected hard; binary_cross_entropy takes soft targets"
            )


@dataclass(frozen=True, kw_only=True)
class TrainOrmConfig(TrainingConfig):
    """Train an outcome reward model on whole solutions. Runs by itself or under `accelerate launch -m prm_train.train_orm`."""

    objective: Literal["pointwise", "pairs"] = field(
        default="pointwise", metadata={"help": "pointwise: each solution against its label; pairs: right over wrong in a question, by TRL"}
    )
    max_pairs_per_question: Annotated[int, Ge(1)] | None = field(
        default=8, metadata={"help": "pairs: made of the rows where these are no pairs; null: all"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.packing:
            raise ValueError("packing: got true, expected false: transformers reads an ORM's score at the end of a row")
        if self.objective == "pairs":
            _refuse_candidates(self, "objective pairs")
        if self.objective == "pairs" and self.batch_tokens is not None:
            raise ValueError(
                f"batch_tokens: got {self.batch_tokens} with objective pairs, expected null: TRL's passes are of batch_size pairs"
            )


@dataclass(frozen=True, kw_only=True)
class TrainImplicitPrmConfig(TrainingConfig):
    """Train an implicit PRM on whole solutions. Runs by itself or under `accelerate launch -m prm_train.train_implicit_prm`."""

    beta: Annotated[float, Gt(0)] = field(default=0.05, metadata={"help": "log-odds for each nat by which the reference is surpassed"})

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_settings_of_a_head(self)
        _refuse_candidates(self, "an implicit PRM")
        if self.quantization != "none":
            raise ValueError(f"quantization: got {self.quantization!r}, expected none: rounding the model moves it away from its reference")


@dataclass(frozen=True, kw_only=True)
class TrainVerifierConfig(TrainingConfig):
    """Train a generative verifier on labeled steps. Runs by itself or under `accelerate launch -m prm_train.train_verifier`."""

    ask: str = field(default="Right so far?", metadata={"help": "what the model is asked after each step; it answers Yes or No"})
    aggregation: Aggregation = field(default="prod", metadata={"help": "how the checkpoint's users make one score of the step scores"})

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_settings_of_a_head(self)
        _refuse_candidates(self, "a generative verifier")
        if self.batch_tokens is not None:
            raise ValueError(f"batch_tokens: got {self.batch_tokens}, expected null: TRL's passes are of batch_size rows")


@dataclass(frozen=True, kw_only=True)
class TrainRevisionConfig(TrainingConfig):
    """Train a model that revises its attempts. Runs by itself or under `accelerate launch -m prm_train.train_revision`."""

    stop_after_minimum: Annotated[int, Ge(0)] | None = field(
        default=None,
        metadata={"help": "end training so many evaluations after the lowest validation loss, as the paper does; null: all epochs"},
    )
    n_revised_chains: Annotated[int, Ge(0)] = field(
        default=200, metadata={"help": "held-out chains whose next attempts are drawn and graded at the end; 0: none"}
    )
    grader: str = field(default="math", metadata={"help": "grader of those attempts, as of `sample`"})
    max_new_tokens: Annotated[int, Ge(1)] = field(default=256, metadata={"help": "tokens of such an attempt"})
    temperature: float = field(default=0.0, metadata={"help": "of such an attempt; 0 is greedy"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperature(self.temperature)
        _refuse_settings_of_a_head(self)
        _refuse_candidates(self, "a revision model")
        if self.calibration != "none":
            raise ValueError(f"calibration: got {self.calibration}, expected none: a revision model has no scores")
        if self.batch_tokens is not None:
            raise ValueError(f"batch_tokens: got {self.batch_tokens}, expected null: TRL's passes are of batch_size rows")
        if self.stop_after_minimum is not None and (not self.validation_share or self.keep != "last"):
            raise ValueError(
                f"stop_after_minimum: got {self.stop_after_minimum} with validation_share {self.validation_share} and keep {self.keep}, "
                "expected a validation share and keep last"
            )


def _refuse_settings_of_a_head(config: TrainingConfig) -> None:
    """What is trained is a language model as it is, in rows that are not packed."""
    if config.head_learning_rate is not None or config.head_dropout or config.packing:
        raise ValueError(
            f"head_learning_rate {config.head_learning_rate}, head_dropout {config.head_dropout}, packing {config.packing}: expected null, "
            "0 and false, since no head is added to the language model"
        )


def _refuse_candidates(config: TrainingConfig, trained: str) -> None:
    """Best-of-N while training needs a network with a head for scores. `trained` is what is trained instead."""
    if config.candidates is not None:
        raise ValueError(
            f"candidates: got {config.candidates} with {trained}, expected null: only a PRM and a pointwise ORM choose from them"
        )
