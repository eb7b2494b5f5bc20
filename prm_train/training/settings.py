"""Groups of training settings, from which each command's config is made (`prm_train.training.config`). Loads
without torch.

`TrainingConfig` holds what every training has, in four groups. Below it stands one small class for each group
that only some kinds of training have. To a user all of them are flat: the key `quantization` is
`--quantization`, whichever class it stands in, and a command refuses the keys of groups that it does not take
as unknown.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeGuard

from annotated_types import Ge, Gt, Interval

from data_gen.records.steps import check_separator

Share = Annotated[float, Interval(ge=0, lt=1)]


# --- what every training has


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank updates of all linear layers instead of training every weight; merged into the model when it
    is saved.
    """

    rank: Annotated[int, Ge(1)] = field(
        default=16, metadata={"help": "rank of each update; a higher one can learn more"}
    )
    alpha: Annotated[float, Gt(0)] = field(
        default=32.0, metadata={"help": "updates are multiplied by alpha / rank"}
    )
    dropout: Share = field(default=0.0, metadata={"help": "dropout of the input of every update"})


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """What is trained, on which rows, and where the result goes."""

    rows: Path = field(
        metadata={"help": "JSON lines that `prm-train build` wrote, or of the same layout", "is_input": True}
    )
    output: Path = field(
        metadata={
            "help": "folder for the checkpoint; training/ inside it holds the report",
            "is_execution": True,
        }
    )
    model: str = field(
        metadata={
            "is_model": True,
            "help": "causal language model to start from: a folder, gguf:FILE, a Hub name, or 'base', which "
            "knows the built-in task alone",
        }
    )
    step_separator: str = field(default="\n", metadata={"help": "text that ends each step of a solution"})
    max_length: Annotated[int, Ge(2)] = field(
        default=1024,
        metadata={"help": "most tokens of a row; what a longer one loses is counted in the report"},
    )
    validation_share: Share = field(
        default=0.1,
        metadata={
            "help": "share of the questions kept for validation; a hash of a question's text decides whether "
            "it is one"
        },
    )


@dataclass(frozen=True, kw_only=True)
class OptimizationSettings:
    """How the weights move: which of them, by how much, and what an optimizer step sees.

    One optimizer step sees batch_size * n_accumulated * processes rows, sorted by length: more and smaller
    forward passes hold less padding. With `batch_tokens`, where a kind has it, the step sees the same rows,
    cut by tokens instead.
    """

    n_epochs: Annotated[float, Gt(0)] = field(
        default=1.0, metadata={"help": "how often each row is trained on"}
    )
    batch_size: Annotated[int, Ge(1)] = field(
        default=16, metadata={"help": "rows of one forward pass in one process"}
    )
    n_accumulated: Annotated[int, Ge(1)] = field(
        default=1, metadata={"help": "forward passes of one optimizer step"}
    )
    learning_rate: Annotated[float, Gt(0)] = field(
        default=1e-5, metadata={"help": "peak learning rate of AdamW"}
    )
    lr_schedule: Literal["linear", "cosine", "constant_with_warmup"] = field(
        default="cosine", metadata={"help": "how the learning rate goes on after the warm-up"}
    )
    warmup_share: Share = field(
        default=0.05,
        metadata={"help": "share of the optimizer steps in which the learning rate rises from 0"},
    )
    adam_betas: tuple[float, float] = field(
        default=(0.9, 0.95), metadata={"help": "decay rates of AdamW's two moments"}
    )
    weight_decay: Annotated[float, Ge(0)] = field(default=0.0, metadata={"help": "AdamW's weight decay"})
    max_grad_norm: Annotated[float, Ge(0)] = field(
        default=1.0,
        metadata={"help": "gradients with a greater norm are scaled down to it; 0: they are not clipped"},
    )
    backbone_dropout: Share = field(default=0.0, metadata={"help": "dropout of the attention weights"})
    lora: LoraSettings | None = field(
        default=None, metadata={"help": "low-rank updates are trained in place of all weights."}
    )
    seed: Annotated[int, Interval(ge=0, lt=2**32)] = field(
        default=0,
        metadata={"help": "decides a new head's weights, the order of the rows and what dropout drops"},
    )


@dataclass(frozen=True, kw_only=True)
class LaunchSettings:
    """Where and in which numbers the model computes."""

    dtype: Literal["float32", "bfloat16", "float64"] = field(
        default="float32", metadata={"help": "number format of the weights; a new head has at least float32"}
    )
    bf16_autocast: bool = field(
        default=False, metadata={"help": "compute in bfloat16, keep the weights in `dtype`"}
    )
    gradient_checkpointing: bool = field(
        default=False,
        metadata={"help": "compute activations again in the backward pass: less memory, more time"},
    )
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = field(
        default="auto",
        metadata={
            "help": "kernels; packing on a GPU wants one for rows of varying length: auto is torch's own for "
            "Llama and Qwen in bfloat16, flash_attention_2 for others"
        },
    )
    use_cpu: bool = field(default=False, metadata={"help": "train on the CPU, even where there is a GPU"})
    ddp_backend: Literal["gloo", "nccl"] | None = field(
        default=None,
        metadata={"help": "library by which processes exchange gradients; null: nccl on GPUs, gloo on CPUs"},
    )
    trust_remote_code: bool = field(
        default=False, metadata={"help": "run the code that comes with a model of the Hub"}
    )


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a training stores and tells while it runs, and whether it goes on with an earlier one."""

    keep: Literal["last", "lowest_validation_loss"] = field(
        default="last", metadata={"help": "which epoch's weights are kept"}
    )
    resume: bool = field(
        default=True,
        metadata={"help": "go on from what output holds; false: start over", "is_execution": True},
    )
    forecast: bool = field(
        default=False,
        metadata={
            "help": "count the data, make a few steps, print what the training will take, and stop; output "
            "is left as it is",
            "is_execution": True,
        },
    )
    n_steps_between_logs: Annotated[int, Ge(1)] = field(
        default=50, metadata={"help": "optimizer steps over which each entry of the loss curve is a mean"}
    )
    n_steps_between_saves: Annotated[int, Ge(1)] | None = field(
        default=None,
        metadata={
            "help": "optimizer steps between checkpoints, which a broken-off training resumes from; null: an "
            "epoch"
        },
    )
    report_to: Literal["none", "wandb", "tensorboard"] = field(
        default="none",
        metadata={
            "help": "tracker that gets the curves; instead of wandb TensorBoard where it is not installed, "
            "or has no account and is not "
            "offline"
        },
    )
    run_name: str | None = field(
        default=None, metadata={"help": "name of the run in the tracker; null: the tracker chooses one"}
    )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(RunSettings, LaunchSettings, OptimizationSettings, DataSettings):
    """What every kind of training has."""

    def __post_init__(self) -> None:
        check_separator(self.step_separator)
        if self.keep == "lowest_validation_loss" and (
            not self.validation_share or self.n_steps_between_saves
        ):
            raise ValueError(
                f"keep: got {self.keep!r} with validation_share {self.validation_share} and "
                "n_steps_between_saves "
                f"{self.n_steps_between_saves}, expected a validation share and a save an epoch "
                "(n_steps_between_saves null)"
            )


# --- what some trainings have: subclasses of TrainingConfig, so that their checks can look at the settings
# that every training has


@dataclass(frozen=True, kw_only=True)
class TokenBatchSettings(TrainingConfig):
    """For trainings whose forward passes are cut by `prm_train.examples.batches`; TRL's trainers count rows
    alone.
    """

    batch_tokens: Annotated[int, Ge(1)] | None = field(
        default=None,
        metadata={"help": "tokens of one forward pass, padding included, in place of batch_size rows"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_tokens is not None and self.batch_tokens < self.max_length:
            raise ValueError(
                f"batch_tokens: got {self.batch_tokens}, expected at least max_length {self.max_length}"
            )

    @property
    def n_rows_at_most(self) -> int:
        """Rows of one forward pass: where tokens are counted, those of the whole optimizer step may fit into
        one.
        """
        return self.batch_size if self.batch_tokens is None else self.batch_size * self.n_accumulated


@dataclass(frozen=True, kw_only=True)
class PackingSettings(TokenBatchSettings):
    """For a network whose scores are read at any position. (Transformers reads an ORM's score at the end of a
    row.)
    """

    packing: bool = field(
        default=False,
        metadata={
            "help": "the rows of a pass one behind the other, without padding; on a CPU for Llama and Qwen "
            "alone, elsewhere slow there"
        },
    )


@dataclass(frozen=True, kw_only=True)
class HeadSettings(TrainingConfig):
    """For a language model that gets a new head for scores."""

    head_learning_rate: Annotated[float, Gt(0)] | None = field(
        default=None, metadata={"help": "peak learning rate of the new head; null: that of the rest"}
    )
    head_dropout: Share = field(default=0.0, metadata={"help": "dropout of the input of the new head"})


@dataclass(frozen=True, kw_only=True)
class QuantizationSettings(TrainingConfig):
    """For any training but that of an implicit PRM: rounding the model would move it away from its
    reference.
    """

    quantization: Literal["none", "nf4"] = field(
        default="none",
        metadata={
            "help": "nf4: the base in 4 bits under lora (QLoRA); merged into the unquantized base when it is "
            "saved"
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quantization != "none" and (self.lora is None or self.dtype == "float64"):
            raise ValueError(
                f"quantization: got {self.quantization!r} with lora {self.lora} and dtype {self.dtype}, "
                "expected lora settings, since "
                "weights of 4 bits cannot be trained themselves, and float32 or bfloat16 to compute in"
            )


def is_packed(config: TrainingConfig) -> TypeGuard[PackingSettings]:
    """Whether the rows of a forward pass are laid one behind the other."""
    return isinstance(config, PackingSettings) and config.packing


def is_quantized(config: TrainingConfig) -> bool:
    """Whether the base stands in 4 bits while it is trained."""
    return isinstance(config, QuantizationSettings) and config.quantization != "none"


@dataclass(frozen=True, kw_only=True)
class CalibrationSettings(TrainingConfig):
    """For what gives scores: all but a revision model."""

    calibration: Literal["none", "temperature", "platt"] = field(
        default="none",
        metadata={
            "help": "how scores are made to mean probabilities, by a fit on half of the validation questions "
            "(an ORM on pairs has platt "
            "anyway)"
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.calibration != "none" and not self.validation_share:
            raise ValueError(
                f"validation_share: got 0 with calibration {self.calibration}, expected more: it is fitted "
                "on validation questions"
            )


@dataclass(frozen=True, kw_only=True)
class CandidateSettings(TrainingConfig):
    """For a scorer that can choose from stored candidates while it is trained (see
    `prm_train.training.best_of_n`).
    """

    candidates: Path | None = field(
        default=None,
        metadata={
            "is_input": True,
            "help": "results.jsonl of a search: best-of-N on its held-out problems at each validation",
        },
    )
    n_candidates: Annotated[int, Ge(1)] = field(
        default=16, metadata={"help": "how many candidates of each of those problems are scored"}
    )
    n_candidate_problems: Annotated[int, Ge(1)] = field(
        default=200, metadata={"help": "most held-out problems that are scored"}
    )
    monitoring_share: Annotated[float, Gt(0)] = field(
        default=0.02,
        metadata={
            "help": "most of the training's seconds that best-of-N may take; to keep to it, it takes fewer "
            "problems or waits"
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.candidates is not None and not self.validation_share:
            raise ValueError(
                f"validation_share: got 0 with candidates {self.candidates}, expected more: they are chosen "
                "from at each validation"
            )


@dataclass(frozen=True, kw_only=True)
class ScorerConfig(
    TokenBatchSettings, HeadSettings, QuantizationSettings, CalibrationSettings, CandidateSettings
):
    """What the trainings of a PRM and of an ORM share: both are a language model with a new head for
    scores.
    """


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Which of `prm_train.training.losses`, and its settings."""

    loss: Literal["binary_cross_entropy", "cross_entropy", "mse", "focal", "pqm"] = field(
        default="binary_cross_entropy",
        metadata={"help": "what is minimized over the labeled steps; cross_entropy takes hard labels alone"},
    )
    focal_gamma: Annotated[float, Ge(0)] = field(
        default=2.0, metadata={"help": "focal: how fast well judged steps stop counting"}
    )
    pqm_margin: float = field(
        default=4.0,
        metadata={"help": "pqm: how far wrong steps are kept below right ones (zeta in the paper)"},
    )
