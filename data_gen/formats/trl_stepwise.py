"""TRL's stepwise supervision, the layout of trl-lib/math_shepherd and trl-lib/prm800k, and of this package's own PRM rows.

    {"prompt": "What is 2 + 3 * 4?", "completions": ["3 * 4 = 12", "2 + 12 = 15"], "labels": [true, false], ...}

Labels are true or false, or values in [0, 1] as floats. Whole numbers are refused: Python makes `bool(-100)` true, so that once every
masked step of a set counted as right (TRL pull request 2127), and 1, 0 may as well be PRM800K's ratings, where 0 is neutral. null marks a
step without a label; this package masks it, while TRL's own trainer takes no null. Other columns are kept.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from data_gen.formats.stepwise import Reading, StepwiseRow, others, stepwise, take, take_texts


def read_row(fields: Mapping[str, Any], where: str) -> Reading:
    prompt, completions = take(fields, "prompt", (str,), where), take_texts(fields, "completions", where)
    row = stepwise(where, prompt, completions, take(fields, "labels", (list,), where), others(fields, "prompt", "completions", "labels"))
    return Reading((row,), Counter())


def write_row(row: StepwiseRow, where: str) -> dict[str, Any]:
    known = {"prompt": row.prompt, "completions": list(row.completions), "labels": list(row.labels)}
    return known | others(row.extra, *known)
