"""The comparison of ways to teach a second attempt: what is run, and figures on verdicts made by hand."""

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.self_correction import ARMS, BY_REWARD, RunConfig, bars, commands
from benchmarks.self_correction_stages import read_verdicts
from data_gen.records.verdicts import CORRECT, INCORRECT
from data_gen.settings.parse import parse_config
from prm_train.metrics.self_correction import problem_values
from prm_train.self_correction.settings import TrainScoreConfig


def test_all_arms_learn_from_the_base_and_those_by_reward_have_as_many_steps(tmp_path: Path) -> None:
    config = RunConfig(output=tmp_path, seeds=(7,), stage_1_steps=3, stage_2_steps=4)
    found = {
        path.parent.parent.name: parse_config(TrainScoreConfig, words)
        for path, (module, *words) in commands(config)
        if module == "prm_train.train_score"
    }
    assert list(found) == list(BY_REWARD)
    assert {each.n_steps for each in found.values()} == {7}
    assert {name: (each.stage_1_steps, each.alpha) for name, each in found.items()} == {
        "reinforce": (0, 0.0),
        "bonus": (0, config.alpha),
        "score": (3, config.alpha),
    }
    assert {each.model for each in found.values()} == {str(tmp_path / "base")}


def test_each_stage_leaves_a_file_of_its_own(tmp_path: Path) -> None:
    files = Counter(path for path, _ in commands(RunConfig(output=tmp_path)))
    assert set(files.values()) == {1}
    assert sum(path.name.startswith("test-") for path in files) == 3 * len(ARMS)


def test_bars_are_differences_of_score_and_another_arm_on_the_same_problems(tmp_path: Path) -> None:
    right, wrong = "correct", "incorrect"
    kept = [[[right, right]], [[wrong, wrong]]] * 10
    better = [[[right, right]], [[wrong, right]]] * 10
    arms = {arm: better if arm == "score" else kept for arm in ARMS}
    values = {}
    for arm, groups in arms.items():
        path = tmp_path / f"{arm}.json"
        path.write_text(json.dumps({"sampled": groups, "greedy": groups}))
        values[arm] = [problem_values(read_verdicts(path)["sampled"])] * 3
    found = bars(values)
    assert found["1 score: delta"]["mean"] == 0.5
    assert found["4 score - reinforce: delta"]["mean"] == 0.5
    assert found["4 score - reinforce: delta"]["low"] > 0
    assert found["no bar, score - reinforce: accuracy_2"]["mean"] == pytest.approx(0.5)
    # Deltas lie in [-1, 1], their differences in [-2, 2]
    spoilt = problem_values([[(CORRECT, INCORRECT)]] * 20)
    mended = problem_values([[(INCORRECT, CORRECT)]] * 20)
    values |= {"score": [spoilt] * 3, "sft": [mended] * 3}
    assert bars(values)["3 score - sft: delta"]["mean"] == -2
