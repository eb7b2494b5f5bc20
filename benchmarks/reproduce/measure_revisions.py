"""The revision half of a seed, from the folder of its search."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.reproduce.measured import RevisionHalf, Values, check_answered
from benchmarks.revisions import BLIND, N_MAX, SEEING, solved, tokens
from prm_train.metrics.estimators import difficulty_quintiles
from prm_train.search.results import ProblemResult, StrategyRun, read_results
from prm_train.strategies.voting import is_right, tree_votes, weighted_vote

CHAIN, BLIND_CHAIN = SEEING[1], BLIND[1]


def measure_revisions(folder: Path) -> RevisionHalf:
    """Raises InputError if a problem failed."""
    results = sorted(
        read_results(folder / "test" / "results.jsonl"), key=lambda each: each.problem.problem_id
    )
    check_answered(results, str(folder / "test"))
    return revision_half(results)


def revision_half(results: Sequence[ProblemResult]) -> RevisionHalf:
    fifths = difficulty_quintiles([each.difficulty.n_correct / each.difficulty.n for each in results])
    chains = [each.trees[CHAIN][N_MAX] for each in results]
    return RevisionHalf(
        solved={
            name: {n: tuple(map(float, values)) for n, values in at.items()}
            for name, at in solved(results).items()
        },
        tokens=tokens(results),
        fifths=tuple(map(int, fifths)),
        right=tuple(map(right_attempts, chains)),
        chosen=tuple(map(right_choices, chains)),
        blind=tuple(right_attempts(each.trees[BLIND_CHAIN][N_MAX]) for each in results),
    )


def right_attempts(run: StrategyRun) -> Values:
    """By place."""
    return tuple(float(each.is_correct) for each in run.candidates)


def right_choices(run: StrategyRun) -> Values:
    """By place: whether the verifier's vote among the attempts up to there is right."""
    how: Any = run.settings["aggregation"]
    weights = tree_votes(run.candidates, run.scorer, how, "score")
    found = []
    for n in range(1, len(run.candidates) + 1):
        found.append(float(is_right(weighted_vote(run.candidates[:n], weights[:n]))))
    return tuple(found)
