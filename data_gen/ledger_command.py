"""`prm-train ledger`: look into the ledgers of draws, check them, merge them and write them out. A run folder
stands for its ledger.

    prm-train ledger stats runs/gsm8k                      problems, draws, tokens, verdicts, and whether the
                                                           draws look independent
    prm-train ledger verify runs/gsm8k runs/math           every hash worked out again; exit code 1 and a list
                                                           where something is wrong
    prm-train ledger repair runs/gsm8k                     what `verify` found mended: rebuilt, or moved out
                                                           and counted
    prm-train ledger merge shard-0 shard-1 --output all.sqlite     the shards of a job in one file, nothing
                                                                   counted twice
    prm-train ledger export runs/gsm8k --output draws.jsonl        one line a draw, with its verdicts
    prm-train ledger export shard-0 --output draws/shard-0.parquet the same as a Parquet file

Stats, verify and export read only, also while a command writes the ledger; merge writes nothing but its
output, repair the ledger: both all or nothing.
"""

import json
import logging
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Literal

from data_gen.files.jsonl import write_jsonl
from data_gen.ledger.export import exported_draws
from data_gen.ledger.merge import merge_ledgers
from data_gen.ledger.parquet import write_parquet
from data_gen.ledger.repair import repair_ledger
from data_gen.ledger.statistics import ledger_statistics
from data_gen.ledger.verification import find_faults
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command

logger = logging.getLogger(__name__)
N_SHOWN = 20  # faults of one kind


@dataclass(frozen=True)
class LedgerConfig:
    """Look into ledgers of draws."""

    action: Literal["stats", "verify", "repair", "merge", "export"] = field(
        metadata={"help": "what to do with the ledgers; may be given as the first word, without --action"}
    )
    inputs: tuple[Path, ...] = field(
        metadata={"help": "ledgers, or run folders that hold one; may be given as the words after the action"}
    )
    output: Path | None = field(
        default=None,
        metadata={"help": "file to write: a ledger for merge, a .jsonl or .parquet file for export"},
    )

    def __post_init__(self) -> None:
        if (self.output is not None) != (self.action in ("merge", "export")):
            wanted = "a file" if self.output is None else "none: nothing is written"
            raise ValueError(f"output: got {self.output}, expected {wanted} (action {self.action})")
        if not self.inputs:
            raise ValueError("inputs: got none, expected one or more ledgers")

    def paths(self) -> list[Path]:
        return [path / "ledger.sqlite" if path.is_dir() else path for path in self.inputs]


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(LedgerConfig, _as_options(sys.argv[1:] if argv is None else argv))
    if config.action == "stats":
        for path in config.paths():
            sys.stdout.write(json.dumps(ledger_statistics(path), indent=1) + "\n")
    elif config.action == "verify":
        if not all([verify(path) for path in config.paths()]):  # all are checked, also after a bad one
            raise SystemExit(1)
    elif config.action == "repair":
        for path in config.paths():
            repair(path)
    elif config.output is not None:
        _write(config, config.output)


def _as_options(argv: Sequence[str]) -> list[str]:
    """`stats a b --key value` as `--action stats --inputs ["a", "b"] --key value`."""
    words = list(takewhile(lambda word: not word.startswith("-"), argv))
    action = ["--action", words[0]] if words else []
    inputs = ["--inputs", json.dumps(words[1:])] if words[1:] else []
    return [*action, *inputs, *argv[len(words) :]]


def verify(path: Path) -> bool:
    """Whether a ledger is sound; what is wrong is written to stdout by kind."""
    faults: dict[str, list[str]] = defaultdict(list)
    for fault in find_faults(path):
        faults[fault.kind].append(fault.where)
    if not faults:
        sys.stdout.write(f"{path}: sound\n")
    for kind, places in sorted(faults.items()):
        sys.stdout.write(f"{path}: {kind}: {len(places)}\n")
        sys.stdout.writelines(f"  {place}\n" for place in places[:N_SHOWN])
        if len(places) > N_SHOWN:
            sys.stdout.write(f"  … and {len(places) - N_SHOWN} more\n")
    return not faults


def repair(path: Path) -> None:
    """Mend a ledger, and say how."""
    repaired = repair_ledger(path)
    told = [f"{count} {table} rebuilt" for table, count in sorted(repaired.rebuilt.items())]
    told += [
        f"{count} {table} moved to {repaired.path}" for table, count in sorted(repaired.moved_out.items())
    ]
    sys.stdout.write(f"{path}: sound{''.join(f'; {each}' for each in told)}\n")
    if repaired.moved_out["draws"]:
        sys.stdout.write("  the command that made the run, started again, draws what was moved out\n")


def _write(config: LedgerConfig, output: Path) -> None:
    if config.action == "merge":
        if output.is_dir():
            raise InputError(f"output: {output} is a folder, expected a file")
        for shard in merge_ledgers(config.paths(), output):
            logger.info(
                "%s: %s",
                shard.path,
                json.dumps({name: value for name, value in asdict(shard).items() if name != "path"}),
            )
    else:
        rows = (row for path in config.paths() for row in exported_draws(path))
        n_rows = (write_parquet if output.suffix == ".parquet" else write_jsonl)(output, rows)
        logger.info("%s: %d draws", output, n_rows)


if __name__ == "__main__":
    run_command(main, "ledger")
