"""What a training by GRPO is asked for, in four groups that are flat to a user. Loads without torch.

The trainer is TRL's `GRPOTrainer`; a setting that it has too is named as everywhere in this project.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval

from data_gen.grading.graders import GraderName
from data_gen.models.prompt_layout import PromptLayout
from data_gen.problems.sources import ProblemSource
from data_gen.records.chats import QUESTION
from data_gen.records.sampling import check_temperature
from data_gen.records.steps import check_separator
from prm_train.training.settings import LaunchSettings


@dataclass(frozen=True, kw_only=True)
class RewardSettings:
    """What a completion is rewarded for. Rewards of whole completions are summed by their weights and
    compared within the group of a prompt; credit of steps is added to that for each token.
    """

    grader: GraderName = field(
        default="auto",
        metadata={
            "help": "what compares answers: math, exact, choice, a built-in task's own by its name, or a "
            "function as module:function; auto: as fits the problems"
        },
    )
    outcome_weight: Annotated[float, Ge(0)] = field(
        default=1.0, metadata={"help": "weight of the grader's verdict: 1 for correct, 0 for incorrect"}
    )
    wrong_reasons: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "reasons of unknown verdicts that are to count as incorrect, such as no_answer and "
            "truncated; others reward nothing, either way"
        },
    )
    format_pattern: str | None = field(
        default=None,
        metadata={"help": "regular expression; a completion in which it is found has reward 1, others 0"},
    )
    format_weight: Annotated[float, Ge(0)] = field(
        default=0.1, metadata={"help": "weight of the reward for format_pattern"}
    )
    orm: str | None = field(
        default=None,
        metadata={"is_model": True, "help": "folder or Hub name of an ORM whose score is a reward"},
    )
    orm_weight: Annotated[float, Ge(0)] = field(
        default=1.0, metadata={"help": "weight of the ORM's score, which is in [0, 1]"}
    )
    prm: str | None = field(
        default=None,
        metadata={
            "is_model": True,
            "help": "folder or Hub name of a PRM whose scores of steps become credit (docs/rl.md)",
        },
    )
    credit: Literal["min", "advantage", "outcome_centred", "gate", "filter", "hacked_sum"] = field(
        default="min",
        metadata={"help": "how scores of steps become credit (docs/rl.md); hacked_sum shows what fails"},
    )
    credit_weight: Annotated[float, Gt(0)] = field(
        default=1.0, metadata={"help": "weight of the credit of steps beside the rewards of completions"}
    )
    step_separator: str = field(default="\n", metadata={"help": "text that ends each step of a solution"})

    def __post_init__(self) -> None:
        check_separator(self.step_separator)
        if self.format_pattern is not None:
            try:
                re.compile(self.format_pattern)
            except re.error as error:
                raise ValueError(
                    f"format_pattern: got {self.format_pattern!r}, expected a regular expression ({error})"
                ) from None
        if not (self.outcome_weight or self.orm or self.prm or self.format_pattern):
            raise ValueError(
                "rewards: got outcome_weight 0 and no orm, prm or format_pattern, expected one of them"
            )
        is_rewarded = self.outcome_weight or self.orm or self.format_pattern
        if self.prm is not None and self.credit in ("gate", "filter") and not is_rewarded:
            raise ValueError(
                f"credit: got {self.credit} with outcome_weight 0 and no orm or format_pattern: it acts on "
                "rewards of whole completions, and nothing would be learnt; expected one of them"
            )


@dataclass(frozen=True, kw_only=True)
class RolloutSettings:
    """How completions are drawn for an optimizer step."""

    n_prompts: Annotated[int, Ge(1)] = field(
        default=8, metadata={"help": "problems of an optimizer step, over all processes"}
    )
    n_generations: Annotated[int, Ge(2)] = field(
        default=8, metadata={"help": "completions of a problem, which are compared with each other"}
    )
    max_new_tokens: Annotated[int, Ge(1)] = field(
        default=256, metadata={"help": "maximum number of tokens of a completion"}
    )
    temperature: Annotated[float, Gt(0)] = field(default=1.0, metadata={"help": "sampling temperature"})
    prompt_template: str = field(
        default=QUESTION, metadata={"help": "text around a question; holds {question}"}
    )
    system_prompt: str | None = field(
        default=None, metadata={"help": "what the system says first; needs a chat template"}
    )
    vllm: Literal["none", "colocate"] = field(
        default="none",
        metadata={
            "help": "colocate: vLLM draws on the GPUs that train; none: transformers does",
        },
    )
    vllm_memory_share: Annotated[float, Interval(gt=0, lt=1)] = field(
        default=0.3, metadata={"help": "share of a GPU's memory that a colocated vLLM takes"}
    )

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        PromptLayout(self.prompt_template, self.system_prompt)


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """How the policy moves."""

    n_steps: Annotated[int, Ge(1)] = field(default=100, metadata={"help": "optimizer steps"})
    batch_size: Annotated[int, Ge(1)] = field(
        default=64,
        metadata={
            "help": "completions of one forward pass in one process; an optimizer step takes as many passes "
            "as it needs"
        },
    )
    learning_rate: Annotated[float, Gt(0)] = field(
        default=1e-6, metadata={"help": "peak learning rate of AdamW"}
    )
    lr_schedule: Literal["linear", "cosine", "constant_with_warmup"] = field(
        default="constant_with_warmup",
        metadata={"help": "how the learning rate goes on after the warm-up"},
    )
    n_warmup_steps: Annotated[int, Ge(0)] = field(
        default=5, metadata={"help": "optimizer steps in which the learning rate rises from 0"}
    )
    kl_weight: Annotated[float, Ge(0)] = field(
        default=0.0,
        metadata={"help": "weight of the KL from the policy at the start; 0: no copy of it is kept"},
    )
    loss: Literal["grpo", "dapo", "dr_grpo"] = field(
        default="dapo", metadata={"help": "how the losses of tokens are averaged, by TRL's names"}
    )
    scale_rewards: Literal["group", "batch", "none"] = field(
        default="group",
        metadata={"help": "by whose standard deviation differences of rewards are divided"},
    )
    seed: Annotated[int, Interval(ge=0, lt=2**32)] = field(
        default=0, metadata={"help": "decides the order of the problems and what is drawn"}
    )


@dataclass(frozen=True, kw_only=True)
class GrpoConfig(RewardSettings, RolloutSettings, StepSettings, LaunchSettings):
    """Train a policy by GRPO on verdicts, scores of an ORM and credit for steps by a PRM. Runs by itself or
    under `accelerate launch -m prm_train.grpo`.
    """

    output: Path = field(
        metadata={
            "help": "folder for the policy; training/ inside it holds the curve and the report",
            "is_execution": True,
        }
    )
    model: str = field(
        metadata={
            "is_model": True,
            "help": "policy to start from: a folder, a Hub name, or 'base', which knows the built-in task "
            "alone",
        }
    )
    problems: ProblemSource = field(default_factory=ProblemSource)
    validation: ProblemSource | None = field(
        default=None,
        metadata={"help": "problems whose greedy answers are graded while the policy is trained."},
    )
    n_steps_between_validations: Annotated[int, Ge(1)] = field(
        default=20, metadata={"help": "optimizer steps between two looks at the validation problems"}
    )
    n_steps_between_saves: Annotated[int, Ge(1)] = field(
        default=20,
        metadata={"help": "optimizer steps between checkpoints, which a broken-off training resumes from"},
    )
    stop_on_alarm: bool = field(
        default=False,
        metadata={"help": "end the training where its monitor says to stop and relabel (docs/rl.md)"},
    )
    report_to: Literal["none", "wandb", "tensorboard"] = field(
        default="none", metadata={"help": "tracker that gets the curves"}
    )

    def __post_init__(self) -> None:
        RewardSettings.__post_init__(self)
        RolloutSettings.__post_init__(self)
        n_rows = self.n_prompts * self.n_generations
        if n_rows % self.batch_size and self.batch_size < n_rows:
            raise ValueError(
                f"batch_size: got {self.batch_size}, expected a divisor of the {n_rows} completions of a "
                f"step (n_prompts {self.n_prompts} * n_generations {self.n_generations}), or more"
            )
        if self.prm is not None and self.scale_rewards == "batch":
            raise ValueError("scale_rewards: got batch with a prm, expected group or none")
