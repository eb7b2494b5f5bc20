"""A small policy that searches against a large one that answers once, at equal FLOPs, by difficulty."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from prm_train.allocation.arms import Arm
from prm_train.allocation.folds import Ints, Rule, Table, choose
from prm_train.allocation.size_budgets import AnswerCost, small_budget
from prm_train.allocation.size_results import (
    OPTIMAL,
    Answer,
    FlopsKind,
    Pretraining,
    SizeCurve,
    SizeRow,
    Verdict,
)
from prm_train.allocation.study import BLIND, Study
from prm_train.evaluation.costs import Costs
from prm_train.metrics.difficulty import Floats
from prm_train.metrics.estimators import (
    N_QUINTILES,
    Interval,
    bootstrap_interval,
    difficulty_quintiles,
    paired_difference,
)
from prm_train.search.allocation import ORACLE
from prm_train.strategies.voting import is_right

Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Answers:
    """Of a policy that answers each problem once, all (problem,); means over its samples, if it samples."""

    accuracy: Floats
    tokens: Floats
    flops: Floats

    def cost(self, members: Flags) -> AnswerCost:
        return AnswerCost(float(self.tokens[members].mean()), float(self.flops[members].mean()))


def single_answers(costs: Costs, answer: Answer) -> Answers:
    """Raises ValueError where FLOPs of the policy are not known."""
    rights, tokens, flops = [], [], []
    for result in costs.results:
        t = result.temperature
        n_prompt = result.cost_of_samples(t).policy.n_prefilled
        drawn = [result.greedy] if answer == "greedy" else result.scored
        found = [costs.of_block([each], n_prompt, None) for each in drawn]
        rights.append(np.mean([is_right(each) for each in drawn]))
        tokens.append(np.mean([each.total for each in found]))
        flops.append(np.mean([np.nan if each.flops is None else each.flops for each in found]))
    if np.isnan(flops).any():
        raise ValueError("FLOPs of a policy are not known, expected those of both")
    return Answers(np.array(rights), np.array(tokens), np.array(flops))


@dataclass(frozen=True, eq=False)
class Reached:
    """What a way to search achieves within a budget, and what it costs (problem of the group,)."""

    accuracy: Floats
    spent: float
    is_whole_budget: bool
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Problems, by which estimate of difficulty they are grouped and methods are chosen."""

    difficulty: str
    bin: int | None
    members: Flags
    quintiles: Ints


class SizeStudy:
    """With one kind of FLOPs. `study` is of the small policy's search, `small` its single samples, `large`
    the large policy's answers by kind; `ways` are methods whose curves over N are read at the budget.
    """

    def __init__(
        self, study: Study, small: Answers, large: dict[Answer, Answers], ways: Sequence[str]
    ) -> None:
        self.study, self.small, self.large, self.ways = study, small, large, ways
        self._rule = Rule("quantile", N_QUINTILES, "each", study.settings.prior)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """All problems and each fifth, by each estimate of difficulty."""
        found = []
        for kind, rates in self.study.estimates.items():
            if kind == BLIND:
                continue
            quintiles = difficulty_quintiles(rates)
            found.append(Group(kind, None, np.ones(len(rates), dtype=bool), quintiles))
            found += [Group(kind, n, quintiles == n, quintiles) for n in range(N_QUINTILES)]
        return tuple(found)

    def rows(
        self, flops: FlopsKind, pretraining: Pretraining, load: float, tokens_ratio: float
    ) -> Iterator[SizeRow]:
        """For each group, answer of the large policy and way to search."""
        every = np.ones(len(self.small.accuracy), dtype=bool)
        small_per_token = self.small.cost(every).per_token
        answers: tuple[Answer, ...] = get_args(Answer)
        for group, answer in product(self.groups, answers):
            large = self.large[answer]
            cost = large.cost(group.members)
            accuracy = bootstrap_interval(large.accuracy[group.members], self._rng)
            budget = small_budget(cost, large.cost(every).per_token, small_per_token, load, tokens_ratio)
            for way in (OPTIMAL, *self.ways):
                found = self.optimal(group, budget) if way == OPTIMAL else self.curve(way, group, budget)
                row = SizeRow(
                    flops,
                    pretraining,
                    load,
                    group.difficulty,
                    group.bin,
                    int(group.members.sum()),
                    answer,
                    way,
                    budget,
                    budget / (small_per_token * cost.n_tokens),
                    accuracy,
                    "unaffordable",
                )
                yield row if found is None else self._judged(row, found, large.accuracy[group.members])

    def _judged(self, row: SizeRow, found: Reached, large: Floats) -> SizeRow:
        difference = paired_difference(found.accuracy, large, self._rng)
        return SizeRow(
            **{
                **vars(row),
                "verdict": verdict(difference, found.is_whole_budget),
                "spent": found.spent,
                "is_whole_budget": found.is_whole_budget,
                "small": bootstrap_interval(found.accuracy, self._rng),
                "difference": difference,
                "choices": found.choices,
            }
        )

    @property
    def _rng(self) -> np.random.Generator:
        return np.random.default_rng(self.study.settings.seed)

    def optimal(self, group: Group, budget: float) -> Reached | None:
        """The method and N that problems of other folds choose for each fifth of the estimates, whose cost
        counts (but for the oracle's).
        """
        table, folds = self.study.table(group.difficulty, "flops"), self.study.folds
        arms = np.zeros(len(folds), dtype=np.int64)
        for fold in np.unique(folds[group.members]):
            by_bin = self._choice(table, group, folds != fold, budget)
            if by_bin is None:
                return None
            own = (folds == fold) & group.members
            arms[own] = np.array(by_bin)[group.quintiles[own]]
        whole = self._choice(table, group, np.ones(len(folds), dtype=bool), budget)
        if whole is None:
            return None
        rows = np.flatnonzero(group.members)
        own_bins = range(N_QUINTILES) if group.bin is None else [group.bin]
        return Reached(
            table.tested[rows, arms[rows]],
            float(table.spent[rows, arms[rows]].mean()),
            bool(budget <= table.cost[group.members].mean(axis=0).max()),
            tuple(str(self.study.arms[whole[number]].choice) for number in own_bins),
        )

    def _choice(self, table: Table, group: Group, used: Flags, budget: float) -> list[int] | None:
        some = Table(*(each[used] for each in (table.accuracy, table.cost, table.tested, table.spent)))
        return choose(some, group.quintiles[used], N_QUINTILES, self._rule, budget)

    def _arms_of(self, way: str) -> list[Arm]:
        """By rising N."""
        arms = (arm for arm in self.study.every_arm if arm.choice.method == way)
        return sorted(arms, key=lambda arm: arm.choice.n)

    def curves(self) -> Iterator[SizeCurve]:
        """Of the first of the ways, by oracle difficulty."""
        for group in self.groups:
            if group.difficulty == ORACLE and group.bin is not None:
                points = (
                    (
                        float(arm.mean.cost["flops"][group.members].mean()),
                        bootstrap_interval(_on(arm, group), self._rng),
                    )
                    for arm in self._arms_of(self.ways[0])
                )
                yield SizeCurve(self.ways[0], group.bin, tuple(points))

    def curve(self, way: str, group: Group, budget: float) -> Reached | None:
        """A method at the N that costs the budget: between two stored N on a line over the logarithm of the
        cost; at the largest, where that costs less.
        """
        arms = self._arms_of(way)
        costs = np.array([arm.mean.cost["flops"][group.members].mean() for arm in arms])
        if budget < costs[0]:
            return None
        after = int(np.searchsorted(costs, budget))
        if after == len(arms):
            return Reached(_on(arms[-1], group), float(costs[-1]), False, (str(arms[-1].choice),))
        before = max(after - 1, 0)
        share = np.log(budget / costs[before]) / np.log(costs[after] / costs[before]) if after else 0.0
        low, high = (_on(arms[place], group) for place in (before, after))
        # Written so that a problem that both solve is solved, to the last bit
        accuracy = low + share * (high - low)
        names = dict.fromkeys(str(arms[place].choice) for place in (before, after))
        return Reached(accuracy, budget, True, tuple(names))


def _on(arm: Arm, group: Group) -> Floats:
    return arm.mean.accuracy[group.members]


def verdict(difference: Interval, is_whole_budget: bool) -> Verdict:
    """Of small minus large; what a small policy with less than its budget does not reach, it may reach with
    all of it.
    """
    if difference.direction > 0:
        return "small"
    if not is_whole_budget:
        return "unreached"
    return "large" if difference.direction < 0 else "level"
