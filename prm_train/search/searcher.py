"""The search of one problem: every method of the settings, what it found and what it cost."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from data_gen.grading.graders import Grader
from data_gen.ledger.store import Ledger
from data_gen.policies.protocol import Policy
from data_gen.records.draw_keys import DrawKey
from data_gen.records.sampling import Usage
from data_gen.records.solutions import Problem
from prm_train.encoding.aggregation import Aggregation
from prm_train.scoring.protocol import PathTooLongError, Scorer, ScorerUsage
from prm_train.search.answer_classes import classify_answers, with_classes
from prm_train.search.baselines import ProblemBaselines
from prm_train.search.best_of_n import draw_candidates, score_candidates
from prm_train.search.candidates import Candidate
from prm_train.search.method_policy import MethodPolicy
from prm_train.search.paths import search_tree
from prm_train.search.results import (
    Cost,
    Difficulty,
    ProblemResult,
    Scoring,
    Strategy,
    StrategyRun,
    StrategySettings,
    TreeStrategyName,
)
from prm_train.search.settings import SearchConfig
from prm_train.search.strategies import TREE_STRATEGIES

if TYPE_CHECKING:
    from prm_train.scoring.confidence import ConfidenceModel


@dataclass(frozen=True)
class Searcher:
    """What a search needs besides the problem."""

    config: SearchConfig
    policy: Policy
    ledger: Ledger
    grader: Grader
    scorers: Mapping[str, Scorer]
    confidence: "ConfidenceModel | None" = None  # reads samples for the baselines that need it

    @property
    def beam_aggregation(self) -> Aggregation | None:
        """What makes scores of the paths of searches in a tree; None without any."""
        if not any(self.config.tree_sizes.values()):
            return None
        return self.config.beam_aggregation or self.scorers["prm"].aggregation

    async def search(self, problem: Problem) -> ProblemResult:
        """What became of a problem, with all of its draws committed: those of a finished problem are never
        made again.
        """
        return await ProblemSearch(self, problem).run()


class ProblemSearch:
    """The methods on one problem, one after the other, and what they cost."""

    def __init__(self, searcher: Searcher, problem: Problem) -> None:
        self.searcher, self.config, self.problem = searcher, searcher.config, problem
        self.scorings: list[Scoring] = []
        self.drawn: dict[DrawKey, Usage] = {}  # all draws, each once
        policy = searcher.policy
        prompt_ids = policy.encode_prompt(problem.question)
        self.baselines = ProblemBaselines(
            self.config.baselines, searcher.confidence, prompt_ids, self.config.chunk_tokens
        )
        self.too_long_for = ["policy"] if len(prompt_ids) >= policy.context_length else []

    async def run(self) -> ProblemResult:
        config = self.config
        greedy = await self.draw("greedy", 0.0, range(1))
        scored, *others = [
            await self.draw("samples", temperature, range(config.n_samples), self.baselines)
            for temperature in dict.fromkeys((config.temperature, *config.other_temperatures))
        ]
        difficulty = await self.difficulty()
        scored = replace(scored, candidates=await self.score(scored.candidates))
        trees = [await self.tree(strategy, n) for strategy, sizes in config.tree_sizes.items() for n in sizes]
        runs = [scored, *others, *trees]
        stated = [candidate for run in runs for candidate in run.candidates]
        classes = await classify_answers(self.problem, stated, self.searcher.grader)
        self.searcher.ledger.commit()
        return ProblemResult(
            problem=self.problem,
            temperature=config.temperature,
            runs=(greedy, *(replace(run, candidates=with_classes(run.candidates, classes)) for run in runs)),
            scorings=tuple(self.scorings),
            difficulty=difficulty,
            usage=sum(self.drawn.values(), self.baselines.usage),
            too_long_for=tuple(self.too_long_for),
        )

    def method_policy(self) -> MethodPolicy:
        return MethodPolicy(self.searcher.policy, self.searcher.ledger, self.problem, self.drawn)

    async def draw(
        self,
        strategy: Strategy,
        temperature: float,
        indices: range,
        baselines: ProblemBaselines | None = None,
    ) -> StrategyRun:
        """Whole solutions, as a strategy of their own."""
        policy = self.method_policy()
        candidates = await draw_candidates(
            policy, self.searcher.grader, self.config.params(temperature), indices, baselines
        )
        return StrategyRun(
            strategy,
            len(indices),
            StrategySettings(temperature),
            tuple(candidates),
            Cost(policy.usage_alone, n_pairs=policy.n_pairs),
        )

    async def difficulty(self) -> Difficulty:
        """From the draws behind those of the samples."""
        n, first = self.config.n_difficulty_draws, self.config.n_samples
        drawn = await self.draw("samples", self.config.temperature, range(first, first + n))
        return Difficulty(n, sum(candidate.is_correct for candidate in drawn.candidates), drawn.cost)

    async def score(self, candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        """With the scores of every scorer that can read the question; candidates that are too long are known
        by having no score.
        """
        for name, scorer in self.searcher.scorers.items():
            usage = ScorerUsage()
            try:
                scored, usage = await score_candidates(
                    self.problem, list(candidates), scorer, name, self.config.step_separator
                )
                candidates = tuple(scored)
            except PathTooLongError:  # the question alone
                self.too_long_for.append(name)
            self.scorings.append(Scoring(name, self.config.temperature, len(candidates), usage))
        return candidates

    async def tree(self, strategy: TreeStrategyName, n: int) -> StrategyRun:
        config, policy, aggregation = self.config, self.method_policy(), self.searcher.beam_aggregation
        assert aggregation is not None
        search = TREE_STRATEGIES[strategy]
        chosen = search.configure(config, n, aggregation)
        settings = StrategySettings(
            config.temperature, **{name: value for name, value in vars(chosen).items() if name != "n"}
        )
        if "prm" in self.too_long_for:
            return StrategyRun(strategy, n, settings, ())
        params = config.params(config.temperature, config.step_separator)
        candidates, usage = await search_tree(
            lambda grower: search.run(grower, chosen),
            policy,
            self.searcher.grader,
            self.searcher.scorers["prm"],
            "prm",
            params,
        )
        return StrategyRun(
            strategy, n, settings, tuple(candidates), Cost(policy.usage_alone, usage, policy.n_pairs)
        )
