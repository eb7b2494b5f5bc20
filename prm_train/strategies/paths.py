"""Paths that grow a step at a time and are scored as they grow: what the strategies that search in a tree
share.

A strategy is an `async` function of a `PathGrower` that returns paths; `search_tree` makes candidates of
them, which nobody has graded.
"""

import math
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from data_gen.ledger.policy import LedgerPolicy
from data_gen.process.side_by_side import side_by_side
from data_gen.records.grader import AnswerReader
from data_gen.records.sampling import FinishReason, SamplingParams
from data_gen.records.solutions import Solution
from data_gen.records.steps import ended_steps, split_steps
from data_gen.records.stop_strings import StopStrings
from prm_train.encoding.aggregation import Aggregation, aggregate
from prm_train.scoring.protocol import PathTooLongError, Scorer, ScorerUsage, ScoringTree
from prm_train.strategies.best_of_n import as_candidate, score_path
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.draw_indices import DrawIndices
from prm_train.strategies.search_path import SearchPath
from prm_train.strategies.trace import UNWATCHED, SearchWatch, TreeTrace


@dataclass(frozen=True)
class PathGrower:
    """Who writes the next steps of a problem's paths, and who scores them. `params.stop` is the step
    separator.

    `params.max_new_tokens` bounds a whole path; a step that goes beyond it is the path's last. `indices` are
    those of one run; `trace` is told of the steps of a round, `watch` of each when it is ready. `may_go_on`
    is asked before every round: it says no where a budget is spent.
    """

    policy: LedgerPolicy
    tree: ScoringTree
    params: SamplingParams
    indices: DrawIndices = field(default_factory=DrawIndices)
    trace: TreeTrace | None = None
    may_go_on: Callable[[], bool] = lambda: True
    watch: SearchWatch = UNWATCHED

    def rounds(self, n: int) -> Iterator[int]:
        """The numbers of at most `n` rounds, from 0 on."""
        for number in range(n):
            if not self.may_go_on():
                return
            yield number

    @cached_property
    def prompt_ids(self) -> tuple[int, ...]:
        return self.policy.encode_prompt(self.policy.question.question)

    async def grow(self, paths: Sequence[SearchPath], shares: Sequence[int]) -> list[list[SearchPath]]:
        """Of each path so many children, a step longer and scored, no two of one draw. They divide the weight
        of all its copies evenly.

        Indices are taken in the order of the paths, so what is drawn does not depend on which draw is ready
        first.
        """
        parents = [
            replace(path, multiplicity=1, log_weight=path.log_weight + math.log(path.multiplicity / share))
            if share
            else path
            for path, share in zip(paths, shares, strict=True)
        ]
        self.watch.round(paths, shares)
        children = iter(
            await side_by_side(
                self._next_step(parent, index)
                for parent, share in zip(parents, shares, strict=True)
                for index in self.indices.take(parent.token_ids, share)
            )
        )
        families = [[next(children) for _ in range(share)] for share in shares]
        if self.trace is not None:
            for path, family in zip(paths, families, strict=True):
                self.trace.add(path, family)
        self.watch.spend(self.policy.usage.n_generated, self.tree.usage.n_new)
        return families

    async def roll_out(self, paths: Sequence[SearchPath], n_steps: int) -> list[SearchPath]:
        """Each path with so many greedy next steps, or fewer where it ends, scored at its end. One that does
        not fit into the scorer there has the scores it had.

        Draws at temperature 0 have parameters of their own: they take no index from those of `grow`, and the
        same step is drawn once however many rollouts run through it.
        """
        greedy = replace(self.params, temperature=0.0)

        async def one(path: SearchPath) -> SearchPath:
            for _ in range(n_steps):
                if path.is_open:
                    path = await self._drawn(path, greedy, 0)
            return await self._scored(path)

        return await side_by_side(one(path) for path in paths)

    async def ended(self, solution: Solution) -> SearchPath:
        """A whole solution, whoever wrote it, as a path that has ended, scored."""
        return await self._scored(
            SearchPath(
                solution.token_ids,
                solution.text,
                logprobs=solution.logprobs,
                finish_reason=solution.finish_reason,
                step_logprobs=(math.fsum(solution.logprobs),),
            )
        )

    async def _next_step(self, path: SearchPath, index: int) -> SearchPath:
        """The path with the `index`-th draw of its next step, scored."""
        child = await self._scored(await self._drawn(path, self.params, index))
        self.watch.step(path, child)
        return child

    async def _drawn(self, path: SearchPath, params: SamplingParams, index: int) -> SearchPath:
        """The path with a draw of its next step, not scored. One that a limit cut is truncated."""
        prefix_ids = self.prompt_ids + path.token_ids
        n_left = min(
            params.max_new_tokens - len(path.token_ids), self.policy.context_length - len(prefix_ids)
        )
        if n_left < 1:
            return replace(path, finish_reason=FinishReason.LENGTH)
        draw = await self.policy.sample(prefix_ids, params, index)
        text, is_open = path.text + draw.text, draw.finish_reason is FinishReason.STOP  # at the end of a step
        if params.stop_strings:
            whole = draw
            text, draw = StopStrings(self.policy.token_bytes(), params.stop_strings).cut(path.text, whole)
            is_open = is_open and draw is whole
        return replace(
            path,
            token_ids=path.token_ids + draw.token_ids,
            text=text,
            logprobs=path.logprobs + draw.logprobs,
            step_logprobs=(*path.step_logprobs, math.fsum(draw.logprobs)),
            finish_reason=FinishReason.LENGTH
            if len(draw.token_ids) > n_left
            else None
            if is_open
            else draw.finish_reason,
        )

    async def _scored(self, path: SearchPath) -> SearchPath:
        """With the steps of the whole text, as best-of-N sees them: a token may end a step and begin the
        next one.
        """
        separator = self.params.stop or ""
        steps = ended_steps(path.text, separator) if path.is_open else split_steps(path.text, separator)
        if not steps:
            return path
        try:
            return replace(path, scores=await score_path(self.tree, steps, scores_steps=True))
        except PathTooLongError:
            return replace(path, finish_reason=FinishReason.LENGTH)

    def candidate(self, path: SearchPath, reader: AnswerReader, index: int, name: str) -> Candidate:
        """The path as the `index`-th candidate, with its scores under `name`; an open one is unfinished."""
        question, reason = self.policy.question, path.finish_reason or FinishReason.LENGTH
        solution = Solution(question.problem_id, index, path.text, reason, path.token_ids, path.logprobs)
        return replace(
            as_candidate(solution, reader.read_answer(question, solution)),
            scores={name: path.scores} if path.scores else {},
            step_logprobs=path.step_logprobs,
            multiplicity=path.multiplicity,
            log_weight=path.log_weight,
        )


async def search_tree(
    strategy: Callable[[PathGrower], Coroutine[None, None, list[SearchPath]]],
    policy: LedgerPolicy,
    reader: AnswerReader,
    scorer: Scorer,
    name: str,
    params: SamplingParams,
    trace: TreeTrace | None = None,
) -> tuple[list[Candidate], ScorerUsage]:
    """The paths of a strategy as candidates, in its order, scored under `name`. `params.stop` is the step
    separator.

    `params.max_new_tokens` bounds the whole path. Raises ValueError without a separator or with a scorer that
    cannot score single steps.
    """
    if params.stop is None:
        raise ValueError(
            "a search in a tree draws step by step: params.stop is None, expected the step separator"
        )
    if not scorer.scores_steps:
        raise ValueError(
            f"a search in a tree ranks unfinished paths: {scorer.scorer_id} scores finished ones only, "
            "expected a PRM"
        )
    async with scorer.session(policy.question.question) as tree:
        grower = PathGrower(policy, tree, params, trace=trace)
        paths, usage = await strategy(grower), tree.usage
        if trace is not None:
            trace.weigh(paths)
    return [grower.candidate(path, reader, index, name) for index, path in enumerate(paths)], usage


def even_shares(n: int, n_parts: int) -> list[int]:
    """`n` in so many whole parts, as evenly as it goes, the larger ones first."""
    return [n // n_parts + (part < n % n_parts) for part in range(n_parts)]


def shares_of(n: int, weights: Sequence[float]) -> list[int]:
    """`n` in whole parts in proportion to the weights: each gets its part rounded down, and those with the
    largest remainders, ties to the earliest, one more until all are given.
    """
    total = math.fsum(weights)
    exact = [n * weight / total for weight in weights]
    shares = [math.floor(part) for part in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: shares[i] - exact[i])
    for i in by_remainder[: n - sum(shares)]:
        shares[i] += 1
    return shares


def distinct(paths: Iterable[SearchPath]) -> list[SearchPath]:
    """One path of each text, in the order of the first copies. It stands for all copies of its text; its
    weight is their mean.
    """
    copies: dict[str, list[SearchPath]] = {}
    for path in paths:
        copies.setdefault(path.text, []).append(path)
    return [
        replace(
            same[-1], multiplicity=sum(path.multiplicity for path in same), log_weight=log_mean_weight(same)
        )
        for same in copies.values()
    ]


def own_scores(paths: Iterable[SearchPath], how: Aggregation) -> list[float]:
    """The score of each path."""
    return [aggregate(path.scores, how) for path in paths]


def log_mean_weight(paths: Sequence[SearchPath]) -> float:
    """The logarithm of the mean weight of all copies."""
    highest = max(path.log_weight for path in paths)
    total = math.fsum(path.multiplicity * math.exp(path.log_weight - highest) for path in paths)
    return highest + math.log(total / sum(path.multiplicity for path in paths))


def by_score(paths: Iterable[SearchPath], how: Aggregation) -> list[SearchPath]:
    """The paths with their weights times their scores, for strategies whose weights hold no score yet."""
    return [replace(path, log_weight=path.log_weight + path.log_score(how)) for path in paths]
