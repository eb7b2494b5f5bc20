"""Rows of files that others wrote: one that breaks its layout ends the command, or is left out, counted and
named.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from data_gen.settings.errors import InputError

logger = logging.getLogger(__name__)
BadRows = Literal["error", "skip"]
T = TypeVar("T")
BAD_ROWS_HELP = (
    "what to do with a row that breaks its layout: stop at it, or leave it out, count it and name file and "
    "line (broken JSON always stops)"
)


@dataclass
class Skipped:
    """What was wrong with the rows that were left out, each with file and line."""

    rows: list[str] = field(default_factory=list)


def read_good_rows(
    path: Path,
    rows: Iterable[tuple[int, dict[str, Any]]],
    read: Callable[[Mapping[str, Any], str], Iterable[T]],
    bad_rows: BadRows,
    skipped: Skipped,
    unused: tuple[type[InputError], ...] = (),
) -> list[T]:
    """What `read` makes of the rows of a file, given with their lines. Raises InputError where nothing is
    left; with `error`, for a row that breaks its layout (unless it is `unused`), which is else added to
    `skipped`.
    """
    found = list[T]()
    for number, fields in rows:
        try:
            found += read(fields, f"{path}:{number}")
        except InputError as error:
            if bad_rows == "error" and not isinstance(error, unused):
                raise
            skipped.rows.append(str(error))
            logger.warning("left out: %s", error)
    if not found:
        reason = f": {len(skipped.rows)} left out, as {skipped.rows[-1]}" if skipped.rows else ""
        raise InputError(f"{path}: no row to use in it{reason}")
    return found
