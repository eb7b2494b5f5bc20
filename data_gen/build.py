"""`prm-train build`: training rows from labelled runs. A pure function of the labels: no draw is made."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_gen.config import InputError, parse_config, run_command
from data_gen.jsonl import write_text
from data_gen.records import LabeledSolution, Problem
from data_gen.rows import orm_rows, prm_rows, write_rows
from data_gen.runs import read_records

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildConfig:
    """PRM and ORM rows from the labelled solutions of one or more runs (the shards of one job, for example)."""

    runs: tuple[Path, ...] = field(metadata={"help": "run folders of `prm-train label`"})
    output: Path = field(metadata={"help": "folder for prm.jsonl and orm.jsonl"})


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(BuildConfig, argv)
    problems: dict[str, Problem] = {}
    for run in config.runs:
        for problem in read_records(run / "problems.jsonl", Problem):
            if problems.setdefault(problem.problem_id, problem) != problem:
                raise InputError(f"{run}: problem {problem.problem_id} is another problem in an earlier run; expected one id a problem")
    labeled = [each for run in config.runs for each in read_records(run / "labels.jsonl", LabeledSolution)]
    for_prm, prm_counts = prm_rows(labeled, problems)
    for_orm, orm_counts = orm_rows([each.graded for each in labeled], problems)
    write_rows(config.output / "prm.jsonl", for_prm)
    write_rows(config.output / "orm.jsonl", for_orm)
    facts = {"n_problems": len(problems), "prm": {"n_rows": len(for_prm), **prm_counts}, "orm": {"n_rows": len(for_orm), **orm_counts}}
    write_text(config.output / "build.json", json.dumps(facts, indent=1) + "\n")
    logger.info("%s: %s", config.output, json.dumps(facts))


if __name__ == "__main__":
    run_command(main, "build")
