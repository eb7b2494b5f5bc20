"""The search of one problem: every method of the settings, what it found and what it cost."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from data_gen.ledger.store import Ledger
from data_gen.policies.protocol import Policy
from data_gen.process.side_by_side import side_by_side
from data_gen.records.chats import ChainPrompts
from data_gen.records.draw_keys import DrawKey
from data_gen.records.grader import Grader
from data_gen.records.sampling import Completion, Usage
from data_gen.records.solutions import Problem
from data_gen.settings.errors import ProblemFaultError
from prm_train.scoring.protocol import PathTooLongError, Scorer, ScorerUsage
from prm_train.scoring.shared_tree import SharedScorer
from prm_train.search.allocation import AllocatedSolver
from prm_train.search.answer import Answer
from prm_train.search.grading import CandidateGrader
from prm_train.search.method_policy import MethodPolicy
from prm_train.search.results import (
    GREEDY,
    SAMPLES,
    AllocatedAnswer,
    Cost,
    Difficulty,
    ProblemResult,
    Scoring,
    StrategyRun,
)
from prm_train.search.settings import SearchConfig
from prm_train.search.traces import ProblemTrace, SearchTrace
from prm_train.strategies.answer_classes import classify_answers, with_classes
from prm_train.strategies.baselines import ProblemBaselines
from prm_train.strategies.best_of_n import draw_candidates, score_candidates
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.paths import search_tree
from prm_train.strategies.revisions import Reviser, revisions, score_attempts
from prm_train.strategies.trace import TreeTrace
from prm_train.strategies.tree_searches import StrategySpec

if TYPE_CHECKING:
    from prm_train.scoring.confidence import ConfidenceModel


@dataclass(frozen=True)
class Searcher:
    """What a search needs besides the problem. `take_trace` gets what the searches in a tree did once the
    problem is answered; None: nobody keeps it.
    """

    config: SearchConfig
    policy: Policy
    ledger: Ledger
    grader: Grader
    scorers: Mapping[str, Scorer]
    confidence: "ConfidenceModel | None" = None  # reads samples for the baselines that need it
    reviser: Policy | None = None  # writes revisions; None: the policy does
    take_trace: Callable[[ProblemTrace], None] | None = None
    allocated: AllocatedSolver | None = None

    async def search(self, problem: Problem) -> ProblemResult:
        """What became of a problem. All draws of an answered one are committed, and never made again. A fault
        of its own is an outcome, too.
        """
        search = ProblemSearch(self, problem)
        result = await search.run()
        if self.take_trace is not None and not result.failure:
            self.take_trace(ProblemTrace(problem.problem_id, tuple(search.traces)))
        return result


class ProblemSearch:
    """The methods on one problem, one after the other, and what they cost."""

    def __init__(self, searcher: Searcher, problem: Problem) -> None:
        self.searcher, self.config, self.problem = searcher, searcher.config, problem
        self.scorings: list[Scoring] = []
        self.traces: list[SearchTrace] = []
        self.scorers: dict[str, SharedScorer] = {}
        self.usage_of_allocated = ScorerUsage()  # which scores in a tree of its own
        self.drawn: dict[DrawKey, Completion] = {}  # all draws, each once
        policy = searcher.policy
        prompt_ids = policy.encode_prompt(problem.question)
        self.baselines = ProblemBaselines(
            self.config.baselines, searcher.confidence, prompt_ids, self.config.chunk_tokens
        )
        self.too_long_for = ["policy"] if len(prompt_ids) >= policy.context_length else []

    async def run(self) -> ProblemResult:
        async with AsyncExitStack() as stack:
            for name, scorer in self.searcher.scorers.items():
                self.scorers[name] = await stack.enter_async_context(SharedScorer(scorer))
            try:
                return await self._run()
            except ProblemFaultError as fault:
                return self.failed(f"{type(fault).__name__}: {fault}")

    async def _run(self) -> ProblemResult:
        """Searched without a look at the gold answer; graded when all is drawn."""
        config, n_beyond = self.config, self.config.n_difficulty_draws
        # None of these waits for another: the policy's batch is as full as it can be
        greedy, beyond, scored, *others = await side_by_side(
            [
                self.draw(GREEDY, 0.0, range(1)),
                self.draw(SAMPLES, config.temperature, range(config.n_samples, config.n_samples + n_beyond)),
                *(
                    self.draw(SAMPLES, temperature, range(config.n_samples), self.baselines)
                    for temperature in dict.fromkeys((config.temperature, *config.other_temperatures))
                ),
            ]
        )
        scored = replace(scored, candidates=await self.score(scored.candidates))
        trees = [
            await (self.revisions(spec, n) if spec.is_revisions else self.tree(spec, n))
            for spec in config.specs
            for n in config.sizes
        ]
        answer = None
        if self.searcher.allocated is not None:
            answer = await self.searcher.allocated.solve(self.problem, self.drawn)
            self.usage_of_allocated = answer.cost.scorer
        runs = await self.with_classes([scored, *others, *trees])
        self.searcher.ledger.commit()
        graded = CandidateGrader(self.searcher.grader, self.problem)
        greedy, beyond, *runs = [
            replace(run, candidates=await graded.grade(run.candidates)) for run in (greedy, beyond, *runs)
        ]
        return ProblemResult(
            problem=self.problem,
            temperature=config.temperature,
            runs=(greedy, *runs),
            scorings=tuple(self.scorings),
            difficulty=Difficulty(n_beyond, sum(each.is_correct for each in beyond.candidates), beyond.cost),
            scorer_usage=self.scorer_usage,
            usage=self.usage,
            too_long_for=tuple(self.too_long_for),
            allocated=None if answer is None else await self.graded(answer, graded),
        )

    async def graded(self, answer: Answer, grader: CandidateGrader) -> AllocatedAnswer:
        """By the text of its steps; one that was not found is wrong."""
        text = self.config.step_separator.join(answer.steps)
        chosen = Candidate(self.problem.problem_id, 0, text, answer.answer, False)
        if answer.answer is not None:
            (chosen,) = await grader.grade([chosen])
        known = answer.difficulty
        return AllocatedAnswer(
            answer.strategy,
            answer.n,
            known.pass_at_1 if known else 0.0,
            known.bin if known else 0,
            answer.answer,
            chosen.is_correct,
            chosen.is_unknown,
            answer.cost,
        )

    def failed(self, failure: str) -> ProblemResult:
        """With what was spent before."""
        return ProblemResult(
            problem=self.problem,
            temperature=self.config.temperature,
            runs=(),
            scorings=(),
            difficulty=Difficulty(0, 0),
            usage=self.usage,
            scorer_usage=self.scorer_usage,
            failure=failure,
        )

    @property
    def usage(self) -> Usage:
        """Of all draws, each once, and of reading samples for baselines."""
        return sum((draw.usage for draw in self.drawn.values()), self.baselines.usage)

    @property
    def scorer_usage(self) -> ScorerUsage:
        return sum((scorer.usage for scorer in self.scorers.values()), self.usage_of_allocated)

    async def with_classes(self, runs: list[StrategyRun]) -> list[StrategyRun]:
        """With the class of every answer, the same in all runs."""
        stated = [candidate for run in runs for candidate in run.candidates]
        classes = await classify_answers(self.problem, stated, self.searcher.grader)
        return [replace(run, candidates=with_classes(run.candidates, classes)) for run in runs]

    def method_policy(self, policy: Policy | None = None) -> MethodPolicy:
        writer = self.searcher.policy if policy is None else policy
        return MethodPolicy(writer, self.searcher.ledger, self.problem, self.drawn)

    async def draw(
        self, strategy: str, temperature: float, indices: range, baselines: ProblemBaselines | None = None
    ) -> StrategyRun:
        """Whole solutions, as a strategy of their own."""
        policy, params = self.method_policy(), self.config.params(temperature)
        candidates = await draw_candidates(policy, self.searcher.grader, params, indices, baselines)
        cost = Cost(policy.usage_alone, n_pairs=policy.n_pairs)
        return StrategyRun(strategy, len(indices), temperature, tuple(candidates), cost)

    async def score(self, candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        """With the scores of every scorer that can read the question; candidates that are too long are known
        by having no score.
        """
        for name, scorer in self.scorers.items():
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

    async def tree(self, spec: StrategySpec, n: int) -> StrategyRun:
        config, policy, prm = self.config, self.method_policy(), self.scorers["prm"]
        settings = spec.settings(
            temperature=config.temperature,
            max_steps=config.max_steps,
            aggregation=config.aggregation or prm.aggregation,
        )
        chosen, temperature = spec.config(n, settings), settings.pop("temperature")
        writer, reviser = policy, None
        if spec.has_reviser:
            if config.revision_model is not None:
                writer = self.method_policy(self.searcher.reviser)
            reviser = self.reviser(writer, policy, temperature)
            settings["written_by"] = "policy" if writer is policy else "policy and revision_model"
        run = StrategyRun(str(spec), n, temperature, (), settings=settings)
        if "prm" in self.too_long_for:
            return run
        trace = TreeTrace() if self.searcher.take_trace is not None else None
        candidates, usage = await search_tree(
            lambda grower: spec.run(grower, chosen, self.searcher.grader, reviser),
            policy,
            self.searcher.grader,
            prm,
            "prm",
            config.params(temperature, config.step_separator),
            trace,
        )
        if trace is not None:
            self.traces.append(SearchTrace(str(spec), n, tuple(trace.nodes)))
        return replace(run, candidates=tuple(candidates), cost=cost_of({policy, writer}, usage))

    def reviser(self, policy: MethodPolicy, first: MethodPolicy, temperature: float) -> Reviser:
        config = self.config
        prompts = ChainPrompts(config.policy.prompt_template, config.revision_prompt)
        return Reviser(policy, first, self.searcher.grader, config.params(temperature), prompts)

    async def revisions(self, spec: StrategySpec, n: int) -> StrategyRun:
        config, verifier = self.config, dict(spec.given).get("verifier", self.config.verifier)
        scorer = self.scorers.get(verifier)
        how = (config.aggregation or scorer.aggregation) if scorer is not None else "last"
        settings = spec.settings(temperature=config.temperature, verifier=verifier, aggregation=how)
        chosen, temperature = spec.config(n, settings), settings.pop("temperature")
        settings["written_by"] = "policy" if config.revision_model is None else "revision_model"
        policy = self.method_policy(self.searcher.reviser)
        first = self.method_policy() if chosen.base_first else policy
        attempts = await revisions(self.reviser(policy, first, temperature), chosen)
        candidates, usage = [attempt.candidate for attempt in attempts], ScorerUsage()
        if scorer is not None and verifier not in self.too_long_for:
            candidates, usage = await score_attempts(
                self.problem, attempts, scorer, verifier, config.step_separator
            )
        cost = cost_of({policy, first}, usage)
        return StrategyRun(str(spec), n, temperature, tuple(candidates), cost, settings)


def cost_of(writers: set[MethodPolicy], usage: ScorerUsage) -> Cost:
    """What a method's models cost: those that wrote, each once, and the scorer."""
    written = sum((each.usage_alone for each in writers), Usage())
    return Cost(written, usage, sum(each.n_pairs for each in writers))
