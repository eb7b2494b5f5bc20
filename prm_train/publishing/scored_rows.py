"""Training rows that a checkpoint is asked about when it is published or served, which must be of the kind
that it learnt from.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.kinds.model_kind import ModelKind


def read_scored_rows(path: Path, kind: ModelKind, facts: CheckpointFacts) -> Sequence[Any]:
    """The rows of a file. Raises InputError naming what was expected if they are none that such a checkpoint
    learns from.
    """
    wanted = kind.rows_of(facts)
    expected = f"a checkpoint of kind {kind.name} takes rows of kind {wanted}"
    try:
        rows = kind.read_rows(path)
    except InputError as fault:
        raise InputError(f"{fault}; {expected}") from None
    fault_of_rows = kind.fault_of_rows(rows, facts)
    if fault_of_rows is not None:
        raise InputError(f"{path}: {fault_of_rows}; {expected}")
    if not rows:
        raise InputError(f"{path}: no row; expected some of kind {wanted}")
    return rows
