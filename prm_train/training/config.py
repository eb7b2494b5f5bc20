"""The settings of the six training commands, one class for each. Loads without torch.

A class names the groups of `prm_train.training.settings` that its kind of training has, and adds what only
this kind has.

    train-prm            packing, and what a network with a new head for scores has: ScorerConfig
    train-orm            ScorerConfig
    train-implicit-prm   batch_tokens, calibration
    train-verifier       quantization, calibration
    train-revision       quantization
    train-policy         quantization
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt

from data_gen.models.names import check_inputs
from data_gen.models.prompt_layout import PromptLayout
from data_gen.records.chats import QUESTION
from data_gen.records.sampling import check_temperature
from prm_train.encoding.aggregation import Aggregation
from prm_train.examples.targets import LabelAlgebra
from prm_train.training.settings import (
    CalibrationSettings,
    LossSettings,
    PackingSettings,
    QuantizationSettings,
    ScorerConfig,
    TokenBatchSettings,
    TrainingConfig,
)


def check_named(config: TrainingConfig) -> None:
    """Raises InputError for rows, candidates or a base model that are not there; a finished training needs
    them no more.
    """
    if not (config.output / "training" / "report.json").exists():
        check_inputs(config)


@dataclass(frozen=True, kw_only=True)
class TrainPrmConfig(ScorerConfig, PackingSettings, LabelAlgebra, LossSettings):
    """Train a process reward model on labeled steps. Runs by itself or under `accelerate launch -m
    prm_train.train_prm`.
    """

    aggregation: Aggregation = field(
        default="min", metadata={"help": "how the checkpoint's users make one score of the step scores"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        LabelAlgebra.__post_init__(self)
        if self.loss == "cross_entropy" and self.label_kind != "hard":
            raise ValueError(
                f"loss cross_entropy: got label_kind {self.label_kind}, expected hard; binary_cross_entropy "
                "takes soft targets"
            )


@dataclass(frozen=True, kw_only=True)
class TrainOrmConfig(ScorerConfig):
    """Train an outcome reward model on whole solutions. Runs by itself or under `accelerate launch -m
    prm_train.train_orm`.
    """

    objective: Literal["pointwise", "pairs"] = field(
        default="pointwise",
        metadata={
            "help": "pointwise: each solution against its label; pairs: right over wrong in a question, by "
            "TRL"
        },
    )
    max_pairs_per_question: Annotated[int, Ge(1)] | None = field(
        default=8,
        metadata={
            "help": "pairs: how many are made of a question's rows, where the rows are no pairs themselves; "
            "null: all"
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective == "pairs" and self.candidates is not None:
            raise ValueError(
                f"candidates: got {self.candidates} with objective pairs, expected null: only a PRM and a "
                "pointwise ORM choose from them"
            )
        if self.objective == "pairs" and self.batch_tokens is not None:
            raise ValueError(
                f"batch_tokens: got {self.batch_tokens} with objective pairs, expected null: TRL's passes "
                "are of batch_size pairs"
            )


@dataclass(frozen=True, kw_only=True)
class TrainImplicitPrmConfig(TokenBatchSettings, CalibrationSettings):
    """Train an implicit PRM on whole solutions. Runs by itself or under `accelerate launch -m
    prm_train.train_implicit_prm`.
    """

    beta: Annotated[float, Gt(0)] = field(
        default=0.05,
        metadata={
            "help": "log-odds of a score for each nat by which the model finds a text likelier than its "
            "reference does"
        },
    )


@dataclass(frozen=True, kw_only=True)
class TrainVerifierConfig(QuantizationSettings, CalibrationSettings):
    """Train a generative verifier on labeled steps. Runs by itself or under `accelerate launch -m
    prm_train.train_verifier`.
    """

    ask: str = field(
        default="Right so far?",
        metadata={"help": "what the model is asked after each step; it answers Yes or No"},
    )
    aggregation: Aggregation = field(
        default="prod", metadata={"help": "how the checkpoint's users make one score of the step scores"}
    )


@dataclass(frozen=True, kw_only=True)
class TrainRevisionConfig(QuantizationSettings):
    """Train a model that revises its attempts. Runs by itself or under `accelerate launch -m
    prm_train.train_revision`.
    """

    stop_after_minimum: Annotated[int, Ge(0)] | None = field(
        default=None,
        metadata={
            "help": "end training so many evaluations after the lowest validation loss, as the paper does; "
            "null: all epochs"
        },
    )
    n_revised_chains: Annotated[int, Ge(0)] = field(
        default=200,
        metadata={"help": "held-out chains whose next attempts are drawn and graded at the end; 0: none"},
    )
    grader: str = field(
        default="math", metadata={"help": "grader of those attempts; `sample` has the same setting"}
    )
    max_new_tokens: Annotated[int, Ge(1)] = field(
        default=256, metadata={"help": "most tokens of such an attempt"}
    )
    temperature: float = field(
        default=0.0, metadata={"help": "temperature at which such an attempt is drawn; 0 is greedy"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_temperature(self.temperature)
        if self.stop_after_minimum is not None and (not self.validation_share or self.keep != "last"):
            raise ValueError(
                f"stop_after_minimum: got {self.stop_after_minimum} with validation_share "
                f"{self.validation_share} and keep {self.keep}, "
                "expected a validation share and keep last"
            )


@dataclass(frozen=True, kw_only=True)
class TrainPolicyConfig(QuantizationSettings):
    """Train a policy on solutions: distill rows, or the rows of an ORM that are labeled right. Runs by itself
    or under `accelerate launch -m prm_train.train_policy`.
    """

    prompt_template: str = field(
        default=QUESTION,
        metadata={"help": "text that the policy is given, as policy.prompt_template of `sample`"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = PromptLayout(self.prompt_template)  # which checks it
