"""What a training leaves of itself beside its checkpoint: training/report.json, and the calibration.json of a
later calibration.

`train-…` writes the report; `publish`, `evaluate` and `train-revision` read it. Loads without torch, since
`evaluate` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_gen.files.stored_record import StoredRecord
from prm_train.checkpoints.calibration import Calibration, Threshold
from prm_train.examples.targets import LabelAlgebra
from prm_train.metrics.estimators import Interval


@dataclass(frozen=True)
class Parity:
    """How far the scores of the checkpoint on disk are from those of the model in memory.

    `quantization_difference` is how far the scores of a base in 4 bits, as trained, are from those of the
    saved model (QLoRA alone).
    """

    n_rows: int
    n_scores: int
    max_abs_difference: float
    tolerance: float
    quantization_difference: float | None = None


@dataclass(frozen=True)
class Quality:
    """`log_loss` in nats, Brier score and expected calibration error of scores against targets."""

    log_loss: float
    brier: float
    ece: float


@dataclass(frozen=True)
class CalibrationFit:
    """A calibration and its worth on the questions that did not fit it; `thresholds` hold for calibrated
    scores.
    """

    calibration: Calibration
    n_questions_fitted: int
    n_questions_measured: int
    n_labels_measured: int
    before: Quality
    after: Quality
    thresholds: tuple[Threshold, ...]


@dataclass(frozen=True)
class StoredCalibration(StoredRecord, CalibrationFit):
    """calibration.json: a fit, and the labels that it was fitted to; None in the files of versions that did
    not say.
    """

    WRITTEN_BY = "`prm-train calibrate`"

    label_settings: LabelAlgebra | None = None

    @classmethod
    def of(cls, checkpoint: Path) -> "StoredCalibration | None":
        """None where `prm-train calibrate` has not been there."""
        path = checkpoint / "calibration.json"
        return cls.read(path) if path.is_file() else None


@dataclass(frozen=True)
class RevisionRates:
    """Shares of next attempts with 95 % intervals over questions. An attempt without a verdict (`n_unknown`)
    is neither right nor wrong.

    `wrong_to_correct_by_attempts` has them by the number of wrong attempts in the chain. `n_shortened`
    attempts were drawn after chains that lost their oldest attempts. `n_left_out` chains did not fit even
    with a single attempt.
    """

    n_chains: int
    n_shortened: int
    n_left_out: int
    n_unknown: int
    wrong_to_correct: Interval
    correct_to_correct: Interval
    correct_to_wrong: Interval
    wrong_to_correct_by_attempts: dict[int, Interval]


@dataclass(frozen=True)
class TrainingSeconds(StoredRecord):
    """Of the main process, earlier attempts included."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class LossPoint:
    """`loss` is the mean since the point before."""

    step: int
    loss: float
    grad_norm: float | None = None
    learning_rate: float | None = None


@dataclass(frozen=True)
class TrainingSources(StoredRecord):
    """sources.json: digests of the rows and, by name, of the base model's files, and the number of processes
    when the training began.

    None and empty: not known then, or to the version that trained.
    """

    WRITTEN_BY = "a training"

    rows: str | None = None
    model: Mapping[str, str] = field(default_factory=dict)
    n_processes: int | None = None


@dataclass(frozen=True)
class TrainingData(StoredRecord):
    """The part of any training's training/config.json that says which questions it learnt from."""

    WRITTEN_BY = "a training"

    rows: str
    validation_share: float = 0.0

    @classmethod
    def of(cls, checkpoint: Path) -> "TrainingData | None":
        """None where the settings are not kept with the checkpoint."""
        path = checkpoint / "training" / "config.json"
        return cls.read(path) if path.is_file() else None


@dataclass(frozen=True, kw_only=True)
class TrainingReport(StoredRecord):
    """`config` holds the settings as `dump_config` gives them; `validation` one entry an evaluation: its
    step, and metrics by name.

    `sources` is what sources.json said. A field that is None was not measured, or not yet known to the
    version that trained; `calibration` is the one that ended the training, `revisions` are those of a
    revision model.
    """

    WRITTEN_BY = "a training"

    config: dict[str, Any]
    model_is_folder: bool = False
    n_steps: int
    n_training_rows: int
    n_training_labels: int
    n_training_tokens: int
    n_validation_rows: int
    left_out: dict[str, int]
    cost: TrainingSeconds
    loss_curve: tuple[LossPoint, ...]
    validation: tuple[Mapping[str, int | float], ...]
    parity: Parity | None = None
    sources: TrainingSources = TrainingSources()
    calibration: CalibrationFit | None = None
    revisions: RevisionRates | None = None

    @property
    def n_tokens_seen(self) -> float:
        """The training tokens, as often as the epochs pass by them."""
        return float(self.n_training_tokens * self.config["n_epochs"])

    @classmethod
    def of(cls, checkpoint: Path) -> "TrainingReport | None":
        """None where the checkpoint came without one."""
        path = checkpoint / "training" / "report.json"
        return cls.read(path) if path.is_file() else None
