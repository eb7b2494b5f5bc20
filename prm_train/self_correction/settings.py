"""The settings of `train-score`. Loads without torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval

from data_gen.grading.graders import GraderName
from data_gen.problems.sources import ProblemSource
from data_gen.records.chats import ChainPrompts
from data_gen.records.sampling import SamplingParams


@dataclass(frozen=True, kw_only=True)
class ScoreObjective:
    """What SCoRe's two stages maximize (Kumar et al. 2024, equations 3 to 5)."""

    stage_1_steps: Annotated[int, Ge(0)] = field(
        default=100,
        metadata={"help": "optimizer steps in which attempt 2 learns and attempt 1 is held; 0: no stage one"},
    )
    stage_2_steps: Annotated[int, Ge(0)] = field(
        default=100, metadata={"help": "optimizer steps in which both attempts learn, with the bonus"}
    )
    kl_first: Annotated[float, Ge(0)] = field(
        default=1.0,
        metadata={"help": "stage one: price of a nat of KL between attempt 1 and that of the base model"},
    )
    kl: Annotated[float, Ge(0)] = field(
        default=0.0,
        metadata={"help": "price of a nat of KL to the base: of attempt 2, in stage two of both"},
    )
    alpha: Annotated[float, Ge(0)] = field(
        default=1.0, metadata={"help": "stage two: attempt 2 also gets alpha * (reward 2 - reward 1)"}
    )
    first_credit: Annotated[float, Interval(ge=0, le=1)] = field(
        default=0.0,
        metadata={
            "help": "stage two: share of attempt 2's reward, bonus included, that attempt 1 gets, too; with "
            "alpha above 1 much of it pays for wrong first attempts"
        },
    )


@dataclass(frozen=True, kw_only=True)
class TrainScoreConfig(ScoreObjective):
    """Train a policy to correct itself by reinforcement learning in two stages (SCoRe). One process."""

    output: Path = field(
        metadata={
            "help": "folder for the checkpoint; training/ inside it holds the report",
            "is_execution": True,
        }
    )
    model: str = field(
        metadata={
            "is_model": True,
            "help": "causal language model to start from: a folder, gguf:FILE, a Hub name, or one that ships",
        }
    )
    problems: ProblemSource = field(default_factory=ProblemSource)
    n_held_out: Annotated[int, Ge(0)] = field(
        default=100,
        metadata={"help": "last so many of the problems: never trained on, attempted twice for the report"},
    )
    grader: GraderName = field(
        default="auto", metadata={"help": "what gives the rewards; `sample` has the same setting"}
    )
    prompts: ChainPrompts = field(default_factory=ChainPrompts)
    problems_per_step: Annotated[int, Ge(1)] = field(
        default=32, metadata={"help": "problems of an optimizer step"}
    )
    chains_per_problem: Annotated[int, Ge(2)] = field(
        default=4,
        metadata={
            "help": "pairs of attempts at each: the reward of one is compared with those of the others"
        },
    )
    max_new_tokens: Annotated[int, Ge(1)] = field(default=256, metadata={"help": "most tokens of an attempt"})
    temperature: Annotated[float, Gt(0)] = field(
        default=1.0, metadata={"help": "temperature of the attempts in training; held-out ones are greedy"}
    )
    learning_rate: Annotated[float, Gt(0)] = field(
        default=1e-6, metadata={"help": "of AdamW, constant after the warm-up"}
    )
    n_warmup_steps: Annotated[int, Ge(0)] = field(
        default=5, metadata={"help": "optimizer steps in which the learning rate rises from 0"}
    )
    max_grad_norm: Annotated[float, Gt(0)] = field(
        default=1.0, metadata={"help": "gradients with a greater norm are scaled down to it"}
    )
    batch_size: Annotated[int, Ge(1)] = field(
        default=32, metadata={"help": "attempts of one forward and backward pass"}
    )
    seed: Annotated[int, Interval(ge=0, lt=2**32)] = field(
        default=0, metadata={"help": "decides the order of the problems and the draws"}
    )
    dtype: Literal["float32", "bfloat16"] = field(
        default="float32", metadata={"help": "number format of the weights"}
    )
    use_cpu: bool = field(default=False, metadata={"help": "train on the CPU, even where there is a GPU"})
    trust_remote_code: bool = field(
        default=False, metadata={"help": "run the code that comes with a model of the Hub"}
    )
    n_steps_between_saves: Annotated[int, Ge(1)] = field(
        default=20,
        metadata={
            "help": "optimizer steps between checkpoints, which a broken-off training resumes from",
            "is_execution": True,
        },
    )
    n_steps_between_logs: Annotated[int, Ge(1)] = field(
        default=10, metadata={"help": "optimizer steps over which an entry of the curves is a mean"}
    )
    resume: bool = field(
        default=True,
        metadata={"help": "go on from what output holds; false: start over", "is_execution": True},
    )

    def __post_init__(self) -> None:
        _ = self.params  # which checks them
        if not self.n_steps:
            raise ValueError("stage_1_steps, stage_2_steps: got 0 and 0, expected a step of one of them")

    @property
    def n_steps(self) -> int:
        return self.stage_1_steps + self.stage_2_steps

    @property
    def params(self) -> SamplingParams:
        """Of the attempts in training."""
        return SamplingParams(self.max_new_tokens, self.temperature)
