"""What a seed of the benchmark of thinking draws, and with which budgets."""

from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.thinking.texts import ANSWER, END, WAIT
from data_gen.sampling.thinking import SwitchPenalty, ThinkingBudget

# Behind the marker alone a policy whose thought was cut goes on thinking; s1 puts "Final Answer:" there, too
ENDED = f"{END}\n{ANSWER}"
MOST = 400  # tokens of a thought that nothing ends
MAX_ANSWER = 60  # tokens behind it
CUTS = (10, 20, 40, 60, 90, 120)  # the thought is ended there
FORCED = (60, 100, 150, 200, 300)  # it goes on until there
PENALTIES = (1.0, 2.0, 4.0, 8.0)  # nats taken from "Wait"
PENALIZED_TOKENS = 60  # at the beginning of each line of thought
NATURAL = "natural"


@dataclass(frozen=True)
class Effort:
    """How a thought is held: a budget, and a penalty on switching."""

    budget: ThinkingBudget
    penalty: SwitchPenalty | None = None


def efforts() -> dict[str, Effort]:
    """By name, from least to most thinking within each kind."""

    def budget(least: int, most: int) -> ThinkingBudget:
        return ThinkingBudget(ENDED, least, most, WAIT)

    found = {f"cut {most}": Effort(budget(0, most)) for most in CUTS}
    found[NATURAL] = Effort(budget(0, MOST))
    found |= {f"forced {least}": Effort(budget(least, MOST)) for least in FORCED}
    for nats in PENALTIES:
        penalty = SwitchPenalty((WAIT,), nats, PENALIZED_TOKENS)
        found[f"penalty {nats:g}"] = Effort(budget(0, MOST), penalty)
    return found


@dataclass(frozen=True)
class ThinkingConfig:
    """One seed of the benchmark of thinking."""

    output: Path = field(metadata={"help": "folder for everything that is made"})
    seed: int = field(default=0, metadata={"help": "seed of texts, problems, draws and the training"})
    n_texts: int = field(default=6000, metadata={"help": "texts that the policy learns to think from"})
    n_problems: int = field(default=200, metadata={"help": "problems of validation, and as many of the test"})
    n_draws: int = field(default=8, metadata={"help": "solutions of a problem with each effort"})

    @property
    def policy(self) -> Path:
        return self.output / "policy"
