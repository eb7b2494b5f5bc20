"""A compute-optimal allocation (Snell et al. 2024, section 3.2) as it is used: the difficulty of a question
is estimated before it is searched, and decides which method with which N answers it.

`prm-train allocate` writes allocation.json, which holds all that the estimate needs: the fit, not the folder
of `prm-train estimate-difficulty` that it comes from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from data_gen.files.stored_record import StoredRecord
from data_gen.settings.errors import InputError
from prm_train.encoding.aggregation import Aggregation
from prm_train.metrics.difficulty import PassRateFit, difficulty_bin
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.stopping import StopRule
from prm_train.strategies.voting import Vote, path_scores

ORACLE, SCORE, PROMPT = "oracle", "score", "prompt"  # kinds of estimates: see evaluation/difficulty.py
Unit = Literal["generations", "tokens", "flops"]
Sharing = Literal["each", "mean"]


@dataclass(frozen=True)
class Choice:
    """A method with its settings: `method` is its name in a report, `strategy` what `solve` calls it.

    `temperature` is that of the draws. `aggregation` and `vote` are None where it has none, `scorer` where it
    reads no scores.
    """

    method: str
    n: int
    strategy: str
    temperature: float
    aggregation: Aggregation | None = None
    vote: Vote | None = None
    stop_early: StopRule | None = None
    scorer: str | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.n}"


@dataclass(frozen=True)
class BudgetChoices:
    """For a budget a problem the choice of each bin of difficulty, the easiest first; `accuracy` and `spent`
    are what problems showed that had no part in choosing.
    """

    budget: float
    choices: tuple[Choice, ...]
    accuracy: float
    spent: float


@dataclass(frozen=True, kw_only=True)
class Allocation(StoredRecord):
    """allocation.json. `models` are the ids of those that it holds for; `fit` estimates pass@1 from the mean
    `aggregation` of the PRM's scores of the first `n_draws` samples at `temperature` (`score`), or from the
    state of the prompt (`prompt`); between `edges` lie the bins. `unit` and `sharing` say what a budget is.
    """

    WRITTEN_BY = "`prm-train allocate`"

    models: Mapping[str, str]
    difficulty: str
    fit: PassRateFit
    temperature: float
    aggregation: Aggregation
    n_draws: int
    edges: tuple[float, ...]
    unit: Unit
    sharing: Sharing
    budgets: tuple[BudgetChoices, ...]

    def check_models(self, models: Mapping[str, str], where: str) -> None:
        """Raises InputError where one of these models is another one than it was chosen with."""
        for name, model_id in models.items():
            if self.models.get(name) != model_id:
                raise InputError(
                    f"{where}: chosen with the {name} {self.models.get(name, 'none')}; expected {model_id}, "
                    "which answers here"
                )

    def at(self, budget: float | None) -> BudgetChoices:
        """Those of the largest budget within `budget` (None: of all). Raises InputError if there is none."""
        within = [each for each in self.budgets if budget is None or each.budget <= budget]
        if not within:
            smallest = min(each.budget for each in self.budgets)
            raise InputError(
                f"allocation_budget: got {budget:g} {self.unit}; expected at least {smallest:g}, the "
                "smallest that the allocation was made for"
            )
        return max(within, key=lambda each: each.budget)

    def bin_of(self, features: Sequence[float]) -> tuple[float, int]:
        """The estimate of pass@1 and its bin, 0 being the easiest."""
        pass_at_1 = float(self.fit.predict([features])[0])
        return pass_at_1, difficulty_bin(pass_at_1, self.edges)


def mean_final_score(candidates: Sequence[Candidate], how: Aggregation, scorer: str = "prm") -> float:
    """Over draws; one that is cut off, states no answer or has no score counts as 0, since it cannot solve
    the problem.
    """
    scores = path_scores(candidates, scorer, how)
    known = [
        score or 0.0 if candidate.can_vote else 0.0
        for candidate, score in zip(candidates, scores, strict=True)
    ]
    return sum(known) / len(known)
