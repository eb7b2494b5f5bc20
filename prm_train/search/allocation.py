"""A compute-optimal allocation (Snell et al. 2024, section 3.2) as it is used: the difficulty of a question
is estimated before it is searched, and decides which method with which N answers it.

`prm-train allocate` writes allocation.json, which holds all that the estimate needs: the fit, not the folder
of `prm-train estimate-difficulty` that it comes from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Protocol

from data_gen.files.stored_record import StoredRecord
from data_gen.ledger.store import Ledger
from data_gen.policies.protocol import Policy
from data_gen.records.draw_keys import DrawKey
from data_gen.records.grader import AnswerReader
from data_gen.records.sampling import Completion, Usage
from data_gen.records.solutions import Question
from data_gen.sampling.draw_settings import DrawSettings
from data_gen.settings.errors import InputError
from prm_train.encoding.aggregation import Aggregation
from prm_train.metrics.difficulty import PassRateFit, difficulty_bin
from prm_train.scoring.flops import own_model
from prm_train.scoring.protocol import PathTooLongError, Scorer, ScorerUsage
from prm_train.scoring.shared_tree import SharedScorer
from prm_train.search.answer import Answer, EstimatedDifficulty
from prm_train.search.budget import SCORER
from prm_train.search.method_policy import MethodPolicy
from prm_train.search.results import Cost
from prm_train.strategies.best_of_n import draw_candidates, score_candidates
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
    """allocation.json. `models` are the ids of those that it holds for, `draws` how the policy samples.

    `fit` estimates pass@1 from the mean `aggregation` of the PRM's scores of the first `n_draws` samples at
    the temperature of `draws` (`score`), or from the state of the prompt (`prompt`); between `edges` lie the
    bins. `unit` and `sharing` say what a budget is.
    """

    WRITTEN_BY = "`prm-train allocate`"

    models: Mapping[str, str]
    difficulty: str
    fit: PassRateFit
    draws: DrawSettings
    aggregation: Aggregation
    n_draws: int
    edges: tuple[float, ...]
    unit: Unit
    sharing: Sharing
    budgets: tuple[BudgetChoices, ...]

    def check_models(self, models: Mapping[str, str], where: str) -> None:
        """Raises InputError where one of these models is another one than it was chosen with."""
        check_models(self.models, models, where, "chosen")

    def check_draws(self, settings: DrawSettings, where: str) -> None:
        """Raises InputError where samples are drawn otherwise than it was chosen for, but for the
        temperature, which is part of a choice.
        """
        check_draws(self.draws, settings, where)

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


def check_models(wanted: Mapping[str, str], models: Mapping[str, str], where: str, how: str) -> None:
    """Raises InputError where one of these models is another one than is wanted."""
    for name, model_id in models.items():
        if wanted.get(name) != model_id:
            raise InputError(
                f"{where}: {how} with the {name} {wanted.get(name, 'none')}; expected {model_id}, which "
                "answers here"
            )


def check_draws(wanted: DrawSettings, settings: DrawSettings, where: str) -> None:
    """Raises InputError where samples are drawn otherwise, but for the temperature."""
    for each in fields(DrawSettings):
        given, got = (getattr(one, each.name) for one in (wanted, settings))
        if each.name != "temperature" and given != got:
            raise InputError(f"{each.name}: got {got!r}; expected {given!r}, as {where} was chosen with")


def prompt_features(policy: Policy, question: Question) -> tuple[list[float], int]:
    """What a fit on the state of a prompt reads, and how many tokens are read for it."""
    from prm_train.scoring.prompt_states import mean_hidden_state

    prompt = policy.encode_prompt(question.question)
    state = mean_hidden_state(own_model(policy), prompt)
    return [float(value) for value in state], len(prompt)


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


class ChoiceSolver(Protocol):
    """What answers the questions of a bin."""

    async def answer(
        self, question: Question, policy: MethodPolicy, scorer: SharedScorer | None
    ) -> Answer: ...

    def unsolved(self, question: Question, reason: str) -> Answer: ...


def settings_of(choice: Choice) -> dict[str, Any]:
    """Of `solve`; rules for stopping have the thresholds that reports replay them with."""
    return {
        "strategy": choice.strategy,
        "n": choice.n,
        "temperature": choice.temperature,
        "aggregation": choice.aggregation,
        "vote": choice.vote,
        "stop_early": choice.stop_early,
        "confidence": 0.95,
        "margin": 0.5,
        "allocation": None,
        "allocation_budget": None,
        "router": None,
    }


@dataclass(frozen=True)
class AllocatedSolver:
    """`solvers` are those of the bins, the easiest first. Raises InputError where the allocation was chosen
    with another policy or scorer, or its estimate cannot be made here.
    """

    allocation: Allocation
    chosen: BudgetChoices
    solvers: Sequence[ChoiceSolver]
    policy: Policy
    scorer: Scorer | None
    reader: AnswerReader
    ledger: Ledger
    first_draw: int = 0

    def __post_init__(self) -> None:
        models = {"policy": self.policy.policy_id}
        if self.scorer is not None:
            models["prm" if self.scorer.scores_steps else "orm"] = self.scorer.scorer_id
        self.allocation.check_models(models, "allocation")
        wanted = {choice.scorer for choice in self.chosen.choices if choice.scorer}
        wanted |= {"prm"} if self.allocation.difficulty == SCORE else set()
        if missing := wanted - models.keys():
            raise InputError(f"allocation: needs the {min(missing)}; got none, expected it as the scorer")
        if self.allocation.difficulty == PROMPT and own_model(self.policy) is None:
            raise InputError(
                "allocation: reads the policy's state of the prompt; got a policy that is no model in this "
                "process, expected one of the engine transformers"
            )

    async def solve(self, question: Question, drawn: dict[DrawKey, Completion] | None = None) -> Answer:
        """See `Solver.solve`; the cost is that of the estimate, too. `drawn` are draws that other methods
        share (see `MethodPolicy`).
        """
        drawn = {} if drawn is None else drawn
        policy = MethodPolicy(self.policy, self.ledger, question, drawn, self.first_draw)
        if len(policy.encode_prompt(question.question)) >= policy.context_length:
            return self.solvers[0].unsolved(question, "the question fills the policy's context")
        if self.scorer is None:
            return await self._answer(question, policy, None)
        async with SharedScorer(self.scorer) as shared:
            return await self._answer(question, policy, shared)

    async def _answer(self, question: Question, policy: MethodPolicy, scorer: SharedScorer | None) -> Answer:
        try:
            features, n_read = await self._features(question, policy, scorer)
        except PathTooLongError:
            return self.solvers[0].unsolved(question, "the question fills the scorer's context")
        pass_at_1, number = self.allocation.bin_of(features)
        answer = await self.solvers[number].answer(question, policy, scorer)
        # Policy and scorer are shared by estimate and method, and count what either of them needs once
        usage = policy.usage_alone + Usage(n_prefilled=n_read)
        scored = scorer.usage if scorer is not None else ScorerUsage()
        return replace(
            answer,
            cost=Cost(usage, scored, policy.n_pairs),
            difficulty=EstimatedDifficulty(pass_at_1, number),
        )

    async def _features(
        self, question: Question, policy: MethodPolicy, scorer: SharedScorer | None
    ) -> tuple[list[float], int]:
        """What the fit reads, and how many tokens of the prompt were read for it alone."""
        allocation = self.allocation
        if allocation.difficulty == SCORE:
            assert scorer is not None
            draws, indices = allocation.draws, range(allocation.n_draws)
            drawn = await draw_candidates(policy, self.reader, draws.params(draws.temperature), indices)
            scored, _ = await score_candidates(question, drawn, scorer, SCORER, draws.step_separator)
            return [mean_final_score(scored, allocation.aggregation, SCORER)], 0
        return prompt_features(self.policy, question)
