"""ORM recipes on the candidates of a finished quickstart: `python -m benchmarks.orm_recipes RUN name=CHECKPOINT …`.

Scores 16 candidates of each of the quickstart's test problems with every checkpoint (an ORM, or any scorer whose own aggregation makes one
of its step scores), beside the quickstart's own ORM and PRM, and writes to benchmarks/results/orm_recipes.json, with 95 % bootstraps over
problems: AUROC inside a problem, its paired difference from the quickstart's ORM, and weighted best-of-4 and 16. How each checkpoint was
trained stands there, too (from its training/report.json). Three recipes of the stored result lost against single solutions with labels:

- `outcome at every step`: the outcome as the label of every step, the last one read (token-level verifiers, Cobbe et al. 2021);
- `product of step scores`: binary cross-entropy of the product of the steps' sigmoids against the outcome;
- `pairs from all rollouts`: `objective: pairs` on every whole solution in the ledger, rollouts joined to the prefix that they continue.

The first two losses are in the tree no longer.
"""

import argparse
import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prm_train.aggregation import Aggregation
from prm_train.evaluation.choosing import accuracies, read_shards, scorer_scores, vote_by
from prm_train.evaluation.estimators import bootstrap_interval, paired_difference
from prm_train.evaluation.facts import machine_name
from prm_train.incremental import load_scorer
from prm_train.metrics import auroc
from prm_train.search.best_of_n import score_candidates
from prm_train.search.run import ProblemResult

RESULT = Path(__file__).parent / "results" / "orm_recipes.json"
N_CANDIDATES = 16
SHOWN = ("rows", "objective", "label_kind", "beta", "aggregation", "n_epochs", "learning_rate", "batch_size", "n_accumulated", "seed")


async def rescore(results: Sequence[ProblemResult], checkpoint: Path, name: str) -> tuple[list[ProblemResult], Aggregation]:
    scorer = load_scorer(str(checkpoint))
    found = []
    for result in results:
        t = result.temperature
        scored, _ = await score_candidates(result.problem, list(result.samples[t]), scorer, name, "\n")
        found.append(replace(result, samples={t: tuple(scored)}))
    return found, scorer.aggregation


def areas(results: Sequence[ProblemResult], name: str, how: Aggregation) -> NDArray[np.float64]:
    """AUROC inside each problem, NaN where all candidates are right or all wrong."""
    score, found = scorer_scores(name, how), []
    for result in results:
        candidates = [candidate for candidate in result.samples[result.temperature] if not candidate.is_unknown]
        ranks = [-math.inf if each is None else each for each in score(candidates)]
        area = auroc(ranks, [candidate.is_correct for candidate in candidates])
        found.append(math.nan if area is None else area)
    return np.array(found)


def measure(results: Sequence[ProblemResult], name: str, how: Aggregation, reference: NDArray[np.float64]) -> dict[str, Any]:
    rng = partial(np.random.default_rng, 0)
    found = areas(results, name, how)
    is_mixed = ~np.isnan(found)
    vote = partial(vote_by, scorer_scores(name, how))
    weighted = {str(n): asdict(bootstrap_interval(accuracies(results, results[0].temperature, vote, n), rng())) for n in (4, 16)}
    return {
        "aggregation": how,
        "within_problem_auroc": asdict(bootstrap_interval(found[is_mixed], rng())),
        "minus_quickstart_orm": asdict(paired_difference(found[is_mixed], reference[is_mixed], rng())),
        "weighted": weighted,
    }


def training(checkpoint: Path) -> dict[str, Any]:
    """How it was trained, as far as the recipe goes, and what that cost."""
    report = json.loads((checkpoint / "training" / "report.json").read_text())
    settings = {name: report["config"][name] for name in SHOWN if name in report["config"]}
    counts = {name: report[name] for name in ("n_steps", "n_training_rows", "n_validation_rows")}
    return settings | {"rows": Path(settings["rows"]).name} | counts | {"cpu_seconds": report["cost"]["cpu_seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished quickstart")
    parser.add_argument("checkpoints", nargs="*", metavar="name=CHECKPOINT")
    arguments = parser.parse_args()
    run: Path = arguments.run
    results = [
        replace(result, samples={result.temperature: result.samples[result.temperature][:N_CANDIDATES]})
        for result in read_shards(sorted(run.glob("test-*")))
    ]
    reference = areas(results, "orm", "last")
    prm_aggregation = json.loads((run / "chosen.json").read_text())["prm_aggregation"]
    figures: dict[str, Any] = {
        "machine": machine_name(),
        "n_problems": len(results),
        "n_mixed_problems": int((~np.isnan(reference)).sum()),
        "n_candidates": N_CANDIDATES,
        "recipes": {
            "quickstart ORM": measure(results, "orm", "last", reference) | {"training": training(run / "orm")},
            "quickstart PRM": measure(results, "prm", prm_aggregation, reference) | {"training": training(run / "prm")},
        },
    }
    for argument in arguments.checkpoints:
        name, _, folder = argument.partition("=")
        scored, how = asyncio.run(rescore(results, Path(folder), name))
        figures["recipes"][name] = measure(scored, name, how, reference) | {"training": training(Path(folder))}
        area = figures["recipes"][name]["within_problem_auroc"]
        print(f"{name}: {area['mean']:.3f} ({area['low']:.3f}-{area['high']:.3f})", flush=True)
    RESULT.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
