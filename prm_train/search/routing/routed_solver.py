"""Questions answered by a router: one sample first, or not at all; more where that is not enough."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from data_gen.ledger.store import Ledger
from data_gen.policies.protocol import Policy
from data_gen.records.draw_keys import DrawKey
from data_gen.records.sampling import Completion, Usage
from data_gen.records.solutions import Question
from data_gen.settings.errors import InputError
from prm_train.encoding.aggregation import aggregate
from prm_train.scoring.flops import own_model
from prm_train.scoring.protocol import Scorer
from prm_train.scoring.shared_tree import SharedScorer
from prm_train.search.allocation import ChoiceSolver, prompt_features
from prm_train.search.answer import Answer, EstimatedDifficulty, RouteTaken
from prm_train.search.method_policy import MethodPolicy
from prm_train.search.results import Cost
from prm_train.search.routing.router import Router, sureness


@dataclass(frozen=True)
class RoutedSolver:
    """`simple` draws one sample and scores it, `solvers` are those of the router's choices, `stages` those of
    its stages. `large_policy` is
    that of the last step, and `large` asks it for one sample; both None where the router has no such step.

    Raises InputError where the router was fitted with other models, or its estimate cannot be made here.
    """

    router: Router
    simple: ChoiceSolver
    solvers: Sequence[ChoiceSolver]
    policy: Policy
    scorer: Scorer
    ledger: Ledger
    first_draw: int = 0
    large: ChoiceSolver | None = None
    large_policy: Policy | None = None
    stages: Sequence[ChoiceSolver] = ()

    def __post_init__(self) -> None:
        name = "prm" if self.scorer.scores_steps else "orm"
        models = {"policy": self.policy.policy_id, name: self.scorer.scorer_id}
        if self.large_policy is not None:
            models["large"] = self.large_policy.policy_id
        self.router.check_models(models, "router")
        choices = (*self.router.complex, *(each.choice for each in self.router.stages))
        wanted = {self.router.scorer, *(each.scorer for each in choices if each.scorer)}
        if missing := wanted - models.keys():
            raise InputError(f"router: needs the {min(missing)}; got the {name}")
        if self.router.fit is not None and own_model(self.policy) is None:
            raise InputError(
                "router: reads the policy's state of the prompt; got a policy that is no model in this "
                "process, expected one of the engine transformers (or a router fitted with prompt_head false)"
            )
        if self.router.large_from is not None and self.large_policy is None:
            raise InputError("router: its last step is a large policy; got none, expected large_policy")

    async def solve(self, question: Question, drawn: dict[DrawKey, Completion] | None = None) -> Answer:
        """See `Solver.solve`; the cost is that of all steps that were taken, what they share once. `drawn`
        are draws that other methods share (see `MethodPolicy`).
        """
        drawn = {} if drawn is None else drawn
        policy = MethodPolicy(self.policy, self.ledger, question, drawn, self.first_draw)
        if len(policy.encode_prompt(question.question)) >= policy.context_length:
            return self.simple.unsolved(question, "the question fills the policy's context")
        async with SharedScorer(self.scorer) as shared:
            return await self._answer(question, policy, shared)

    async def _answer(self, question: Question, policy: MethodPolicy, scorer: SharedScorer) -> Answer:
        router, pass_at_1, n_read = self.router, None, 0
        if router.fit is not None:
            features, n_read = prompt_features(self.policy, question)
            pass_at_1 = float(router.fit.predict([features])[0])
        place = router.choice_for(pass_at_1)
        route = router.before_sample(pass_at_1)
        if route is None:
            answer = await self.simple.answer(question, policy, scorer)
            # Of one sample the confidence is its score
            score = answer.confidence if answer.answer is not None else None
            route = router.after_sample(pass_at_1, score)
        if route.path == "complex":
            answer, route = await self._search(question, policy, scorer, place, route)
        # Policy and scorer are shared by all steps, and count what any of them needs once
        usage = policy.usage_alone + Usage(n_prefilled=n_read)
        answer = replace(
            answer,
            cost=Cost(usage, scorer.usage, policy.n_pairs),
            difficulty=None if pass_at_1 is None else EstimatedDifficulty(pass_at_1, place),
            route=route,
        )
        if route.path == "complex" and router.large_from is not None:
            return await self._ask_large(question, answer, route)
        return answer

    async def _search(
        self, question: Question, policy: MethodPolicy, scorer: SharedScorer, place: int, route: RouteTaken
    ) -> tuple[Answer, RouteTaken]:
        """By the stages of the complex path, until an answer is sure enough, and by its last search."""
        stages = self.router.stages
        for number, (stage, solver) in enumerate(zip(stages, self.stages, strict=True), 1):
            answer = await solver.answer(question, policy, scorer)
            if answer.answer is None:
                continue
            how = stage.choice.aggregation or scorer.aggregation
            score = aggregate(answer.scores, how) if answer.scores else None
            if sureness(answer.confidence, score, stage.choice.strategy) >= stage.accept_from:
                return answer, replace(route, n_searches=number)
        answer = await self.solvers[place].answer(question, policy, scorer)
        return answer, replace(route, n_searches=len(stages) + 1) if stages else route

    async def _ask_large(self, question: Question, answer: Answer, route: RouteTaken) -> Answer:
        """The answer, or that of the large policy where too little speaks for it."""
        assert self.router.large_from is not None
        confidence = answer.confidence if answer.answer is not None else 0.0
        if confidence >= self.router.large_from:
            return replace(answer, route=replace(route, confidence=confidence))
        assert self.large is not None
        assert self.large_policy is not None
        policy = MethodPolicy(self.large_policy, self.ledger, question, {}, self.first_draw)
        if len(policy.encode_prompt(question.question)) >= policy.context_length:
            return replace(answer, route=replace(route, confidence=confidence))
        found = await self.large.answer(question, policy, None)
        return replace(
            found,
            cost=answer.cost,
            large_cost=Cost(policy.usage_alone, n_pairs=policy.n_pairs),
            difficulty=answer.difficulty,
            route=replace(route, path="large", reason="disputed", confidence=confidence),
        )
