"""TRL's stepwise supervision, the layout of trl-lib/math_shepherd and trl-lib/prm800k, and of this package's
own PRM rows.

    {"prompt": "What is 2 + 3 * 4?", "completions": ["3 * 4 = 12", "2 + 12 = 15"], "labels": [true, false],
    ...}

Labels are true or false, or values in [0, 1] as floats; TRL has no layout for values, `train-prm` reads them
as targets (`data_gen.rows.layouts`). A row is written only if `train-prm` can read it: a column named like
one of a PRM row's own must hold what that does. Whole numbers are refused: Python makes `bool(-100)` true, so
that once every masked step of a set counted as right (TRL pull request 2127), and 1, 0 may as well be
PRM800K's ratings, where 0 is neutral. null marks a step without a label; this package masks it, while TRL's
own trainer takes no null. Other columns are kept.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from data_gen.formats.stepwise import Reading, RowError, StepwiseRow, others, stepwise, take, take_texts
from data_gen.rows.layouts import PrmRow, read_row_of
from data_gen.settings.errors import InputError


def read_row(fields: Mapping[str, Any], where: str) -> Reading:
    prompt, completions = take(fields, "prompt", (str,), where), take_texts(fields, "completions", where)
    row = stepwise(
        where,
        prompt,
        completions,
        take(fields, "labels", (list,), where),
        others(fields, "prompt", "completions", "labels"),
    )
    return Reading((row,), Counter())


def write_row(row: StepwiseRow, where: str) -> dict[str, Any]:
    """Raises RowError for a row that `train-prm` would refuse."""
    known = {"prompt": row.prompt, "completions": list(row.completions), "labels": list(row.labels)}
    written = known | others(row.extra, *known)
    try:
        read_row_of(PrmRow, written, where)
    except InputError as error:
        details = str(error).removeprefix(where)
        raise RowError(
            where,
            "a column that train-prm takes for its own",
            f"{details}; --extras false leaves columns out",
        ) from None
    return written
