"""What kinds have in common that learn from labeled steps."""

from collections.abc import Sequence
from pathlib import Path

from data_gen.rows.layouts import PrmRow, read_rows
from prm_train.examples.targets import LabelAlgebra, step_targets
from prm_train.kinds.model_kind import ModelKind
from prm_train.kinds.paths import Labels, ScoredPath, question_path


class StepRowsKind(ModelKind):
    """A row is one path, its steps those of the row."""

    rows = "prm"

    def read_rows(self, path: Path) -> list[PrmRow]:
        return read_rows(path, PrmRow)

    def paths(self, row: PrmRow, separator: str) -> tuple[ScoredPath, ...]:
        return (question_path(row.prompt, tuple(row.completions)),)

    def labels(self, row: PrmRow, n_steps: Sequence[int], algebra: LabelAlgebra) -> tuple[Labels, ...]:
        """The targets of the training, right from 0.5 up."""
        return (
            tuple(None if target is None else target.value >= 0.5 for target in step_targets(row, algebra)),
        )
