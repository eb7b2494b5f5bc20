"""What a sampled run is asked for. `label` goes on from it, so it is a library's, not the command's."""

from dataclasses import dataclass, field
from pathlib import Path

from data_gen.files.run_folder import N_OPEN
from data_gen.grading.graders import GraderName
from data_gen.policies.config import PolicyConfig
from data_gen.problems.sources import ProblemSource
from data_gen.records.sampling import SamplingParams
from data_gen.records.steps import check_separator
from data_gen.records.stop_strings import check_stop_strings

DRY_RUN = "dry-run"


@dataclass(frozen=True)
class SampleConfig:
    """Draw and grade solutions."""

    output: Path = field(
        metadata={"help": "run folder for the solutions and the ledger of draws", "is_execution": True}
    )
    problems: ProblemSource = field(default_factory=ProblemSource)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    n_samples: int = field(
        default=4,
        metadata={
            "help": "number of solutions for each problem; may be raised for a run folder that has some",
            "may_grow": True,
        },
    )
    temperature: float = field(default=1.0, metadata={"help": "sampling temperature; 0 is greedy"})
    top_p: float = field(
        default=1.0,
        metadata={"help": "draw from the fewest tokens that hold this share of the probability; 1: from all"},
    )
    top_k: int = field(
        default=0, metadata={"help": "draw from this many of the most likely tokens; 0: from all"}
    )
    min_p: float = field(
        default=0.0, metadata={"help": "draw no token below this share of the most likely one's probability"}
    )
    stop: tuple[str, ...] = field(
        default=(), metadata={"help": "texts that end a solution; they are not part of it"}
    )
    max_new_tokens: int = field(
        default=256,
        metadata={"help": "maximum number of tokens of a solution; longer ones are truncated and counted"},
    )
    step_separator: str = field(default="\n", metadata={"help": "text that ends a step"})
    grader: GraderName = field(
        default="auto",
        metadata={
            "help": "what compares answers: math, exact, choice, a built-in task's own by its name, or a "
            "function as "
            "module:function; auto: as fits the problems"
        },
    )
    ledger: Path | None = field(
        default=None,
        metadata={
            "help": "file of the ledger of draws, which several runs may share one after the other; null: "
            "ledger.sqlite in output",
            "is_execution": True,
        },
    )
    n_open: int = field(
        default=N_OPEN,
        metadata={
            "help": "problems that are sampled at a time: more of them use more servers at once, fewer need "
            "a smaller cache",
            "is_execution": True,
        },
    )
    forecast: bool = field(
        default=False,
        metadata={
            "help": "draw for 20 problems spread over the source, print what all of them will cost, and stop",
            "is_execution": True,
        },
    )
    dry_run: bool = field(
        default=False,
        metadata={
            "help": "use a simulated policy in place of the configured one, in the folder output/dry-run"
        },
    )

    def __post_init__(self) -> None:
        check_separator(self.step_separator)
        check_stop_strings(self.stop)
        _ = self.params  # which checks its values, before a model is loaded
        for name in ("n_samples", "n_open"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected at least 1")
        if not self.dry_run or self.policy.model:
            object.__setattr__(self, "policy", self.policy.named_for(self.problems.source))

    @property
    def ledger_path(self) -> Path:
        """Of the run whose folder is `output`. A dry run keeps its draws to itself."""
        return self.output / "ledger.sqlite" if self.ledger is None or self.dry_run else self.ledger

    @property
    def params(self) -> SamplingParams:
        return SamplingParams(
            self.max_new_tokens, self.temperature, None, self.top_p, self.top_k, self.min_p, self.stop
        )
