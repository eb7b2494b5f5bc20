"""What a seed of the RL benchmark runs: a training for each arm, and searches with what came out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.reproduce.jobs import Command, Job

BASE = "base"
# Settings of `grpo` of each arm. {prm} and {orm} are the verifiers'. All but `orm_alone` and `…_alone`
# are rewarded for right answers.
ARMS: dict[str, tuple[str, ...]] = {
    "outcome": (),
    "cold_start": (),  # from a policy that learnt its own right solutions first
    "orm": ("--orm", "{orm}", "--orm_weight", "1"),
    "orm_alone": ("--orm", "{orm}", "--orm_weight", "1", "--outcome_weight", "0"),
    "min": ("--prm", "{prm}", "--credit", "min"),
    "min_alone": ("--prm", "{prm}", "--credit", "min", "--outcome_weight", "0"),
    "advantage": ("--prm", "{prm}", "--credit", "advantage"),
    "outcome_centred": ("--prm", "{prm}", "--credit", "outcome_centred"),
    "gate": ("--prm", "{prm}", "--credit", "gate"),
    "filter": ("--prm", "{prm}", "--credit", "filter"),
    "hacked_sum": ("--prm", "{prm}", "--credit", "hacked_sum", "--outcome_weight", "0"),
}
SEARCHED = (BASE, "outcome", "cold_start", "orm", "min", "advantage", "outcome_centred")


@dataclass(frozen=True)
class RlConfig:
    """One seed of the RL benchmark."""

    output: Path = field(metadata={"help": "folder for everything that is made"})
    verifiers: Path = field(
        default=Path("runs/quickstart"),
        metadata={"help": "folder of a finished quickstart, whose PRM and ORM are used"},
    )
    seed: int = field(default=0, metadata={"help": "seed of problems, draws and trainings"})
    n_steps: int = field(default=60, metadata={"help": "optimizer steps of each arm"})
    n_prompts: int = field(default=2, metadata={"help": "problems of an optimizer step"})
    n_generations: int = field(default=4, metadata={"help": "completions of a problem"})
    learning_rate: float = field(default=3e-4, metadata={"help": "learning rate of all arms"})
    n_steps_between_looks: int = field(
        default=2, metadata={"help": "optimizer steps between two looks at the validation problems"}
    )
    n_problems: int = field(default=4000, metadata={"help": "training problems"})
    n_validation_problems: int = field(default=300, metadata={"help": "problems of the curves"})
    n_test_problems: int = field(default=200, metadata={"help": "problems of the searches at the end"})
    n_samples: int = field(default=64, metadata={"help": "samples of each test problem"})
    n_processes: int = field(default=2, metadata={"help": "commands side by side", "is_execution": True})

    @property
    def stages(self) -> Path:
        return self.output / "stages"

    def policy(self, arm: str) -> str:
        return BASE if arm == BASE else str(self.output / arm)

    def search(self, arm: str) -> Path:
        return self.output / f"search-{arm}"


def jobs(config: RlConfig) -> list[Job]:
    """In the order in which they begin; a search waits for its policy alone."""
    found = cold_start_jobs(config)
    for arm in ARMS:
        needs = ("cold-start-policy",) if arm == "cold_start" else ()
        found.append(Job(arm, training(config, arm), needs))
    found += [Job(f"search-{arm}", searching(config, arm), () if arm == BASE else (arm,)) for arm in SEARCHED]
    return found


def cold_start_jobs(config: RlConfig) -> list[Job]:
    """The policy's right solutions of as many tokens as RL draws, or a little less, and SFT on them."""
    folder = config.output / "cold-start"
    sample = (
        *("data_gen.sample", "--output", str(folder / "solutions"), "--n_samples", "4"),
        *problems(config, "train", 640),
        *("--policy.model", BASE, "--policy.base_seed", str(config.seed), "--max_new_tokens", "160"),
    )
    build = (
        *("data_gen.build", "--runs", str(folder / "solutions"), "--output", str(folder / "rows")),
        *("--kinds", "orm"),
    )
    train = (
        *("prm_train.train_policy", "--rows", str(folder / "rows" / "orm.jsonl")),
        *("--output", str(folder / "policy"), "--model", BASE, "--learning_rate", "3e-4"),
        *("--n_epochs", "2", "--seed", str(config.seed), "--use_cpu", "true"),
    )
    return [
        Job("cold-start-sample", sample),
        Job("cold-start-build", build, ("cold-start-sample",)),
        Job("cold-start-policy", train, ("cold-start-build",)),
    ]


def training(config: RlConfig, arm: str) -> Command:
    model = str(config.output / "cold-start" / "policy") if arm == "cold_start" else BASE
    scorers = {"prm": str(config.verifiers / "prm"), "orm": str(config.verifiers / "orm")}
    return (
        *("prm_train.grpo", "--config", "configs/grpo/arithmetic.yaml"),
        *("--output", config.policy(arm), "--model", model, "--seed", str(config.seed)),
        *("--n_steps", str(config.n_steps), "--learning_rate", str(config.learning_rate)),
        *("--lr_schedule", "linear"),
        *("--n_steps_between_validations", str(config.n_steps_between_looks)),
        *("--n_prompts", str(config.n_prompts), "--n_generations", str(config.n_generations)),
        *("--problems.n", str(config.n_problems), "--problems.seed", str(config.seed)),
        *("--validation.n", str(config.n_validation_problems), "--validation.split", "validation"),
        *("--validation.seed", str(config.seed)),
        *(word.format(**scorers) for word in ARMS[arm]),
    )


def searching(config: RlConfig, arm: str) -> Command:
    return (
        *("prm_train.search.run", "--output", str(config.search(arm)), "--n_difficulty_draws", "1"),
        *problems(config, "test", config.n_test_problems),
        *("--policy.model", config.policy(arm), "--policy.base_seed", str(config.seed)),
        *("--n_samples", str(config.n_samples), "--max_new_tokens", "160"),
        *("--prm", str(config.verifiers / "prm")),
    )


def problems(config: RlConfig, split: str, n: int) -> Sequence[str]:
    return (
        *("--problems.source", "arithmetic", "--problems.split", split),
        *("--problems.n", str(n), "--problems.seed", str(config.seed)),
    )
