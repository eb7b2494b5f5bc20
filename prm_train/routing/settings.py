"""The settings of `prm-train route`. Loads without torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from prm_train.search.allocation import Unit
from prm_train.search.routing.router import ScorerName


@dataclass(frozen=True)
class RouteConfig:
    """`prm-train route fit`: learn from finished searches which questions one sample answers and which get a
    search. router.json is for `solve --router` and `serve`; route-report.json says what it is worth.
    """

    validation: tuple[Path, ...] = field(
        metadata={"is_input": True, "help": "folders of `prm-train search` on the problems to fit on"}
    )
    output: Path = field(metadata={"help": "folder for router.json and route-report.json"})
    action: Literal["fit"] = field(
        default="fit", metadata={"help": "may be given as the first word, without --action"}
    )
    test: tuple[Path, ...] = field(
        default=(),
        metadata={
            "is_input": True,
            "help": "folders of `prm-train search` on problems to judge on; none: other folds of validation",
        },
    )
    method: str | None = field(
        default=None,
        metadata={
            "help": "the complex path's method, as in report.json; null: what is cheapest with the rest"
        },
    )
    n: int | None = field(default=None, metadata={"help": "its N; null: the largest that was searched"})
    reference: str | None = field(
        default=None,
        metadata={
            "help": "method that answers without a router; null: the complex path, if that is given, "
            "otherwise what solves most validation problems"
        },
    )
    reference_n: int | None = field(default=None, metadata={"help": "its N; null: the largest"})
    allocation: Path | None = field(
        default=None,
        metadata={
            "is_input": True,
            "help": "allocation.json of `prm-train allocate --estimate prompt`: its bins say method and N; "
            "where it was fitted on problems of validation or test, the report is too good",
        },
    )
    allocation_budget: float | None = field(
        default=None,
        metadata={"help": "which of its budgets: the largest within this; null: its largest"},
    )
    large: tuple[Path, ...] = field(
        default=(),
        metadata={
            "is_input": True,
            "help": "folders of `prm-train search` of a larger policy on the problems of validation: it may "
            "be the last step, behind a complex answer of too little confidence; needs unit flops",
        },
    )
    large_test: tuple[Path, ...] = field(
        default=(), metadata={"is_input": True, "help": "the same on the problems of test"}
    )
    scorer: ScorerName | None = field(
        default=None, metadata={"help": "what judges the sample: prm or orm; null: prm, if there is one"}
    )
    prompt_head: bool = field(
        default=True,
        metadata={"help": "estimate difficulty from the policy's state of the prompt; it is loaded for that"},
    )
    difficulty: Path | None = field(
        default=None,
        metadata={
            "is_input": True,
            "help": "folder of `prm-train estimate-difficulty`, whose prediction from prompts is taken; it "
            "must not have been fitted on these problems. null: fitted on validation, by folds",
        },
    )
    unit: Unit = field(
        default="tokens", metadata={"help": "what is to be saved: tokens (policy and scorer) or flops"}
    )
    tolerance: float = field(
        default=0.01,
        metadata={"help": "accuracy that may be lost on validation, as a fraction of the problems"},
    )
    caution: float = field(
        default=2.0,
        metadata={
            "help": "how many standard errors, over problems, the loss is taken to be greater than it seems: "
            "among many routers the cheapest that seems as accurate is mostly a lucky one"
        },
    )
    n_bins: int = field(
        default=1,
        metadata={
            "help": "bins of predicted difficulty with a complex path of their own, which takes many "
            "problems to learn; 1: one for all"
        },
    )
    prior: float = field(
        default=20.0,
        metadata={
            "help": "how many problems the mean over all of them counts as, when a bin judges complex paths"
        },
    )
    n_stages: int = field(
        default=2,
        metadata={
            "help": "the most searches that may come before the complex path's last one and end it where "
            "their answer is sure enough, as 4 and 16 paths before 64; 0: none"
        },
    )
    n_folds: int = field(default=5, metadata={"help": "number of folds of the validation problems"})
    seed: int = field(default=0, metadata={"help": "seed of the folds and of the bootstrap"})
    policy: str | None = field(
        default=None,
        metadata={"help": "where the policy is now; null: where the search found it", "is_execution": True},
    )
    device: str = field(default="cpu", metadata={"help": "device of the policy", "is_execution": True})

    def __post_init__(self) -> None:
        least_of = {"n_folds": 2, "n_bins": 1, "n_stages": 0, "prior": 0, "caution": 0}
        for name, least in least_of.items():
            if not getattr(self, name) >= least:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected {least} or more")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance: got {self.tolerance}, expected 0 to less than 1")
        if self.unit == "generations":
            raise ValueError("unit: got generations, expected tokens or flops")
        if self.large and self.unit != "flops":
            raise ValueError("large: got it with unit tokens, which weigh more there; expected unit flops")
        if bool(self.large_test) != bool(self.large and self.test):
            raise ValueError("large_test: expected it with large and test, and not without")
        self._check_complex_path()

    def _check_complex_path(self) -> None:
        for name, of in (("n", "method"), ("reference_n", "reference")):
            if getattr(self, name) is not None and getattr(self, of) is None:
                raise ValueError(f"{name}: has no effect without {of}; expected it to be left out")
        if self.allocation is None and self.allocation_budget is not None:
            raise ValueError("allocation_budget: has no effect without allocation")
        if self.allocation is not None and (self.method is not None or self.difficulty is not None):
            name = "method" if self.method is not None else "difficulty"
            raise ValueError(f"{name}: got it with an allocation, which has its own; expected one of them")
        if not self.prompt_head and (self.allocation is not None or self.difficulty is not None):
            raise ValueError("prompt_head: got false with an estimate from prompts, expected true")
