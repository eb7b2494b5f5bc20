"""Searches in a tree and revisions as methods of a report: each strategy under each of its votes, and with
the settings and the vote that validation problems choose.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from prm_train.search.results import ProblemResult, Setting, StrategyRun
from prm_train.strategies.tree_searches import parse_strategy
from prm_train.strategies.voting import TreeVote, Vote, is_right, tree_votes, weighted_vote

SpecVote = tuple[str, Vote]


@dataclass(frozen=True)
class TreeMethod:
    """A row of a report. `at` gives for each N, ascending, the spec of the search and the vote among its
    paths; `settings` are those of its runs, by spec.
    """

    name: str
    at: Mapping[int, SpecVote]
    settings: Mapping[str, Mapping[str, Setting]]

    @property
    def strategy(self) -> str:
        spec, _ = next(iter(self.at.values()))
        return parse_strategy(spec).name

    def accuracies(self, results: Sequence[ProblemResult]) -> dict[int, NDArray[np.float64]]:
        """By N, 1.0 for each problem that the vote solved."""
        return {n: accuracies(results, spec, n, vote) for n, (spec, vote) in self.at.items()}

    @property
    def words(self) -> str:
        """Its settings for a person."""
        if self.name.endswith("_tuned"):
            by_choice = groupby(self.at.items(), key=lambda item: item[1])
            entries = [(next(group)[0], choice) for choice, group in by_choice]
            spelled = "; ".join(
                f"from N={n}: {', '.join(spec.split(':')[1:]) or 'defaults'}, vote by {vote}"
                for n, (spec, vote) in entries
            )
            return f"settings and vote chosen on validation for each N ({spelled})"
        ((spec, vote),) = set(self.at.values())
        return (
            ", ".join(f"{name} = {value}" for name, value in self.settings[spec].items())
            + f", vote by {vote}"
        )


def accuracies(results: Sequence[ProblemResult], spec: str, n: int, vote: Vote) -> NDArray[np.float64]:
    """1.0 for each problem that a vote among the paths of a search solved."""

    def is_solved(run: StrategyRun) -> bool:
        how: Any = run.settings["aggregation"]
        return is_right(weighted_vote(run.candidates, tree_votes(run.candidates, run.scorer, how, vote)))

    return np.array([float(is_solved(result.trees[spec][n])) for result in results])


def choose_trees(results: Sequence[ProblemResult]) -> dict[str, dict[int, SpecVote]]:
    """By strategy and N the settings and the vote that solve most validation problems; ties go to what comes
    first: the settings as they were listed, the strategy's own vote.
    """
    choices: dict[str, dict[int, SpecVote]] = {}
    for strategy, specs in by_strategy(results[0]).items():
        choices[strategy] = {
            n: max(
                ((spec, vote) for spec in specs for vote in votes_of(results[0], spec, get_args(TreeVote))),
                key=lambda choice: float(accuracies(results, choice[0], n, choice[1]).mean()),
            )
            for n in sorted(results[0].trees[specs[0]])
        }
    return choices


def tree_methods(
    result: ProblemResult, chosen: Mapping[str, Mapping[int, SpecVote]], more_votes: Sequence[TreeVote] = ()
) -> Iterator[TreeMethod]:
    """The methods of the searches that a problem was searched with.

    Each strategy with its default settings, or where it ran with others only with each of them, under its own
    votes and `more_votes`; and with what validation chose, where it did.
    """
    for strategy, specs in by_strategy(result).items():
        settings = {spec: next(iter(result.trees[spec].values())).settings for spec in specs}
        for spec in [strategy] if strategy in specs else specs:
            votes = votes_of(result, spec, more_votes)
            for vote in votes:
                name = spec if vote == votes[0] else f"{spec}_{vote}"
                yield TreeMethod(name, {n: (spec, vote) for n in sorted(result.trees[spec])}, settings)
        if strategy in chosen:
            yield TreeMethod(f"{strategy}_tuned", chosen[strategy], settings)


def votes_of(result: ProblemResult, spec: str, more_votes: Sequence[TreeVote]) -> tuple[Vote, ...]:
    """The votes of a strategy, its own first; of revisions none but those, and without a verifier the
    majority alone.
    """
    strategy, run = parse_strategy(spec), next(iter(result.trees[spec].values()))
    if strategy.is_revisions:
        return strategy.votes if run.scorer != "none" else ("majority",)
    return tuple(dict.fromkeys((*strategy.votes, *more_votes)))


def by_strategy(result: ProblemResult) -> dict[str, list[str]]:
    """The specs of the searches in a tree, in the order in which they ran."""
    specs: dict[str, list[str]] = {}
    for spec in result.trees:
        specs.setdefault(parse_strategy(spec).name, []).append(spec)
    return specs
