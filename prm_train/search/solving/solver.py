"""One question answered by one strategy: samples that vote, or a search in a tree."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

from data_gen.ledger.store import Ledger
from data_gen.policies.protocol import Policy
from data_gen.records.grader import AnswerReader
from data_gen.records.solutions import Question
from data_gen.records.steps import split_steps
from prm_train.scoring.flops import ForwardFlops, own_model
from prm_train.scoring.protocol import PathTooLongError, Scorer, ScorerUsage
from prm_train.scoring.shared_tree import SharedScorer
from prm_train.scoring.work import Work
from prm_train.search.answer import Answer, named_shares, vote_shares
from prm_train.search.budget import POLICY, SCORER, Meter, Spent
from prm_train.search.method_policy import MethodPolicy
from prm_train.search.results import Cost
from prm_train.search.solve_settings import BEST_OF_N, MAJORITY, SolveSettings
from prm_train.search.solving.samples import ConfidentSamples, Found, ScoredSamples, draw_samples
from prm_train.strategies.answer_classes import classify_answers, with_classes
from prm_train.strategies.deepconf_online import TraceWriter, parse_deepconf
from prm_train.strategies.paths import PathGrower, SearchPath, search_tree
from prm_train.strategies.trace import UNWATCHED, SearchWatch, TreeTrace
from prm_train.strategies.tree_searches import StrategySpec, parse_strategy
from prm_train.strategies.voting import class_of, tree_votes

NO_COST = Cost()


@dataclass(frozen=True)
class Solver:
    """What solving needs besides the question. `watch` is told what is going on; `is_eager` is that of
    `ScoredSamples`. Raises ValueError for a strategy without the scorer that it needs.
    """

    settings: SolveSettings
    policy: Policy
    scorer: Scorer | None
    reader: AnswerReader
    ledger: Ledger
    flops: Mapping[str, ForwardFlops] = field(default_factory=dict)  # of the models, as far as known
    is_traced: bool = False
    first_draw: int = 0  # see `MethodPolicy`
    watch: SearchWatch = UNWATCHED
    is_eager: bool = False

    def __post_init__(self) -> None:
        strategy = self.settings.strategy
        if self.settings.router is not None:  # of its choices each has a solver of its own
            return
        if self.scorer is None and self.settings.needs_scorer:
            raise ValueError(f"strategy {strategy}: got no scorer, expected one ({MAJORITY} needs none)")
        if self.settings.is_deepconf and own_model(self.policy) is None:
            raise ValueError(
                f"strategy {strategy}: got a policy whose whole distributions cannot be read, expected one "
                "of the engine transformers in this process"
            )
        if self.scorer is not None and not self.scorer.scores_steps and not self.settings.is_of_samples:
            raise ValueError(f"strategy {strategy}: got an ORM, which scores whole solutions; expected a PRM")
        unknown = {POLICY, *([SCORER] if self.settings.needs_scorer else [])} - self.flops.keys()
        if self.settings.budget_flops is not None and unknown:
            raise ValueError(
                f"budget_flops: got a {min(unknown)} whose weights are not known here, expected a model in "
                "this process, or of a folder"
            )

    async def solve(self, question: Question) -> Answer:
        """A question that the policy or the scorer cannot read, since it fills their context, is an answer
        that says so.
        """
        policy = MethodPolicy(self.policy, self.ledger, question, {}, self.first_draw)
        if len(self.policy.encode_prompt(question.question)) >= self.policy.context_length:
            return self.unsolved(question, "the question fills the policy's context")
        async with AsyncExitStack() as stack:
            shared = None
            if self.scorer is not None and self.settings.needs_scorer:
                shared = await stack.enter_async_context(SharedScorer(self.scorer))
            return await self.answer(question, policy, shared)

    async def answer(self, question: Question, policy: MethodPolicy, scorer: SharedScorer | None) -> Answer:
        """With a policy and a scorer for this question, which may have drawn and scored before."""
        trace, meter = TreeTrace(), Meter(self.settings, self.flops)
        scorer = scorer if self.settings.needs_scorer else None
        self.watch.begin(self.settings.strategy, self.settings.n)
        try:
            if self.settings.is_deepconf:
                found, cost = await self._sample_while_confident(policy, meter)
            elif self.settings.is_of_samples:
                found, cost = await self._sample(policy, scorer, meter)
            else:
                spec = parse_strategy(self.settings.strategy)
                found, cost = await self._search(policy, scorer, spec, meter, trace)
        except PathTooLongError:
            return self.unsolved(question, "the question fills the scorer's context")
        classes = await classify_answers(question, found.candidates, self.reader)
        found = replace(found, candidates=with_classes(found.candidates, classes))
        self.watch.vote(found.candidates, found.weights)
        answer = self._answer(question, found, cost, trace)
        return replace(
            answer,
            stopped=found.stopped,
            n_voters=len(found.candidates),
            spent=found.spent if self.settings.is_set else None,
        )

    async def _sample(
        self, policy: MethodPolicy, scorer: SharedScorer | None, meter: Meter
    ) -> tuple[Found, Cost]:
        """Whole samples, with their weights in the vote; no more than the rule for stopping wants."""
        settings = self.settings
        samples = ScoredSamples(
            policy,
            self.reader,
            settings,
            settings.params(settings.temperature),
            scorer,
            meter,
            self.watch,
            self.is_eager,
        )
        is_whole = settings.stop_early is None and not settings.is_set
        window = settings.n if is_whole else settings.window
        return await draw_samples(samples, settings, settings.n, window, window), samples.cost

    async def _sample_while_confident(self, policy: MethodPolicy, meter: Meter) -> tuple[Found, Cost]:
        from prm_train.scoring.confidence import ConfidenceModel

        settings, config = self.settings, parse_deepconf(self.settings.strategy)
        reader = ConfidenceModel(own_model(self.policy), config.group_tokens)
        writer = TraceWriter(policy, reader, settings.params(settings.temperature), config)
        samples = ConfidentSamples(writer, policy, self.reader, settings.confidence, meter, self.watch)
        found = await draw_samples(samples, settings, settings.n, settings.window, config.n_warmup)
        return found, samples.cost

    async def _search(
        self,
        policy: MethodPolicy,
        scorer: SharedScorer | None,
        spec: StrategySpec,
        meter: Meter,
        trace: TreeTrace,
    ) -> tuple[Found, Cost]:
        """Paths of a search in a tree, with their weights in the vote."""
        settings = self.settings
        assert scorer is not None
        how = settings.aggregation or scorer.aggregation
        chosen = spec.settings(
            temperature=settings.temperature, max_steps=settings.max_steps, aggregation=how
        )
        config = spec.config(settings.n, chosen)
        stopped: str | None = None

        def spent(usage: ScorerUsage) -> Spent:
            return meter.spent(policy.cost, Work(usage.n_new, usage.n_pairs))

        async def strategy(grower: PathGrower) -> list[SearchPath]:
            def may_go_on() -> bool:
                nonlocal stopped
                stopped = settings.reached(spent(grower.tree.usage)) if settings.is_set else None
                return stopped is None

            told = replace(grower, may_go_on=may_go_on, watch=self.watch)
            return await spec.run(told, config, self.reader)

        candidates, usage = await search_tree(
            strategy,
            policy,
            self.reader,
            scorer,  # which books what the search costs alone
            SCORER,
            settings.params(chosen["temperature"], settings.step_separator),
            trace if self.is_traced else None,
        )
        votes = tree_votes(candidates, SCORER, config.aggregation, settings.vote or spec.votes[0])
        return Found(candidates, votes, stopped, spent(usage)), Cost(policy.usage_alone, usage)

    def _answer(
        self,
        question: Question,
        found: Found,
        cost: Cost,
        trace: TreeTrace,
    ) -> Answer:
        voters = [
            (candidate, weight)
            for candidate, weight in zip(found.candidates, found.weights, strict=True)
            if weight is not None and candidate.can_vote
        ]
        if not voters:
            return self.unsolved(question, found.why_unsolved(self.settings), cost, trace)
        shares = vote_shares(voters)
        if self.settings.strategy == BEST_OF_N:
            chosen, confidence = max(voters, key=lambda voter: voter[1])
        else:
            key, confidence = next(iter(shares.items()))
            chosen, _ = max(
                (voter for voter in voters if class_of(voter[0]) == key), key=lambda voter: voter[1]
            )
        return Answer(
            question.problem_id,
            question.question,
            chosen.answer,
            confidence,
            named_shares(voters),
            split_steps(chosen.text, self.settings.step_separator),
            tuple(chosen.scores.get(SCORER, ())),
            self.settings.strategy,
            self.settings.n,
            cost,
            trace=tuple(trace.nodes),
            text=chosen.text,
            n_tokens=chosen.n_tokens,
        )

    def unsolved(
        self, question: Question, reason: str, cost: Cost = NO_COST, trace: TreeTrace | None = None
    ) -> Answer:
        nodes = tuple(trace.nodes) if trace else ()
        strategy, n = self.settings.strategy, self.settings.n
        return Answer(
            question.problem_id, question.question, None, 0.0, {}, (), (), strategy, n, cost, reason, nodes
        )
