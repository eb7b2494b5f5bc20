"""Samples of a question, window by window, until there are enough for the vote, or a budget is spent."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from data_gen.process.side_by_side import side_by_side
from data_gen.records.grader import AnswerReader
from data_gen.records.sampling import SamplingParams, Usage
from prm_train.encoding.aggregation import Aggregation
from prm_train.scoring.protocol import ScorerUsage
from prm_train.scoring.shared_tree import SharedScorer
from prm_train.scoring.work import Work
from prm_train.search.budget import SCORER, Budget, Meter, Spent
from prm_train.search.method_policy import MethodPolicy
from prm_train.search.model_work import scored_work
from prm_train.search.results import Cost
from prm_train.strategies.best_of_n import draw_candidates, score_candidates
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.deepconf_online import Trace, TraceWriter, confidence_weights, threshold_of
from prm_train.strategies.stopping import StopRule, n_needed
from prm_train.strategies.trace import UNWATCHED, SearchWatch
from prm_train.strategies.voting import class_of, path_scores

Weights = Sequence[float | None]


class Samples(Protocol):
    """What is drawn of a question in the order of the indices. All numbers are those of the first samples
    alone, whatever was drawn besides them.
    """

    candidates: list[Candidate]

    @property
    def cost(self) -> Cost:
        """Of all of them."""
        ...

    async def draw(self, indices: range) -> None: ...

    def weights(self, n: int) -> Weights:
        """In the vote, of the first `n`."""
        ...

    def spent(self, n: int) -> Spent:
        """On the first `n`."""
        ...

    def stop(self, n: int) -> tuple[int, str] | None:
        """How many of the first `n` are enough, and by which rule; None: not yet."""
        ...


@dataclass(frozen=True)
class Found:
    """The samples, or paths of a tree, that vote, with their weights. `stopped` names the rule or the budget
    that ended the drawing, if any did; `spent` is all of it.
    """

    candidates: Sequence[Candidate]
    weights: Weights
    stopped: str | None
    spent: Spent

    def why_unsolved(self, budget: Budget) -> str:
        """Where none of them can vote."""
        n = len(self.candidates)
        reason = f"none of {n} texts was finished and states an answer"
        if self.stopped not in budget.limits:
            return reason
        took = f"{self.stopped} of {budget.limits[self.stopped]:,g}"
        return f"budget: {reason} within {took}" if n else f"budget: {took} does not pay for one sample"


async def draw_samples(samples: Samples, budget: Budget, n: int, window: int, first: int) -> Found:
    """At most `n` samples, `first` and then `window` at a time."""
    n_drawn, n_votes, size = 0, 0, min(first, n)
    stopped = None
    while stopped is None and n_drawn < n:
        await samples.draw(range(n_drawn, min(n_drawn + size, n)))
        n_drawn = len(samples.candidates)
        spent, n_before, n_votes = samples.spent(n_drawn), n_votes, n_drawn
        while n_votes > n_before and not budget.holds(samples.spent(n_votes)):
            n_votes -= 1
        enough = samples.stop(n_votes)
        if enough is not None:
            n_votes, stopped = enough
        elif n_votes < n:
            stopped = budget.reached(spent)
        size = int(max(1, min(window, budget.n_affordable(spent, n_drawn))))
    return Found(samples.candidates[:n_votes], samples.weights(n_votes), stopped, samples.spent(n_drawn))


class SampleSettings(Protocol):
    """What `SolveSettings` says of samples."""

    @property
    def n(self) -> int: ...
    @property
    def step_separator(self) -> str: ...
    @property
    def aggregation(self) -> Aggregation | None: ...
    @property
    def stop_early(self) -> StopRule | None: ...
    @property
    def confidence(self) -> float: ...
    @property
    def margin(self) -> float: ...


@dataclass
class ScoredSamples:
    """Samples that vote with their scores, or alike without a scorer, and the rule for when they are
    enough.

    `is_eager`: the rule looks at each sample as soon as those before it are there, and where they are enough
    the rest of the window is cancelled. The answer is the same; the cost depends on which draws were ready.
    """

    policy: MethodPolicy
    reader: AnswerReader
    settings: SampleSettings
    params: SamplingParams
    scorer: SharedScorer | None
    meter: Meter
    watch: SearchWatch = UNWATCHED
    is_eager: bool = False
    candidates: list[Candidate] = field(default_factory=list)

    @property
    def cost(self) -> Cost:
        return Cost(self.policy.usage_alone, self.scorer.usage if self.scorer else ScorerUsage())

    async def draw(self, indices: range) -> None:
        if self.is_eager and self.settings.stop_early is not None:
            return await self._draw_until_enough(indices)
        self.candidates += await self._scored(await side_by_side(map(self._drawn, indices)))

    async def _draw_until_enough(self, indices: range) -> None:
        works = [asyncio.ensure_future(self._drawn_and_scored(index)) for index in indices]
        try:
            for work in works:
                self.candidates += await work
                if self.stop(len(self.candidates)) is not None:
                    break
        finally:
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)

    async def _drawn_and_scored(self, index: int) -> list[Candidate]:
        return await self._scored([await self._drawn(index)])

    async def _drawn(self, index: int) -> Candidate:
        indices = range(index, index + 1)
        [candidate] = await draw_candidates(self.policy, self.reader, self.params, indices)
        self.watch.sample(candidate)
        self._say_spent()
        return candidate

    async def _scored(self, drawn: list[Candidate]) -> list[Candidate]:
        if self.scorer is None:
            return drawn
        separator = self.settings.step_separator
        scored, _ = await score_candidates(self.policy.question, drawn, self.scorer, SCORER, separator)
        for candidate in scored:
            self.watch.sample(candidate)
        self._say_spent()
        return scored

    def _say_spent(self) -> None:
        n_scored = self.scorer.usage.n_new if self.scorer else 0
        self.watch.spend(self.policy.usage.n_generated, n_scored)

    def weights(self, n: int) -> Weights:
        if self.scorer is None:
            return [1.0] * n
        how = self.settings.aggregation or self.scorer.aggregation
        return path_scores(self.candidates[:n], SCORER, how)

    def spent(self, n: int) -> Spent:
        scored = None
        if self.scorer is not None:
            scored = scored_work(self.candidates[:n], SCORER, self.settings.step_separator)
        return self.meter.spent(self.policy.cost_of_first(n), scored)

    def stop(self, n: int) -> tuple[int, str] | None:
        settings, rule = self.settings, self.settings.stop_early
        if rule is None:
            return None
        needed = n_needed(
            self.candidates[:n], self.weights(n), rule, settings.confidence, settings.n, settings.margin
        )
        return None if needed is None else (needed, rule)


@dataclass
class ConfidentSamples:
    """Samples of DeepConf online. `consensus` is the share of the vote that is enough for an answer."""

    writer: TraceWriter
    policy: MethodPolicy
    reader: AnswerReader
    consensus: float
    meter: Meter
    watch: SearchWatch = UNWATCHED
    candidates: list[Candidate] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)

    @property
    def cost(self) -> Cost:
        return Cost(self.policy.usage_alone + Usage(n_prefilled=self._read(len(self.traces)).n_tokens))

    async def draw(self, indices: range) -> None:
        config = self.writer.config
        if self.traces:
            threshold = threshold_of(self.traces[: config.n_warmup], config.percent)
            drawn = await self.writer.while_above(threshold, indices)
        else:
            drawn = await self.writer.whole(indices)
        self.traces += drawn
        for candidate in (trace.candidate(self.policy, self.reader) for trace in drawn):
            self.candidates.append(candidate)
            self.watch.sample(candidate)
        self.watch.spend(self.policy.usage.n_generated, 0)

    def weights(self, n: int) -> Weights:
        return confidence_weights(self.traces[:n], self.writer.config)

    def spent(self, n: int) -> Spent:
        return self.meter.spent(self.policy.cost_of_first(n), read=self._read(n))

    def stop(self, n: int) -> tuple[int, str] | None:
        """Where an answer has so much of the vote, after the warm-up."""
        weights = self.weights(n)
        votes: dict[str, float] = {}
        for number, (candidate, weight) in enumerate(zip(self.candidates[:n], weights, strict=True), 1):
            if weight is not None and candidate.can_vote:
                votes[class_of(candidate)] = votes.get(class_of(candidate), 0.0) + weight
            is_warm = number >= self.writer.config.n_warmup
            if is_warm and votes and max(votes.values()) >= self.consensus * sum(votes.values()):
                return number, "consensus"
        return None

    def _read(self, n: int) -> Work:
        return sum((trace.read for trace in self.traces[:n]), Work())
