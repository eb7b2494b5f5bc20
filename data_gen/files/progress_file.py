"""How far a command is, told to the program that started it: a JSON file that an environment variable names.

`prm-train launch` reads one of each shard; a person reads the bar or the log of
`data_gen.files.progress_bar`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from data_gen.files.stored_record import StoredRecord

VARIABLE = "PRM_TRAIN_PROGRESS_FILE"
WRITE_SECONDS = 2.0


@dataclass(frozen=True)
class ProgressRecord(StoredRecord):
    """`n_done` of `n_items` (None: nobody knows), `n_before` of them done before `seconds` began to count.
    `counts` is what came of them so far, as n_draws and n_generated.
    """

    what: str
    n_done: int
    n_items: int | None = None
    n_before: int = 0
    seconds: float = 0.0
    counts: Mapping[str, float] = field(default_factory=dict)


def progress_path() -> Path | None:
    """Where whoever started this process reads its progress; None where nobody does."""
    name = os.environ.get(VARIABLE)
    return Path(name) if name else None
