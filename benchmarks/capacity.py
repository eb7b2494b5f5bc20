"""Can a larger network learn what the base policy cannot? `python -m benchmarks.capacity`

The built-in task has one operation without a rule, `knead`: 1,000 digits to be learnt by heart. This trains
the architecture of the base policy and one with 14 times its parameters on the same text, in which kneading
is the only operation, and writes how many of the facts are their most likely result to
benchmarks/results/capacity.json, beside the share that the shipped policy knows.
"""

import argparse
import json
import logging
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from data_gen.pretrain import PretrainConfig, PretrainingReport, pretrain
from data_gen.problems.arithmetic.task import BASE_POLICY
from data_gen.process.machine import machine_name

RESULT = Path(__file__).parent / "results" / "capacity.json"
LARGE: dict[str, Any] = {
    "hidden_size": 320,
    "n_layers": 5,
    "n_heads": 10,
    "n_kv_heads": 2,
    "intermediate_size": 960,
    "learning_rate": 1e-3,
}


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n_steps", type=int, default=400)
    small = PretrainConfig(n_steps=parser.parse_args().n_steps, operation="knead", p_chain=0.0)
    figures: dict[str, object] = {
        "machine": machine_name(),
        "n_steps": small.n_steps,
        "small_settings": asdict(small),
        "large_settings": LARGE,
    }
    shipped = PretrainingReport.read(BASE_POLICY / "pretraining.json")
    figures["shipped_policy"] = {
        "n_parameters": shipped.cost.n_parameters,
        "knead": shipped.operation_accuracy["knead"],
    }
    for name, config in (("small", small), ("large", replace(small, **LARGE))):
        with tempfile.TemporaryDirectory() as folder:
            pretrain(config, Path(folder))
            report = PretrainingReport.read(Path(folder) / "pretraining.json")
        figures[name] = {
            **asdict(report.cost),
            "knead": report.operation_accuracy["knead"],
            "final_loss": report.loss_curve[-1].loss,
        }
        print(name, figures[name])
    RESULT.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
