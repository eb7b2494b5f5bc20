"""What labeling says of itself, and what is left of it after a judge: label.json and consensus.json."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_gen.files.stored_record import StoredRecord
from data_gen.records.first_error import FirstErrorF1
from data_gen.sampling.summary import DrawnSummary


@dataclass(frozen=True, kw_only=True)
class LabelSummary(DrawnSummary):
    """label.json. `settings` are those that `method` reads; `labels` count steps ("True", "False", "None"),
    `unlabeled` solutions by reason.

    `n_rollouts` and `n_unknown_rollouts`: each once, however many solutions share its prefix.
    """

    WRITTEN_BY = "`prm-train label`"

    method: str = ""  # empty: the first version, which did not say it
    settings: Mapping[str, Any] = field(default_factory=dict)
    n_labeled_solutions: int
    n_wrong_solutions: int
    unlabeled: Mapping[str, int]
    labels: Mapping[str, int]
    n_unknown_rollouts: int | None = None
    n_labels_unknowns_could_move: int | None = None
    share_of_labels_unknowns_could_move: float | None = None
    n_rollouts: int
    tokens_per_labeled_solution: float | None = None


@dataclass(frozen=True)
class ConsensusSummary(StoredRecord):
    """consensus.json: the settings, what was kept and left out by reason, and how labels and judge agree
    (`judging.agreement`).
    """

    WRITTEN_BY = "`prm-train consensus`"

    config: Mapping[str, Any]
    n_solutions: int
    n_kept: int
    kept_share: float | None
    left_out: Mapping[str, int]
    matrix: Mapping[str, Mapping[str, int]]
    judge_by_verdict: Mapping[str, Mapping[str, int]]
    f1: FirstErrorF1
    first_errors: list[tuple[int | None, int | None, int]]

    @property
    def run(self) -> Path:
        """The run that was judged."""
        return Path(self.config["run"])

    @property
    def judge_model(self) -> str | None:
        """None where the judgements came in a file."""
        judge = self.config["judge"]
        return None if judge is None else str(judge["model"])
