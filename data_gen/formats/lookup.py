"""The public step-label formats by name."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from data_gen.formats import er_prm, math_shepherd, openr_aps, prm800k, processbench, rlhflow, trl_stepwise
from data_gen.formats.stepwise import Reading, StepwiseRow

FormatName = Literal[
    "trl", "math_shepherd", "prm800k", "openr_aps", "openr_aps_tree", "processbench", "rlhflow", "er_prm"
]
Read = Callable[[Mapping[str, Any], str], Reading]


class Format(NamedTuple):
    """`read` and `write` take where a row stands, for their errors."""

    read: Read
    write: Callable[[StepwiseRow, str], dict[str, Any]]


FORMATS: dict[FormatName, Format] = {
    "trl": Format(trl_stepwise.read_row, trl_stepwise.write_row),
    "math_shepherd": Format(math_shepherd.read_row, math_shepherd.write_row),
    "prm800k": Format(prm800k.read_row, prm800k.write_row),
    "openr_aps": Format(openr_aps.read_flat_row, openr_aps.write_flat_row),
    "openr_aps_tree": Format(openr_aps.read_tree_row, openr_aps.write_tree_row),
    "processbench": Format(processbench.read_row, processbench.write_row),
    "rlhflow": Format(rlhflow.read_row, rlhflow.write_row),
    "er_prm": Format(er_prm.read_row, er_prm.write_row),
}
