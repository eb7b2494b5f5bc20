"""What training on revision trajectories changes on the built-in task: `python -m benchmarks.revision_rates
RUN`.

RUN is a finished quickstart: its solutions become trajectories (four a problem, so at most three earlier
attempts), the base policy is trained on them (about 4 minutes, one thread), and both are asked for the next
attempt after the same held-out chains, greedily. Writes benchmarks/results/revision.json.
"""

import argparse
import asyncio
import json
from dataclasses import asdict
from pathlib import Path

from data_gen.build import main as build
from data_gen.files.stored_record import read_object
from data_gen.grading.graders import load_grader
from data_gen.policies.engine.transformers_policy import load_policy
from data_gen.problems.arithmetic.task import BASE_POLICY
from data_gen.process.machine import machine_name
from data_gen.records.sampling import SamplingParams
from data_gen.rows.layouts import RevisionRow, read_rows
from prm_train.examples.evenly import evenly
from prm_train.examples.examples import is_validation_question
from prm_train.metrics.revision_rates import RevisionRates, next_attempts, revision_rates
from prm_train.train_revision import main as train_revision

RESULT = Path(__file__).parent / "results" / "revision.json"
VALIDATION_SHARE, N_CHAINS = 0.1, 300
RECIPE = {
    "n_epochs": 3.0,
    "learning_rate": 3e-4,
    "batch_size": 32,
    "lr_schedule": "cosine",
    "validation_share": VALIDATION_SHARE,
}


def rows_of(run: Path, work: Path) -> Path:
    runs = ",".join(str(shard) for shard in sorted(run.glob("train-*")))
    build(["--runs", runs, "--output", str(work / "rows"), "--kinds", "revision", "--revision.floor", "0.0"])
    return work / "rows" / "revision.jsonl"


def rates_of(model: str, rows: list[RevisionRow]) -> RevisionRates:
    policy = load_policy(model)
    return revision_rates(
        *asyncio.run(
            next_attempts(
                policy, policy.tokenizer, load_grader("arithmetic", ""), rows, SamplingParams(160, 0.0)
            )
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a finished quickstart")
    run = parser.parse_args().run
    work = run / "experiments" / "revision"
    file, model = rows_of(run, work), work / "trained"
    rows = read_rows(file, RevisionRow)
    held_out = [
        row
        for row in rows
        if row.kind == "revision" and is_validation_question(row.question, VALIDATION_SHARE)
    ]
    chains = evenly(held_out, N_CHAINS)
    settings = {"rows": file, "output": model, "n_revised_chains": 0, "use_cpu": "true", **RECIPE}
    train_revision([word for key, value in settings.items() for word in (f"--{key}", str(value))])
    figures = {
        "rates": {
            name: asdict(rates_of(path, chains))
            for name, path in (("base", str(BASE_POLICY)), ("trained", str(model)))
        },
        "n_rows": len(rows),
        "recipe": RECIPE,
        "quickstart": read_object(run / "config.json"),
        "machine": machine_name(),
        "command": "python -m benchmarks.revision_rates runs/quickstart",
    }
    RESULT.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures["rates"], indent=1))


if __name__ == "__main__":
    main()
