"""What a router saves on the built-in task: `python -m benchmarks.serving.router runs/seed-11 runs/seed-12
runs/seed-13`, of runs of `benchmarks.reproduce`, whose searches are there. Writes the `router` of
benchmarks/results/serving.json, and leaves the rest of that file as it is.

The analysis, as it was written down before any test problem was looked at:

- Of each seed `prm-train route fit` with its defaults learns a router on the validation problems (150) and is
  judged on the test problems (500), which had no part in the policy's training, the PRM's, or the fit. The
  three seeds' test problems are taken together: 1,500 problems, intervals by bootstrap over them.
- `tokens_saved` is the share of the tokens (policy and PRM) of the reference that the router does not spend,
  `accuracy_difference` its accuracy minus the reference's on the same problems.
- The reference is what `prm-train serve` does without a router and without being told anything: its default
  strategy and N, the particle filter with 16 paths. That one is the figure; two others stand beside it:
  weighted best-of-64, with which the project compares elsewhere, and the most accurate of all methods and N
  on the seed's validation problems, the hardest to replace.
- The goal, half of the tokens at equal accuracy, is reached if `tokens_saved` is at least 0.5 and the lower
  end of `accuracy_difference` is at least -0.01.
- A saving may come from a cheaper search for all, which needs no router, or from routing. So
  `search_alone` says what the router's own complex path would save if every question got it, and `over_mix`
  how much more the router solves than sending questions by lot to either path at the same cost.
- Of rules without stages it was run twice. The first time the fit took the cheapest router that seemed as
  accurate on validation, with three bins of difficulty: 32.8 % (31.5 to 34.0) of the default's tokens saved
  at -0.2 (-1.3 to +1.0) points. Then a fourth seed (4, of another run), tried by itself, lost 9 points by
  such a router. On that seed alone the rule was made cautious: the defaults of `tolerance` (0.01), `caution`
  (2) and `n_bins` (1). Nothing else was changed once test problems had been seen: 7.7 % (6.6 to 8.9) at +0.2
  points.
- Then the complex path was graded: up to two cheaper searches before its last one, whose answer stands where
  it is sure enough (`n_stages`, prm_train/routing/stages.py). All of this was decided on validation
  problems, of these three seeds and of three others (3, 4, 5), and written down before the one run on test
  problems. Sureness is the answer's share of the vote times the score of its heaviest path, which told right
  answers of particle filters with 4 and 8 paths from wrong ones with an AUROC of 0.86 to 0.96 (the share
  alone: 0.60 to 0.86; the best score less the best of another answer: 0.68 to 0.88). Caution, tolerance and
  bins stayed as they were. What is expected: a particle filter with 4 paths (0.33 of the default's tokens)
  ends 60 to 70 % of the questions at equal accuracy, and what goes on pays for both searches; so 20 to 35 %
  can be saved where 150 problems tell that from luck. Where four in five questions end there 42 to 46 % are
  saved, and on one of the six seeds 7 points are lost. So half is not expected against the default.
- Replayed searches in a tree share nothing with the stage before them; in use some draws are the same, so
  replayed savings are lower bounds. `wrong_stage` is the share of problems in which a stage's answer stood
  though it was wrong and what follows right.
- Wrong routings both ways are shares of problems: `wrong_simple`, the simple answer stood though it was wrong
  and the complex path right; `needless_complex`, the complex path was asked though the sample was right.
"""

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from data_gen.files.jsonl import write_text
from prm_train.allocation.early_stop import saved_share
from prm_train.metrics.estimators import Interval
from prm_train.route import fit_and_judge, read_material, settings_of
from prm_train.routing.plan import Plan
from prm_train.routing.settings import RouteConfig
from prm_train.routing.study import Fitted, Judged, Verdict
from prm_train.routing.thresholds import NEVER

logger = logging.getLogger(__name__)
RESULT = Path(__file__).parents[1] / "results" / "serving.json"
N_SHARDS = 2


@dataclass(frozen=True)
class Reference:
    """What answers without a router; None: the most accurate on validation."""

    name: str
    method: str | None
    n: int | None


REFERENCES = (
    Reference("default", "particle_filter", 16),
    Reference("best_of_64", "prm_weighted", 64),
    Reference("most_accurate", None, None),
)


def figure(interval: Interval) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(interval).items()}


def config_of(run: Path) -> RouteConfig:
    folders = {
        split: tuple(run / "search" / f"{split}-{shard}" for shard in range(N_SHARDS))
        for split in ("validation", "test")
    }
    return RouteConfig(folders["validation"], run / "route", test=folders["test"])


def figures_of(verdict: Verdict, seed: int) -> dict[str, Any]:
    router, alone, wrong = verdict.router, verdict.always_complex, verdict.wrong
    return {
        "n_problems": len(verdict),
        "tokens_saved": figure(verdict.saved["tokens"]),
        "accuracy_difference": figure(verdict.accuracy_difference),
        "flops_saved": figure(verdict.saved["flops"]) if "flops" in verdict.saved else None,
        "accuracy": {
            "router": figure(router.accuracy),
            "reference": figure(verdict.reference.accuracy),
            "search_alone": figure(alone.accuracy),
            "simple_alone": figure(verdict.always_simple.accuracy),
        },
        "tokens": {
            "router": round(router.cost["tokens"], 1),
            "reference": round(verdict.reference.cost["tokens"], 1),
            "search_alone": round(alone.cost["tokens"], 1),
            "simple_alone": round(verdict.always_simple.cost["tokens"], 1),
        },
        "search_alone": figure(
            saved_share(verdict.costs_alone["tokens"], verdict.costs_of_reference["tokens"], seed)
        ),
        "over_mix": figure(verdict.over_mix),
        "simple_share": round(router.simple_share, 4),
        "wrong_simple": figure(wrong.wrong_simple),
        "wrong_stage": None if wrong.wrong_stage is None else figure(wrong.wrong_stage),
        "needless_complex": round(wrong.hard_right.mean + wrong.unsure_right.mean, 4),
    }


def learnt(plan: Plan, fitted: Fitted) -> dict[str, Any]:
    """What the router of a seed is."""
    at, choices = fitted.at, plan.choices
    return {
        "stages": {str(choices[step.place]): round(step.accept_from, 4) for step in fitted.mix.steps},
        "complex_path": [str(choices[place]) for place in fitted.mix.places],
        "reads_prompt": fitted.fit is not None,
        "simple_from": "never" if at.simple_from >= NEVER else round(at.simple_from, 4),
        "accept_from": "never" if at.accept_from >= NEVER else round(at.accept_from, 4),
    }


def measure(runs: Mapping[str, RouteConfig], references: Sequence[Reference] = REFERENCES) -> dict[str, Any]:
    """Of runs by name. The first reference is the figure."""
    judged: dict[str, list[Judged]] = {each.name: [] for each in references}
    seeds: dict[str, dict[str, Any]] = {each.name: {} for each in references}
    settings = settings_of(next(iter(runs.values())))
    for run, config_of_run in runs.items():
        material = read_material(config_of_run)
        for reference in references:
            config = replace(config_of_run, reference=reference.method, reference_n=reference.n)
            plan, fitted, found = fit_and_judge(config, material)
            judged[reference.name] += found
            verdict = Verdict(found, settings)
            seeds[reference.name][run] = {
                "reference": str(plan.reference),
                **learnt(plan, fitted),
                "tokens_saved": figure(verdict.saved["tokens"]),
                "accuracy_difference": figure(verdict.accuracy_difference),
            }
            logger.info("%s, %s: %s", run, reference.name, seeds[reference.name][run])
    wholes = {name: figures_of(Verdict(found, settings), settings.seed) for name, found in judged.items()}
    first = wholes[references[0].name]
    return {
        "tokens_saved": first["tokens_saved"],
        "accuracy_difference": first["accuracy_difference"],
        "references": {name: {**whole, "seeds": seeds[name]} for name, whole in wholes.items()},
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of benchmarks.reproduce, one a seed")
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    known = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    command = "python -m benchmarks.serving.router " + " ".join(
        f"runs/{each.name}" for each in arguments.runs
    )
    found = {"command": command, **measure({run.name: config_of(run) for run in arguments.runs})}
    write_text(arguments.output, json.dumps({**known, "router": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
