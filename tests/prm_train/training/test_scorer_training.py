"""`fit_prm`: from labeled solutions to a scorer, in one call."""

from pathlib import Path
from typing import Any

import pytest

import prm_train
from data_gen.rows.layouts import PrmRow, read_rows


def test_labels_become_rows_a_checkpoint_and_a_scorer_and_a_finished_training_is_not_made_again(
    tiny_policy: Path, tmp_path: Path
) -> None:
    problems = prm_train.load_problems(prm_train.ProblemSource("arithmetic", n=8))
    policy = prm_train.load_policy("simulated")
    labeled = prm_train.label(problems, policy, grader="arithmetic", n_rollouts=2, max_new_tokens=400)
    settings: dict[str, Any] = {
        "model": str(tiny_policy),
        "n_epochs": 1.0,
        "validation_share": 0.0,
        "use_cpu": True,
    }
    scorer = prm_train.fit_prm(problems, labeled, tmp_path / "prm", **settings)

    found = [each for of_problem in labeled for each in of_problem.solutions]
    rows = read_rows(tmp_path / "prm-rows.jsonl", PrmRow)
    assert {row.completions: row.labels for row in rows} == {each.steps: each.labels for each in found}
    assert {row.problem_id: row.prompt for row in rows} == {
        each.problem_id: each.question for each in problems
    }
    assert len(prm_train.score(rows[0].prompt, rows[0].completions, scorer)) == len(rows[0].completions)

    weights = tmp_path / "prm/model.safetensors"
    written = weights.stat().st_mtime_ns
    again = prm_train.fit_prm(problems, labeled, tmp_path / "prm", **settings)
    assert again.scorer_id == scorer.scorer_id
    assert weights.stat().st_mtime_ns == written


def test_labels_of_other_problems_than_those_are_refused(tmp_path: Path) -> None:
    problems = prm_train.load_problems(prm_train.ProblemSource("arithmetic", n=2))
    with pytest.raises(ValueError, match="shorter"):
        prm_train.fit_prm(problems, [], tmp_path / "prm", model="base")
