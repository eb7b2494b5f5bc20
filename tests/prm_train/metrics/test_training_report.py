"""training/report.json of an earlier version, and that counts among the metrics stay counts."""

from pathlib import Path

from prm_train.metrics.training_report import LossPoint, TrainingReport, TrainingSeconds, TrainingSources

FIRST = """{"config": {"n_epochs": 2.0}, "n_steps": 6, "n_training_rows": 3, "n_training_labels": 9, "n_training_tokens": 50,
 "n_validation_rows": 1, "left_out": {"rows too long": 1}, "cost": {"wall_seconds": 9.0, "cpu_seconds": 8.0},
 "loss_curve": [{"step": 2, "loss": 0.5, "grad_norm": NaN, "learning_rate": 0.001}], 
 "validation": [{"step": 6, "loss": 0.4, "n_labels": 3}]}"""  # noqa: E501


def test_a_report_of_the_first_version_is_read(tmp_path: Path) -> None:
    assert TrainingReport.of(tmp_path) is None
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "report.json").write_text(FIRST)
    report = TrainingReport.of(tmp_path)
    assert report is not None
    assert (report.n_tokens_seen, report.cost, report.left_out) == (
        100.0,
        TrainingSeconds(9.0, 8.0),
        {"rows too long": 1},
    )
    assert isinstance(report.loss_curve[0], LossPoint)
    assert {name: type(value) for name, value in report.validation[0].items()} == {
        "step": int,
        "loss": float,
        "n_labels": int,
    }
    assert (report.model_is_folder, report.parity, report.sources, report.revisions) == (
        False,
        None,
        TrainingSources(),
        None,
    )
