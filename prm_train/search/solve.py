"""`solve`: a question answered by a policy and a scorer, in one call, for notebooks and scripts.

Nobody needs to know the right answer: a strategy finds paths, a vote among them chooses the answer, and the
share of the vote is what the answer can be trusted by.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from data_gen.grading.graders import GraderName, load_grader
from data_gen.ledger.store import IN_MEMORY, Ledger
from data_gen.policies.protocol import Policy
from data_gen.records.grader import AnswerReader
from data_gen.records.sampling import SamplingParams, check_temperature
from data_gen.records.solutions import Question
from data_gen.records.steps import check_separator, split_steps
from prm_train.encoding.aggregation import Aggregation
from prm_train.scoring.protocol import PathTooLongError, Scorer, ScorerUsage
from prm_train.scoring.shared_tree import SharedScorer
from prm_train.search.answer import Answer, vote_shares
from prm_train.search.method_policy import MethodPolicy
from prm_train.search.results import Cost
from prm_train.strategies.answer_classes import classify_answers, with_classes
from prm_train.strategies.best_of_n import draw_candidates, score_candidates
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.paths import search_tree
from prm_train.strategies.stopping import StopRule, n_needed
from prm_train.strategies.trace import TreeTrace
from prm_train.strategies.tree_searches import TREE_SEARCHES, StrategySpec, parse_strategy
from prm_train.strategies.voting import class_of, path_scores, tree_votes

# Strategies that choose among whole samples: `best_of_n` is vanilla, in `weighted` all vote with their scores
MAJORITY, WEIGHTED, BEST_OF_N = "majority", "weighted", "best_of_n"
OF_SAMPLES = (MAJORITY, WEIGHTED, BEST_OF_N)
SCORER = "scorer"
Votes = tuple[list[Candidate], list[float | None], ScorerUsage]  # candidates, their weights, the cost
NO_COST = Cost()


@dataclass(frozen=True)
class SolveSettings:
    """How a question is answered."""

    strategy: str = field(
        default="particle_filter",
        metadata={
            "help": "how answers are found: majority, weighted or best_of_n among samples, or a search in a "
            "tree, with settings behind its name as in particle_filter:exponent=0.5"
        },
    )
    n: int = field(default=16, metadata={"help": "number of samples, or of paths of a search in a tree"})
    temperature: float = field(default=1.0, metadata={"help": "temperature of all draws"})
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
    max_new_tokens: int = field(default=256, metadata={"help": "maximum number of tokens of a solution"})
    max_steps: int = field(
        default=40, metadata={"help": "maximum number of steps of a path of a search in a tree"}
    )
    step_separator: str = field(default="\n", metadata={"help": "text that ends a step"})
    aggregation: Aggregation | None = field(
        default=None,
        metadata={"help": "how the step scores of a path become one; null: the scorer's own way"},
    )

    stop_early: StopRule | None = field(
        default=None,
        metadata={
            "help": "majority and weighted: draw no more when the vote will hardly change. beta: the leader "
            "of the first two answers is the likelier one; sprt: a probability ratio test; certain: when the "
            "rest cannot overtake"
        },
    )
    confidence: float = field(default=0.95, metadata={"help": "how sure beta and sprt are when they stop"})
    window: int = field(
        default=8, metadata={"help": "samples that are drawn at a time, before it is asked whether to stop"}
    )

    def __post_init__(self) -> None:
        if self.stop_early is not None and self.strategy not in (MAJORITY, WEIGHTED):
            raise ValueError(
                f"stop_early: got {self.stop_early} with {self.strategy}, expected {MAJORITY} or {WEIGHTED}"
            )
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence: got {self.confidence}, expected 0.5 to less than 1")
        if self.window < 1:
            raise ValueError(f"window: got {self.window}, expected 1 or more")
        check_separator(self.step_separator)
        if self.n < 1:
            raise ValueError(f"n: got {self.n}, expected 1 or more")
        if self.max_steps < 1:
            raise ValueError(f"max_steps: got {self.max_steps}, expected 1 or more")
        if self.strategy not in OF_SAMPLES:
            if self.strategy.partition(":")[0] not in TREE_SEARCHES:
                names = ", ".join((*OF_SAMPLES, *TREE_SEARCHES))
                raise ValueError(f"strategy: got {self.strategy!r}, expected one of {names}")
            parse_strategy(self.strategy)
        check_temperature(self.temperature)
        self.params(self.temperature)

    def params(self, temperature: float, separator: str | None = None) -> SamplingParams:
        """Of whole solutions, or of single steps that end with `separator`."""
        return SamplingParams(
            self.max_new_tokens, temperature, separator, self.top_p, self.top_k, self.min_p, self.stop
        )


def solve(
    question: str,
    policy: Policy,
    scorer: Scorer | None = None,
    strategy: str = "particle_filter",
    n: int = 16,
    *,
    grader: GraderName = "math",
    **settings: object,
) -> Answer:
    """The answer to a question by N samples or paths of `policy`, chosen with `scorer` (a PRM; for `weighted`
    and `best_of_n` an ORM as well; for `majority` None).

    `settings` are those of `SolveSettings`; `grader` says how answers are read and compared. The same call
    gives the same answer. Works in a notebook, too, whose event loop is running. Raises ValueError for
    settings that do not go together.
    """
    chosen = SolveSettings(strategy, n, **settings)  # type: ignore[arg-type]  # checked by the record
    reader = load_grader(grader, "a question")

    def run() -> Answer:
        with Ledger(IN_MEMORY) as ledger:
            solver = Solver(chosen, policy, scorer, reader, ledger)
            return asyncio.run(solver.solve(Question("question", question)))

    # With an event loop of its own: the caller's may be running
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(run).result()


@dataclass(frozen=True)
class Solver:
    """What solving needs besides the question. Raises ValueError for a strategy without the scorer that it
    needs.
    """

    settings: SolveSettings
    policy: Policy
    scorer: Scorer | None
    reader: AnswerReader
    ledger: Ledger
    is_traced: bool = False

    def __post_init__(self) -> None:
        strategy = self.settings.strategy
        if self.scorer is None and strategy != MAJORITY:
            raise ValueError(f"strategy {strategy}: got no scorer, expected one ({MAJORITY} needs none)")
        if self.scorer is not None and not self.scorer.scores_steps and strategy not in OF_SAMPLES:
            raise ValueError(f"strategy {strategy}: got an ORM, which scores whole solutions; expected a PRM")

    async def solve(self, question: Question) -> Answer:
        """A question that the policy or the scorer cannot read, since it fills their context, is an answer
        that says so.
        """
        policy = MethodPolicy(self.policy, self.ledger, question, {})
        if len(self.policy.encode_prompt(question.question)) >= self.policy.context_length:
            return self._unsolved(question, "the question fills the policy's context")
        trace = TreeTrace()
        try:
            if self.settings.strategy in OF_SAMPLES:
                candidates, votes, usage = await self._sample(policy)
            else:
                candidates, votes, usage = await self._search(
                    policy, parse_strategy(self.settings.strategy), trace
                )
        except PathTooLongError:
            return self._unsolved(question, "the question fills the scorer's context")
        cost = Cost(policy.usage_alone, usage)
        classes = await classify_answers(question, candidates, self.reader)
        return self._answer(question, with_classes(candidates, classes), votes, cost, trace)

    async def _sample(self, policy: MethodPolicy) -> Votes:
        """Whole samples, with their weights in the vote; no more than the rule for stopping wants."""
        if self.scorer is None or self.settings.strategy == MAJORITY:
            return await self._sample_and_score(policy, None)
        async with SharedScorer(self.scorer) as scorer:  # windows share a tree
            return await self._sample_and_score(policy, scorer)

    async def _sample_and_score(self, policy: MethodPolicy, scorer: SharedScorer | None) -> Votes:
        settings, params = self.settings, self.settings.params(self.settings.temperature)
        window = settings.n if settings.stop_early is None else settings.window
        candidates = list[Candidate]()
        weights = list[float | None]()
        for first in range(0, settings.n, window):
            indices = range(first, min(first + window, settings.n))
            drawn = await draw_candidates(policy, self.reader, params, indices)
            if scorer is not None:
                drawn, _ = await score_candidates(
                    policy.question, drawn, scorer, SCORER, settings.step_separator
                )
                weights += path_scores(drawn, SCORER, settings.aggregation or scorer.aggregation)
            else:
                weights += [1.0] * len(drawn)
            candidates += drawn
            if settings.stop_early is not None:
                stop = n_needed(candidates, weights, settings.stop_early, settings.confidence, settings.n)
                if stop is not None:
                    candidates, weights = candidates[:stop], weights[:stop]
                    break
        return candidates, weights, scorer.usage if scorer is not None else ScorerUsage()

    async def _search(self, policy: MethodPolicy, spec: StrategySpec, trace: TreeTrace) -> Votes:
        """Paths of a search in a tree, with their weights in the strategy's own vote."""
        settings, scorer = self.settings, self.scorer
        assert scorer is not None
        how = settings.aggregation or scorer.aggregation
        chosen = spec.settings(
            temperature=settings.temperature, max_steps=settings.max_steps, aggregation=how
        )
        config = spec.config(settings.n, chosen)
        candidates, usage = await search_tree(
            lambda grower: spec.run(grower, config, self.reader),
            policy,
            self.reader,
            scorer,
            SCORER,
            settings.params(chosen["temperature"], settings.step_separator),
            trace if self.is_traced else None,
        )
        return candidates, tree_votes(candidates, SCORER, config.aggregation, spec.votes[0]), usage

    def _answer(
        self,
        question: Question,
        candidates: Sequence[Candidate],
        votes: Sequence[float | None],
        cost: Cost,
        trace: TreeTrace,
    ) -> Answer:
        voters = [
            (candidate, weight)
            for candidate, weight in zip(candidates, votes, strict=True)
            if weight is not None and candidate.can_vote
        ]
        if not voters:
            reason = f"none of {len(candidates)} texts was finished and states an answer"
            return self._unsolved(question, reason, cost, trace)
        shares = vote_shares(voters)
        if self.settings.strategy == BEST_OF_N:
            chosen, confidence = max(voters, key=lambda voter: voter[1])
        else:
            key, confidence = next(iter(shares.items()))
            chosen, _ = max(
                (voter for voter in voters if class_of(voter[0]) == key), key=lambda voter: voter[1]
            )
        first = {class_of(candidate): candidate.answer or "" for candidate, _ in reversed(voters)}
        return Answer(
            question.problem_id,
            question.question,
            chosen.answer,
            confidence,
            {first[key]: share for key, share in shares.items()},
            split_steps(chosen.text, self.settings.step_separator),
            tuple(chosen.scores.get(SCORER, ())),
            self.settings.strategy,
            self.settings.n,
            cost,
            trace=tuple(trace.nodes),
        )

    def _unsolved(
        self, question: Question, reason: str, cost: Cost = NO_COST, trace: TreeTrace | None = None
    ) -> Answer:
        nodes = tuple(trace.nodes) if trace else ()
        strategy, n = self.settings.strategy, self.settings.n
        return Answer(
            question.problem_id, question.question, None, 0.0, {}, (), (), strategy, n, cost, reason, nodes
        )
