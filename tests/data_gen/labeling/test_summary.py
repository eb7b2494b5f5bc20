"""Summaries of runs that earlier versions made: what `evaluate` and `build` read of them they still can."""

from pathlib import Path

from data_gen.labeling.summary import LabelSummary
from data_gen.records.sampling import Usage
from data_gen.sampling.summary import RunSettings, SampleSummary

FIRST_SAMPLE = """{"n_solutions": 4, "verdicts": {"correct": 3, "unknown:truncated": 1}, "finish_reasons": {"eos": 3, "length": 1},
 "pass_at_1": 0.75, "n_generated": 100, "n_prefilled": 20, "n_cached": 5, "seconds": 2}"""  # noqa: E501
FIRST_LABEL = """{"n_labeled_solutions": 3, "n_wrong_solutions": 0, "unlabeled": {"truncated": 1}, "labels": {"True": 9},
 "n_rollouts": 0, "n_generated": 7, "n_prefilled": 1, "n_cached": 0, "seconds": 1.5}"""  # noqa: E501


def test_summaries_of_the_first_version_are_read(tmp_path: Path) -> None:
    (tmp_path / "sample.json").write_text(FIRST_SAMPLE)
    (tmp_path / "label.json").write_text(FIRST_LABEL)
    sampled, labeled = (
        SampleSummary.read(tmp_path / "sample.json"),
        LabelSummary.read(tmp_path / "label.json"),
    )
    assert (sampled.n_solutions, sampled.usage, sampled.seconds, sampled.cpu_seconds) == (
        4,
        Usage(100, 20, 5),
        2.0,
        0.0,
    )
    assert (labeled.method, labeled.labels, labeled.unlabeled) == ("", {"True": 9}, {"truncated": 1})


def test_of_settings_of_any_version_the_grader_is_known(tmp_path: Path) -> None:
    assert RunSettings.of(tmp_path) is None
    (tmp_path / "config.json").write_text(
        '{"problems": {"source": "arithmetic", "gone": 1}, "grader": "auto", "ledger": null}'
    )
    settings = RunSettings.of(tmp_path)
    assert settings is not None
    assert (settings.grader, settings.problems.source, settings.ledger) == ("auto", "arithmetic", None)
