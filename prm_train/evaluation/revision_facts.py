"""What a report says of revisions beside their accuracy: chains and ratios, and right attempts by place."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_gen.rows.build_record import BuildRecord
from prm_train.evaluation.results import RevisionChains, RevisionFacts
from prm_train.evaluation.tree_methods import TreeMethod
from prm_train.metrics.estimators import Interval, bootstrap_interval
from prm_train.metrics.training_report import TrainingData
from prm_train.search.results import ProblemResult
from prm_train.strategies.tree_searches import parse_strategy

N_CHAINS = "n_chains"


def revision_facts(
    results: Sequence[ProblemResult], trees: Sequence[TreeMethod], revision_model: str | None, seed: int
) -> RevisionFacts | None:
    """Of each search with revisions under its own vote; None where there is none. `seed` is that of the
    bootstrap over problems.
    """
    chains = []
    for tree in trees:
        settings = tree.settings.get(tree.name)  # of a spec; another vote or a tuned row is none
        if settings is None or not parse_strategy(tree.name).is_revisions:
            continue
        name, *given = tree.name.split(":")
        group = ":".join([name, *(each for each in given if not each.startswith(f"{N_CHAINS}="))])
        n_chains, n_shown = settings[N_CHAINS], settings["n_shown"]
        assert isinstance(n_chains, int)
        assert isinstance(n_shown, int)
        chains.append(
            RevisionChains(tree.name, group, n_chains, n_shown, right_by_place(results, tree.name, seed))
        )
    return RevisionFacts(tuple(chains), attempts_in_training(revision_model)) if chains else None


def right_by_place(results: Sequence[ProblemResult], spec: str, seed: int) -> tuple[Interval, ...]:
    """The share of right attempts at each place of the chains at the largest N, with an interval over
    problems. Of a problem that failed all are wrong.
    """
    n = max(results[0].trees[spec])
    rows = [[] if result.failure else _of_problem(result, spec, n) for result in results]
    n_places = max(map(len, rows))
    table = np.array([row or [0.0] * n_places for row in rows])  # (problem, place)
    return tuple(bootstrap_interval(values, np.random.default_rng(seed)) for values in table.T)


def _of_problem(result: ProblemResult, spec: str, n: int) -> list[float]:
    """By place the mean over chains, of which some may be longer by one."""
    by_chain: dict[int | None, list[bool]] = {}
    for candidate in result.trees[spec][n].candidates:  # in the order in which they were written
        by_chain.setdefault(candidate.chain, []).append(candidate.is_correct)
    n_places = max(map(len, by_chain.values()), default=0)
    return [
        float(np.mean([chain[i] for chain in by_chain.values() if i < len(chain)])) for i in range(n_places)
    ]


def attempts_in_training(revision_model: str | None) -> int | None:
    """The most earlier attempts in a row that a revision model was trained on, by the record of its rows.
    None where that is not there.
    """
    training = TrainingData.of(Path(revision_model)) if revision_model is not None else None
    record = Path(training.rows).parent / "build.json" if training is not None else None
    if record is None or not record.is_file():
        return None
    rows = BuildRecord.read(record).revision
    counts = (rows.n_attempts if rows is not None else None) or {}
    return max((int(number) for number, count in counts.items() if count), default=None)
