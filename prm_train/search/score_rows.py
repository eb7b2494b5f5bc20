r"""`prm-train score`: the scores of solutions in a file, by any scorer: a PRM or an ORM of ours, or a PRM of
another project.

A row holds a question and its solution, as steps or as one text::

    {"question": "What is 3 + 4 * 2?", "steps": ["4 * 2 = 8", "3 + 8 = 11"]}
    {"problem": "What is 3 + 4 * 2?", "solution": "4 * 2 = 8\n3 + 8 = 11"}

and is written again with `scores`: of a PRM one for each step, of an ORM one for the solution. A step beyond
the scorer's context has null, and so has a solution that an ORM cannot read. An interrupted command goes on
where it stopped.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TextIO

from data_gen.files.jsonl import read_jsonl, read_objects, write_text
from data_gen.files.locks import lock
from data_gen.files.progress_bar import Progress
from data_gen.files.result_tables import result_table
from data_gen.models.names import check_inputs
from data_gen.policies.config import PolicyConfig
from data_gen.policies.metered import server_counts
from data_gen.problems.sources import shard_numbers, stretch_of_shard
from data_gen.process.side_by_side import side_by_side
from data_gen.records.draw_keys import content_hash
from data_gen.records.steps import check_separator
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command
from prm_train.scoring.foreign.settings import AUTO, PrmFormat
from prm_train.scoring.protocol import Scorer, ScorerUsage
from prm_train.search.scorer_config import ScorerConfig
from prm_train.search.solution_scores import (
    QUESTION_FIELDS,
    STEP_FIELDS,
    TEXT_FIELDS,
    ScoredRow,
    Scores,
    read_row,
    score_solution,
)

N_AT_ONCE = 256  # rows that are scored side by side, and then written


@dataclass(frozen=True)
class ScoreConfig:
    """Score the steps of solutions in a file."""

    rows: Path = field(metadata={"is_input": True, "help": ".jsonl or .json file of questions and solutions"})
    checkpoint: str = field(metadata={"is_model": True, "help": "folder or Hub name of a PRM or an ORM"})
    output: Path = field(metadata={"help": ".jsonl file for the rows with their scores"})
    prm_format: PrmFormat = field(
        default=AUTO,
        metadata={"help": "how to read a PRM of another project whose config.json does not say it"},
    )
    question_field: str | None = field(
        default=None,
        metadata={"help": f"name of the field with the question; null: {', '.join(QUESTION_FIELDS)}"},
    )
    solution_field: str | None = field(
        default=None,
        metadata={
            "help": "name of the field with the solution, a list of steps or a text; null: "
            f"{', '.join((*STEP_FIELDS, *TEXT_FIELDS))}"
        },
    )
    step_separator: str = field(
        default="\n", metadata={"help": "text that ends a step where the solution is one text"}
    )
    shard: str | None = field(
        default=None,
        metadata={"help": "'i/n': only the i-th (counted from 0) of n parts of the rows, each one stretch"},
    )
    scorer: ScorerConfig = field(default_factory=ScorerConfig)
    trust_remote_code: bool = field(
        default=False, metadata={"help": "run code that comes with the model's files"}
    )

    def __post_init__(self) -> None:
        check_separator(self.step_separator)
        if self.shard is not None:
            shard_numbers(self.shard)


async def _batch(scorer: Scorer, rows: Sequence[ScoredRow]) -> list[tuple[Scores, ScorerUsage]]:
    return await side_by_side(score_solution(scorer, row) for row in rows)


def score_rows(config: ScoreConfig, scorer: Scorer) -> dict[str, str]:
    """Into the output, what an interrupted process has scored included; a table of what was done."""
    rows = [
        read_row(
            fields,
            f"{config.rows}:{number}",
            config.step_separator,
            config.question_field,
            config.solution_field,
        )
        for number, fields in read_objects(config.rows)
    ]
    if config.shard is not None:
        rows = [rows[place] for place in stretch_of_shard(len(rows), *shard_numbers(config.shard))]
    if not rows:
        of = f" shard {config.shard} of" if config.shard else ""
        raise InputError(f"{config.rows}: no row in{of} it")
    identity = content_hash(scorer.scorer_id, *(json.dumps([row.fields, row.steps]) for row in rows))
    part = config.output.with_name(f".{config.output.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    usage = ScorerUsage()
    with part.open("a+", encoding="utf-8") as file:
        if not lock(file.fileno(), part):
            raise InputError(f"{config.output}: another process is scoring into it")
        n_done = _begin(file, identity)
        counts = partial(server_counts, scorer)
        with Progress("score", len(rows), unit="rows", n_done=n_done, counts=counts) as progress:
            for start in range(n_done, len(rows), N_AT_ONCE):
                batch = rows[start : start + N_AT_ONCE]
                for row, (scores, cost) in zip(batch, asyncio.run(_batch(scorer, batch)), strict=True):
                    file.write(json.dumps({**row.fields, "scores": scores}, ensure_ascii=False) + "\n")
                    usage += cost
                file.flush()
                progress.update(len(batch))
        write_text(config.output, "".join(_lines(file)[1:]))
        part.unlink()
    n_without = sum(None in row["scores"] for _, row in read_jsonl(config.output))
    return {
        "rows": f"{len(rows):,}"
        + (f", {n_done:,} of them scored by an interrupted process" if n_done else ""),
        "too long": f"{n_without:,} reach beyond the scorer's context" if n_without else "",
        "scorer's tokens": f"{usage.n_new:,}",
        "scores": str(config.output),
    }


def _begin(file: TextIO, identity: str) -> int:
    """How many rows an interrupted process has left in the file, whose first line says of which rows and
    which scorer they are; what is of others, or cut short, is taken out.
    """
    lines = [line for line in _lines(file) if line.endswith("\n")]
    head = json.dumps({"scores of": identity}) + "\n"
    kept = lines if lines[:1] == [head] else [head]
    file.truncate(0)
    file.writelines(kept)
    file.flush()
    return len(kept) - 1


def _lines(file: TextIO) -> list[str]:
    file.seek(0)
    return file.readlines()


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(ScoreConfig, argv)
    check_inputs(config)
    check_inputs(config.scorer, "scorer.")
    policy = PolicyConfig(trust_remote_code=config.trust_remote_code)  # says where a scorer runs by default
    scorer = config.scorer.load(config.checkpoint, policy, config.prm_format)
    sys.stdout.write(result_table(score_rows(config, scorer)) + "\n")


if __name__ == "__main__":
    run_command(main, "score")
