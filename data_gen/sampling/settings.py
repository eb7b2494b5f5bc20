"""What a sampled run is asked for. `label` goes on from it, so it is a library's, not the command's."""

from dataclasses import dataclass, field
from pathlib import Path

from data_gen.files.run_folder import N_OPEN
from data_gen.grading.graders import GraderName
from data_gen.policies.config import PolicyConfig
from data_gen.problems.sources import ProblemSource
from data_gen.sampling.draw_settings import DrawSettings

DRY_RUN = "dry-run"


@dataclass(frozen=True)
class SampleConfig(DrawSettings):
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
        super().__post_init__()
        for name in ("n_samples", "n_open"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected at least 1")
        if not self.dry_run or self.policy.model:
            object.__setattr__(self, "policy", self.policy.named_for(self.problems.source))

    @property
    def ledger_path(self) -> Path:
        """Of the run whose folder is `output`. A dry run keeps its draws to itself."""
        return self.output / "ledger.sqlite" if self.ledger is None or self.dry_run else self.ledger
