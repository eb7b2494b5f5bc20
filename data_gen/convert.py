"""`prm-train convert`: step labels from one public format into another.

    prm-train convert --input phase2_train.jsonl --from prm800k --output prm.jsonl --to trl

A .json file is one list of rows, any other holds one a line; `train-prm` reads what `--to trl` writes. Every
row is written, read back in the target's format and compared: whatever did not survive is a loss. The first
loss ends the command, and no file appears, unless `--lossy true` says that losses are only to be counted.
What a format cannot say at all (a value as + or -) is refused either way. Rows under other names are read
with `--from generic` and `--generic.…` (see `data_gen.formats.generic`). docs/rows.md shows all layouts.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from data_gen.files.jsonl import read_objects, write_objects
from data_gen.formats import prm800k
from data_gen.formats.generic import GenericFields
from data_gen.formats.generic import read_row as read_generic_row
from data_gen.formats.lookup import FORMATS, Format, FormatName, Read
from data_gen.formats.stepwise import RowError, StepwiseRow, UnusedRowError
from data_gen.settings.parse import parse_config, run_command

logger = logging.getLogger(__name__)

SEPARATORS = ("\n", "\n\n")  # of which a step that holds one is counted


@dataclass(frozen=True)
class ConvertConfig:
    """Rewrite a file of step labels."""

    input: Path = field(
        metadata={
            "help": "file to read: a .json file is one list of rows, any other holds one row on each line"
        }
    )
    from_: Literal[FormatName, "generic"] = field(
        metadata={
            "help": "format of the input, on the command line --from; generic: named by the settings "
            "generic.…"
        }
    )
    output: Path = field(metadata={"help": "file to write"})
    to: FormatName = field(metadata={"help": "format to write"})
    generic: GenericFields = field(default_factory=GenericFields)
    keep_bad_problems: bool = field(
        default=False,
        metadata={"help": "for prm800k: keep the rows whose labeler found that the problem itself is broken"},
    )
    lossy: bool = field(
        default=False,
        metadata={
            "help": "write what the target format can hold, and count what it cannot; false: the first loss "
            "ends the command"
        },
    )
    extras: bool = field(
        default=True,
        metadata={
            "help": "keep the source's other fields as columns; false: keep question, steps and labels alone"
        },
    )
    hard_above: float | None = field(
        default=None,
        metadata={
            "help": "make labels of values: true above this number (Math-Shepherd: 0, openr: 0.5); null: "
            "keep the values"
        },
    )
    bad_rows: Literal["refuse", "drop"] = field(
        default="refuse",
        metadata={
            "help": "what to do with a row that breaks its format: stop and name its line, or leave it out "
            "and "
            "count it (broken JSON always stops)"
        },
    )

    def __post_init__(self) -> None:
        if self.input.resolve() == self.output.resolve():
            raise ValueError(f"output: {self.output} is the input; expected another file")
        if self.hard_above is not None and not 0 <= self.hard_above < 1:
            raise ValueError(f"hard_above: got {self.hard_above}, expected 0 or more and less than 1")
        if self.from_ != "generic" and self.generic != GenericFields():
            raise ValueError(f"generic: got field names with from {self.from_}, expected from generic")
        if self.from_ != "prm800k" and self.keep_bad_problems:
            raise ValueError(f"keep_bad_problems: got true with from {self.from_}, expected from prm800k")


@dataclass
class Conversion:
    """What happened to the rows so far.

    `n_contradictions`: steps with the text of another step after the same steps, and the opposite label.
    `n_steps_with`: steps by the separator that they hold; a training with that separator encodes such a step
    as several. `finish_reasons`: of the rows read, where they have one.
    """

    n_read: int = 0
    n_written: int = 0
    n_null_labels: int = 0
    n_contradictions: int = 0
    n_steps_with: Counter[str] = field(default_factory=Counter)
    finish_reasons: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)


def convert(config: ConvertConfig) -> Conversion:
    """Write the output and say what became of the rows. Raises InputError that names file and line."""
    conversion = Conversion()
    write_objects(config.output, _converted(config, conversion))
    return conversion


def _converted(config: ConvertConfig, conversion: Conversion) -> Iterator[dict[str, Any]]:
    read, target = _reader(config), FORMATS[config.to]
    for number, fields in read_objects(config.input):
        where = f"{config.input}:{number}"
        conversion.n_read += 1
        try:
            reading = read(fields, where)
            written = [
                (row, target.write(row, where)) for row in (_wanted(row, config) for row in reading.rows)
            ]
            lost = sum((_lost(row, fields, target, where) for row, fields in written), reading.left_out)
        except RowError as error:
            if config.bad_rows == "refuse" and not isinstance(error, UnusedRowError):
                raise
            conversion.dropped[error.reason] += 1
            logger.log(
                logging.DEBUG if isinstance(error, UnusedRowError) else logging.WARNING, "dropped: %s", error
            )
            continue
        if lost and not config.lossy:
            raise RowError(
                where,
                f"{config.to} cannot hold all of this row",
                f": lost would be {_words(lost)}; --lossy true drops and counts it",
            )
        conversion.lost += lost
        _count(reading.rows, conversion)
        for _, converted in written:
            yield converted


def _reader(config: ConvertConfig) -> Read:
    if config.from_ == "generic":
        return partial(read_generic_row, names=config.generic)
    if config.from_ == "prm800k":
        return partial(prm800k.read_row, keep_bad_problems=config.keep_bad_problems)
    return FORMATS[config.from_].read


def _count(rows: Sequence[StepwiseRow], conversion: Conversion) -> None:
    """The facts of what one source row became."""
    labels: dict[tuple[str, ...], set[bool]] = {}
    for row in rows:
        conversion.n_written += 1
        conversion.n_null_labels += row.labels.count(None)
        for separator in SEPARATORS:
            conversion.n_steps_with[separator] += sum(separator in step for step in row.completions)
        for place, label in enumerate(row.labels):
            if isinstance(label, bool):
                labels.setdefault((row.prompt, *row.completions[: place + 1]), set()).add(label)
    conversion.n_contradictions += sum(len(found) > 1 for found in labels.values())
    if rows and isinstance(reason := rows[0].extra.get("finish_reason"), str):
        conversion.finish_reasons[reason] += 1


def _wanted(row: StepwiseRow, config: ConvertConfig) -> StepwiseRow:
    threshold = config.hard_above
    if threshold is not None:
        row = replace(
            row,
            labels=tuple(label > threshold if isinstance(label, float) else label for label in row.labels),
        )
    return row if config.extras else replace(row, extra={})


def _lost(row: StepwiseRow, written: Mapping[str, Any], target: Format, where: str) -> Counter[str]:
    """What reading the written row gives differently."""
    rows = target.read(written, where).rows
    if len(rows) != 1:
        return Counter({"row": 1})
    back = rows[0]
    lost = Counter(
        name for name in ("prompt", "completions", "labels") if getattr(back, name) != getattr(row, name)
    )
    lost.update(
        f"column {name}"
        for name, value in row.extra.items()
        if name not in back.extra or back.extra[name] != value
    )
    return lost


def _words(counts: Counter[str]) -> str:
    return ", ".join(f"{name} ({n})" for name, n in sorted(counts.items()))


def main(argv: Sequence[str] | None = None) -> None:
    import sys

    arguments = sys.argv[1:] if argv is None else argv
    config = parse_config(
        ConvertConfig,
        [f"--from_{word[6:]}" if word.partition("=")[0] == "--from" else word for word in arguments],
    )
    done = convert(config)
    logger.info("%s: %s", config.output, json.dumps(vars(done)))


if __name__ == "__main__":
    run_command(main, "convert")
