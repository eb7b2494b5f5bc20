"""The figures of the comparison of revisions, on results made by hand."""

import numpy as np

from benchmarks.revisions import (
    BLIND,
    N_MAX,
    SEEING,
    SIZES,
    bars,
    by_difficulty,
    by_place,
    differences,
    over_seeds,
    solved,
    tokens,
)
from data_gen.records.sampling import Usage
from data_gen.records.solutions import Problem
from prm_train.scoring.protocol import ScorerUsage
from prm_train.search.results import Cost, Difficulty, ProblemResult, Scoring, StrategyRun
from prm_train.strategies.candidates import Candidate


def attempt(is_right: bool, index: int, chain: int | None = None) -> Candidate:
    answer = "2" if is_right else f"{index + 3}"
    return Candidate("p", index, f"Answer: {answer}", answer, is_right, scores={"orm": (0.5,)}, chain=chain)


def result(number: int) -> ProblemResult:
    """Four chains that see solve the odd problems, in which every attempt from the second half on is right.
    Others solve problem 1 alone, by the first of their attempts, all of which score alike; the policy
    solves problem 2.
    """

    def chained(spec: str, n: int) -> StrategyRun:
        n_chains = min(int(spec.split("n_chains=")[1].split(":")[0]), n)
        is_best = spec == SEEING[4] and number % 2 == 1
        right = range(n // 2, n) if is_best else range(number == 1)
        each = tuple(attempt(i in right, i, i * n_chains // n) for i in range(n))
        settings = {"verifier": "orm", "aggregation": "last"}
        return StrategyRun(spec, n, 1.0, each, Cost(Usage(10 * n_chains, n), ScorerUsage(7)), settings)

    samples = tuple(attempt(number == 2, i) for i in range(N_MAX))
    trees = [chained(spec, n) for spec in (*SEEING.values(), *BLIND.values()) for n in SIZES]
    return ProblemResult(
        Problem(f"p{number}", f"{number}?", "2"),
        1.0,
        (
            StrategyRun("greedy", 1, 0.0, samples[:1]),
            StrategyRun("samples", N_MAX, 1.0, samples, Cost(Usage(160, 5))),
            *trees,
        ),
        (Scoring("orm", 1.0, N_MAX, ScorerUsage(9)),),
        Difficulty(10, n_correct=10 - number),
        Usage(),
    )


def test_figures_of_revisions_by_hand() -> None:
    results = [result(number) for number in range(10)]
    table = solved(results)
    odd = [float(number % 2) for number in range(10)]
    # Two of the four chains elect the right answer, so it has two votes against one each
    assert table[f"{SEEING[4]}, hierarchical"][16].tolist() == odd
    assert table[f"{SEEING[4]}, majority"][16].tolist() == odd
    assert table["policy, majority"][4].tolist() == [float(number == 2) for number in range(10)]
    assert table["policy, greedy"][1].mean() == 0.1
    # Problem 1 is solved by the first of equals everywhere
    assert table[f"{BLIND[4]}, hierarchical"][16].tolist() == [float(number == 1) for number in range(10)]
    assert {name: bar["mean"] for name, bar in bars(table).items()} == {
        "4 blind chains": 0.4,
        "parallel": 0.4,
        "policy, ORM-weighted": 0.4,
    }
    # Another seed in which they solve nothing more: the seeds tell 0 or 0.4, and their mean is 0.2
    others = {name: np.zeros(10) for name in differences(table)}
    pooled = over_seeds([differences(table), others])["4 blind chains"]
    assert pooled["mean"] == 0.2
    assert pooled["low"] == 0.0
    assert pooled["high"] >= 0.5
    assert by_place(results) == [0.1] + [0.0] * 15
    # Pairs of problems from the easiest on: one of each is odd
    assert by_difficulty(results, table)[SEEING[4]] == [0.5] * 5
    assert by_difficulty(results, table)[SEEING[16]] == [0.5, 0.0, 0.0, 0.0, 0.0]
    spent = tokens(results)
    assert spent[SEEING[4]] == {"generated": 40.0, "prompts": 16.0, "scored": 7.0}
    assert spent["policy, ORM-weighted"] == {"generated": 160.0, "prompts": 5.0, "scored": 9.0}
    assert np.isclose(table[f"{SEEING[1]}, hierarchical"][4].mean(), 0.1)
