"""A router as it is used: which questions take the simple path (one sample, judged by the scorer) and which
the complex one (a strategy with its N), and which answers are asked for again.

It is two rules of one threshold each, and more where the complex path is graded or there is a larger policy:

1. Before anything is drawn: a question whose estimated pass@1 is below `simple_from` goes to the complex
   path at once (as RouteLLM, Ong et al. 2024, routes by what it predicts of a prompt; the estimate is the
   predicted difficulty of Snell et al. 2024, section 3.2).
2. After the sample: its answer stands if its score is at least `accept_from`; otherwise the question goes on
   to the complex path (the cascade of FrugalGPT, Chen et al. 2023). The sample is the first of those that the
   complex path draws, where that draws samples at the same temperature, and then is paid for once.
3. On the complex path: before its last search there may be cheaper ones, its stages. The answer of a stage
   stands if it is sure enough (`sureness`: its share of the vote times the score of its heaviest path, so
   that both a split vote and a verifier that likes no path ask for more); otherwise the next search follows.
   Searches share what they draw: a vote among 16 samples has the 4 of the stage before among them.
4. After the complex path: an answer whose confidence is below `large_from` is replaced by that of the large
   policy, one sample, whatever it is.

`prm-train route fit` writes router.json, which holds all that these rules need, and no more.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from data_gen.files.stored_record import StoredRecord
from data_gen.sampling.draw_settings import DrawSettings
from prm_train.encoding.aggregation import Aggregation
from prm_train.metrics.difficulty import PassRateFit, difficulty_bin
from prm_train.search.allocation import Choice, check_draws, check_models
from prm_train.search.answer import RouteTaken
from prm_train.search.solve_settings import BEST_OF_N

ScorerName = Literal["prm", "orm"]


def sureness(confidence: float, score: float | None, strategy: str) -> float:
    """Of an answer with this share of the vote, whose heaviest path has this score (None: nothing is scored);
    with `best_of_n` the confidence is the score.
    """
    return confidence if score is None or strategy == BEST_OF_N else confidence * score


@dataclass(frozen=True)
class Stage:
    """A search on the complex path, before its last one, whose answer stands if it is sure enough."""

    choice: Choice
    accept_from: float


@dataclass(frozen=True, kw_only=True)
class Router(StoredRecord):
    """router.json. `models` are the ids of those that it holds for, `draws` how the policy samples, the
    sample of the simple path too; `aggregation` makes its score of those of its steps.

    `fit` estimates pass@1 from the state of the prompt (None: every question takes the simple path first, or
    none, with `simple_from` above 1);
    `complex` are the choices of the bins between `edges`, the easiest first, and `stages` come before each of
    them. `large_from` is None without a large policy.
    """

    WRITTEN_BY = "`prm-train route fit`"

    models: Mapping[str, str]
    draws: DrawSettings
    scorer: ScorerName
    aggregation: Aggregation
    accept_from: float
    complex: tuple[Choice, ...]
    simple_from: float = 0.0
    fit: PassRateFit | None = None
    edges: tuple[float, ...] = ()
    large_from: float | None = None
    stages: tuple[Stage, ...] = ()

    def check_models(self, models: Mapping[str, str], where: str) -> None:
        """Raises InputError where one of these models is another one than it was fitted with."""
        check_models(self.models, models, where, "fitted")

    def check_draws(self, settings: DrawSettings, where: str) -> None:
        """Raises InputError where samples are drawn otherwise than it was fitted for."""
        check_draws(self.draws, settings, where)

    def choice_for(self, pass_at_1: float | None) -> int:
        """The place in `complex` of the choice for a question."""
        return 0 if pass_at_1 is None else difficulty_bin(pass_at_1, self.edges)

    def before_sample(self, pass_at_1: float | None) -> RouteTaken | None:
        """None where the question takes the simple path first."""
        if self.simple_from > 1:
            return RouteTaken("complex", "untried", pass_at_1)
        is_hard = pass_at_1 is not None and pass_at_1 < self.simple_from
        return RouteTaken("complex", "hard", pass_at_1) if is_hard else None

    def after_sample(self, pass_at_1: float | None, score: float | None) -> RouteTaken:
        """`score` is that of the simple answer, None where there is no answer."""
        if score is None:
            return RouteTaken("complex", "unanswered", pass_at_1, None)
        stands = score >= self.accept_from
        return RouteTaken("simple" if stands else "complex", "sure" if stands else "unsure", pass_at_1, score)
