"""What can be chosen for a problem: every method of a report at every N, what it achieves on each problem and
what it costs there, with an estimate of difficulty and without.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from data_gen.settings.errors import InputError
from prm_train.evaluation.choosers import Chooser
from prm_train.evaluation.choosing import Chosen
from prm_train.evaluation.costs import Costs
from prm_train.evaluation.methods import CEILING, STOP_RULES
from prm_train.evaluation.results import TokensPerProblem
from prm_train.evaluation.sample_methods import SampleMethod, aggregation_of, sample_methods
from prm_train.evaluation.tree_methods import accuracies as tree_accuracies
from prm_train.evaluation.tree_methods import by_strategy, votes_of
from prm_train.metrics.difficulty import Floats
from prm_train.metrics.estimators import blocks
from prm_train.scoring.work import passed
from prm_train.search.allocation import PROMPT, SCORE, Choice, Unit
from prm_train.search.model_work import has_tokens
from prm_train.search.results import ProblemResult, Setting
from prm_train.search.solve_settings import BEST_OF_N, MAJORITY, WEIGHTED
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.tree_searches import parse_strategy
from prm_train.strategies.voting import Vote, is_right

UNITS: tuple[Unit, ...] = ("generations", "tokens", "flops")
Amounts = Mapping[Unit, Floats]  # (problem,) or (problem, arm); no flops where they are not known
Drawn = Callable[[Sequence[Candidate]], int]


@dataclass(frozen=True, eq=False)
class Block:
    """Of one arm, all (problem,): `drawn` is what its draws alone cost, without their scores."""

    accuracy: Floats
    cost: Amounts
    drawn: Amounts


@dataclass(frozen=True, eq=False)
class Arm:
    """A choice, as the mean over disjoint blocks of N samples, and on the first N alone: those that are drawn
    first, and that an estimate of difficulty from scores has read. Of a search in a tree both are the same.
    """

    choice: Choice
    mean: Block
    first: Block
    is_of_scored: bool = False  # its draws begin with those of the estimate


class ArmMaker:
    """Makes arms of the results of a search. `chosen` are the settings that validation problems chose."""

    def __init__(self, results: Sequence[ProblemResult], chosen: Chosen, costs: Costs) -> None:
        self.results, self.chosen, self.costs = results, chosen, costs
        self._known: dict[object, tuple[Amounts, Amounts]] = {}

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """All but pass@N, which nobody could choose, and those with a scorer whose tokens the search did not
        store.
        """
        return tuple(make() for make in self._makers().values())

    @property
    def names(self) -> list[tuple[str, int]]:
        """Method and N of each of them."""
        return list(self._makers())

    def arm(self, method: str, n: int) -> Arm:
        """One of them, made alone. Raises InputError if there is none."""
        makers = self._makers()
        if (method, n) not in makers:
            names = dict.fromkeys(f"{name} {each}" for name, each in makers)
            raise InputError(f"method and n: got {method} {n}; expected one of {', '.join(names)}")
        return makers[method, n]()

    def _makers(self) -> dict[tuple[str, int], Callable[[], Arm]]:
        """By the name of a method and N."""
        scored = [each for result in self.results for each in result.scored]
        found = {
            (method.name, n): partial(self._of_samples, method, n, temperature, choose)
            for method in sample_methods(self.results, self.chosen)
            if method.name != CEILING and (method.scorer is None or has_tokens(scored, method.scorer))
            for n, (temperature, choose) in method.at.items()
        }
        of_trees = {
            (name, n): partial(self._of_tree, name, spec, vote, n) for name, spec, vote, n in self._trees()
        }
        return {**found, **of_trees}

    def _of_samples(self, method: SampleMethod, n: int, t: float, choose: Chooser) -> Arm:
        right = [
            np.array([float(is_right(choose(block))) for block in blocks(result.samples[t], n)])
            for result in self.results
        ]
        mean, first = self._cost(n, t, method.scorer, method.n_drawn)
        drawn, first_drawn = self._cost(n, t, None, method.n_drawn)
        return Arm(
            choice_of(method, n, t, self.chosen),
            Block(np.array([each.mean() for each in right]), mean, drawn),
            Block(np.array([each[0] for each in right]), first, first_drawn),
            t == self.results[0].temperature,
        )

    def _cost(self, n: int, t: float, scorer: str | None, n_drawn: Drawn) -> tuple[Amounts, Amounts]:
        """Means over blocks, and of the first block."""
        key = n, t, scorer, n_drawn
        if key not in self._known:
            means, firsts = [], []
            for result in self.results:
                found = self.costs.of_blocks(result, n, t, scorer, n_drawn)
                drawn = [n_drawn(block) for block in blocks(result.samples[t], n)]
                amounts = [_amounts(m, cost) for m, cost in zip(drawn, found, strict=True)]
                means.append({u: float(np.mean([each[u] for each in amounts])) for u in amounts[0]})
                firsts.append(amounts[0])
            self._known[key] = _columns(means), _columns(firsts)
        return self._known[key]

    def _trees(self) -> Iterator[tuple[str, str, Vote, int]]:
        """Name, spec, vote and N: each search under its own votes, and under what validation chose."""
        for strategy, specs in by_strategy(self.results[0]).items():
            for spec in specs:
                own = votes_of(self.results[0], spec, ())
                for n in sorted(self.results[0].trees[spec]):
                    tuned = self.chosen.trees.get(strategy, {}).get(n)
                    votes = (*own, tuned[1]) if tuned is not None and tuned[0] == spec else own
                    for vote in dict.fromkeys(votes):
                        yield spec if vote == own[0] else f"{spec}_{vote}", spec, vote, n

    def _of_tree(self, name: str, spec: str, vote: Vote, n: int) -> Arm:
        runs = [result.trees[spec][n] for result in self.results]
        lookahead = runs[0].settings.get("lookahead")
        n_paths = n * (1 + lookahead) if isinstance(lookahead, int) else n  # as the paper counts, section 5.2
        cost = _columns([_amounts(n_paths, self.costs.of_run(run)) for run in runs])
        block = Block(tree_accuracies(self.results, spec, n, vote), cost, cost)
        how = runs[0].settings["aggregation"]
        scorer = None if runs[0].scorer == "none" else runs[0].scorer
        choice = Choice(
            name,
            n,
            as_solved(spec, runs[0].settings),
            runs[0].temperature,
            how,  # type: ignore[arg-type]  # one of the ways, as the search stored it
            vote,
            scorer=scorer,
        )
        return Arm(choice, block, block)

    def estimate(self, kind: str, n_draws: int, n_prompt: Sequence[float]) -> tuple[Amounts, Amounts]:
        """What an estimate of difficulty costs (problem,): all of it, and its draws alone. That of the oracle
        is not counted, as in the paper.
        """
        if kind == SCORE:
            cost = self._first(n_draws, "prm")
            return cost, self._first(n_draws, None)
        zero: dict[Unit, Floats] = {unit: np.zeros(len(self.results)) for unit in UNITS}
        if kind == PROMPT:
            policy = self.costs.flops.get("policy")
            read = {"tokens": np.array(n_prompt, dtype=np.float64)}
            if policy is not None:
                read["flops"] = np.array([policy.of(passed(0, int(n)), 0) for n in n_prompt])
            return {**zero, **read}, zero  # type: ignore[dict-item]  # names of units
        return zero, zero

    def _first(self, n: int, scorer: str | None) -> Amounts:
        return _columns(
            [
                _amounts(
                    n,
                    self.costs.of_block(
                        result.scored[:n],
                        result.cost_of_samples(result.temperature).policy.n_prefilled,
                        scorer,
                    ),
                )
                for result in self.results
            ]
        )


def with_estimate(
    arm: Arm, block: Block, unit: Unit, estimate: tuple[Amounts, Amounts], is_drawn: bool
) -> Floats:
    """The cost of an arm behind an estimate of difficulty (problem,): what both need is paid once. Where the
    estimate reads draws (`is_drawn`) with which those of the arm begin, those are; and the scores of them,
    where the arm reads the same.
    """
    whole, drawn = (each[unit] for each in estimate)
    if not is_drawn or not arm.is_of_scored:
        return block.cost[unit] + whole
    if arm.choice.scorer == "prm":  # fewer draws are among the more
        return np.maximum(block.cost[unit], whole)
    return block.cost[unit] + whole - np.minimum(block.drawn[unit], drawn)


def choice_of(method: SampleMethod, n: int, temperature: float, chosen: Chosen) -> Choice:
    """As `solve` calls it; what `solve` does not know keeps its name."""
    base, stop = method.name, None
    for ending, rule in STOP_RULES.items():
        if method.name.endswith(ending):
            base, stop = method.name.removesuffix(ending), rule
    forms = {"weighted": WEIGHTED, "vanilla": BEST_OF_N}
    is_scored = method.scorer in ("prm", "orm")
    strategy = forms[base.partition("_")[2]] if is_scored else MAJORITY if base == "majority" else base
    how = aggregation_of(chosen, base, n) if is_scored else None
    return Choice(method.name, n, strategy, temperature, how, None, stop, method.scorer)


def as_solved(spec: str, settings: Mapping[str, Setting]) -> str:
    """The spec of a search with its limit of steps, which is a setting of the whole run."""
    is_given = "max_steps" in dict(parse_strategy(spec).given)
    return spec if is_given or "max_steps" not in settings else f"{spec}:max_steps={settings['max_steps']}"


def _amounts(n: float, cost: TokensPerProblem) -> dict[Unit, float]:
    known: dict[Unit, float] = {"generations": float(n), "tokens": cost.total}
    return known if cost.flops is None else {**known, "flops": cost.flops}


def _columns(rows: Sequence[Mapping[Unit, float]]) -> Amounts:
    """Of a unit that every row has."""
    return {unit: np.array([row[unit] for row in rows]) for unit in UNITS if all(unit in row for row in rows)}
