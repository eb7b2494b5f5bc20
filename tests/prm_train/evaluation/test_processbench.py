import json
from pathlib import Path

import numpy as np
import pytest
import torch

from data_gen.records.first_error import NO_ERROR, first_error_f1
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CheckpointFacts, Threshold, read_config_facts, store_calibration
from prm_train.evaluation.processbench import (
    BEST,
    FIXED,
    Bootstrap,
    JudgedSolution,
    bounds_of,
    main,
    measure,
    read_split,
)
from prm_train.metrics.ranking import predicted_error
from prm_train.training.config import TrainOrmConfig, TrainPrmConfig
from prm_train.training.scorer_network import build_scorer, save_scorer

COUNTS = {"gsm8k": (207, 193), "math": (594, 406), "olympiadbench": (661, 339), "omnimath": (759, 241)}


def judged(*errors: int, n_steps: int = 3) -> list[JudgedSolution]:
    return [JudgedSolution(f"question {i}", tuple("abc"[:n_steps]), error) for i, error in enumerate(errors)]


def test_f1_is_the_harmonic_mean_of_two_accuracies_worked_by_hand():
    solutions = judged(1, 0, 2, NO_ERROR, NO_ERROR)
    scores = [(0.9, 0.2, 0.9), (0.6, 0.1, 0.1), (0.9, 0.9, 0.4), (0.9, 0.8, 0.9), (0.9, 0.4, 0.9)]
    # at 0.5: found at 1 (right), at 1 (wrong, 0 expected), at 2 (right); none (right), at 1 (wrong): 2/3 and
    # 1/2
    splits, mean = measure({"gsm8k": (solutions, scores)}, "gsm8k")
    at = splits["gsm8k"].at[FIXED]
    assert [at.threshold, at.accuracy_on_erroneous, at.accuracy_on_correct] == pytest.approx(
        [0.5, 2 / 3, 0.5]
    )
    assert at.f1.mean == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    assert mean[FIXED].mean == at.f1.mean
    assert at.f1.low <= at.f1.mean <= at.f1.high
    # (0.6, 0.8]: all errors found, and one of two correct ones; (0.4, 0.6]: 2/3 and 1/2; (0.2, 0.4]: 1/3 and
    # 1
    tuned = splits["gsm8k"].at["gsm8k"]
    assert [tuned.threshold, tuned.f1.mean] == pytest.approx([0.7, 2 * 1 * 0.5 / 1.5])
    assert splits["gsm8k"].at[BEST] == tuned


def test_nothing_found_is_an_f1_of_zero():
    splits, _ = measure({"gsm8k": (judged(2, NO_ERROR), [(0.1, 0.1, 0.1), (0.1, 0.1, 0.1)])}, "gsm8k")
    assert splits["gsm8k"].at[FIXED].f1.mean == 0.0


def test_the_threshold_of_one_split_is_used_on_all_and_the_mean_is_plain():
    gsm8k = (judged(0, NO_ERROR, n_steps=1), [(0.1,), (0.3,)])  # best between 0.1 and 0.3
    math = (judged(0, 0, NO_ERROR, n_steps=1), [(0.15,), (0.25,), (0.9,)])
    splits, mean = measure({"gsm8k": gsm8k, "math": math}, "gsm8k", own_threshold=0.26)
    assert splits["math"].at["gsm8k"].threshold == splits["gsm8k"].at["gsm8k"].threshold == pytest.approx(0.2)
    assert splits["math"].at["gsm8k"].f1.mean == pytest.approx(2 * 0.5 * 1 / 1.5)
    assert mean["gsm8k"].mean == pytest.approx((1 + 2 / 3) / 2)
    # at 0.5: 1 and 0, harmonic mean 0; 1 and 1
    assert [mean[FIXED].mean, mean["own validation"].mean, mean[BEST].mean] == pytest.approx(
        [(0 + 1) / 2, 1.0, 1.0]
    )


def test_a_solution_that_does_not_fit_is_right_only_if_its_error_lies_in_the_part_that_does():
    solutions = judged(0, 2, NO_ERROR)
    bounds = bounds_of(solutions, [(0.2, 0.9), (0.9, 0.9), (0.9, 0.9)])
    assert bounds.tolist() == [[0.2, np.inf], [np.inf, -np.inf], [np.inf, -np.inf]]
    splits, _ = measure({"gsm8k": (solutions, [(0.2, 0.9), (0.9, 0.9), ()])}, "gsm8k")
    assert (splits["gsm8k"].n_too_long, splits["gsm8k"].at[FIXED].accuracy_on_erroneous) == (3, 0.5)


def test_the_interval_is_wider_where_solutions_share_problems():
    rng = np.random.default_rng(0)
    is_right = np.repeat(rng.random(40) < 0.5, 10)  # all solutions of a problem are right, or none
    errors = np.tile([0, NO_ERROR], 200)
    alone = [JudgedSolution(f"question {i}", ("a",), int(error)) for i, error in enumerate(errors)]
    shared = [JudgedSolution(f"question {i // 10}", ("a",), int(error)) for i, error in enumerate(errors)]
    widths = [
        float(np.ptp(np.percentile(Bootstrap(each, 0).f1(is_right), [2.5, 97.5]))) for each in (alone, shared)
    ]
    assert 2 < widths[1] / widths[0] < 4.5  # about the root of 10


def test_a_split_of_one_kind_is_refused():
    with pytest.raises(
        InputError, match=r"gsm8k: 1 solutions, 1 with an error; expected some with and some without"
    ):
        measure({"gsm8k": (judged(0), [(0.1, 0.1, 0.1)])}, "gsm8k")


def test_published_counts_and_f1_of_real_labels(real_data):
    scored: dict[str, tuple[list[JudgedSolution], list[tuple[float, ...]]]] = {}
    for split, counts in COUNTS.items():
        solutions = read_split(real_data / "processbench", split)
        assert (
            sum(each.error != NO_ERROR for each in solutions),
            sum(each.error == NO_ERROR for each in solutions),
        ) == counts
        rng = np.random.default_rng(len(scored))
        scored[split] = (solutions, [tuple(rng.random(len(each.steps)) ** 0.3) for each in solutions])
    splits, mean = measure(scored, "gsm8k")
    for split, (solutions, scores) in scored.items():
        for at in splits[split].at.values():
            predicted = [predicted_error(row, at.threshold) for row in scores]
            expected = first_error_f1(predicted, [each.error for each in solutions])
            assert at.f1.mean == pytest.approx(expected.f1)
            assert (at.accuracy_on_erroneous, at.accuracy_on_correct) == (
                expected.accuracy_on_erroneous,
                expected.accuracy_on_correct,
            )
            assert 0.02 < at.f1.high - at.f1.low < 0.15
    assert [each.error == NO_ERROR for each in read_split(real_data / "processbench", "gsm8k", 4)] == [
        False,
        False,
        True,
        True,
    ]
    assert mean[FIXED].mean == pytest.approx(sum(each.at[FIXED].f1.mean for each in splits.values()) / 4)


def save_random(kind, policy: Path, output: Path) -> Path:
    torch.manual_seed(0)
    config = (TrainPrmConfig if kind == "prm" else TrainOrmConfig)(
        rows=Path("unused"), output=output, model=str(policy)
    )
    model, encoding = build_scorer(kind, config)
    save_scorer(model, encoding, CheckpointFacts(kind, encoding.facts, "none, it is random", "min"), output)
    return output


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four solutions a split, one of which is longer than the 256 tokens that the tiny model takes."""
    steps = ["3 plus 4 = 7", "7 times 2 = 14", "Answer: 14"]
    rows = [
        {
            "id": f"x-{i}",
            "generator": "g",
            "problem": f"Start with {i % 3}",
            "steps": steps,
            "final_answer_correct": label < 0,
            "label": label,
        }
        for i, label in enumerate((-1, 0, -1))
    ]
    rows.append({**rows[1], "id": "x-3", "steps": [*steps, "long " * 200], "label": 3})
    for split in ("gsm8k", "math"):
        (tmp_path / f"{split}.json").write_text(json.dumps(rows))
    return tmp_path


def test_the_command_measures_a_checkpoint_and_stores_the_tuned_threshold(
    data, tiny_policy, tmp_path, capsys
):
    prm = save_random("prm", tiny_policy, tmp_path / "prm")
    store_calibration(prm, read_config_facts(str(prm)).calibration, (Threshold("own validation", 0.25),))
    output = tmp_path / "result.json"
    main(
        [
            "--checkpoint",
            str(prm),
            "--data",
            str(data),
            "--splits",
            "gsm8k,math",
            "--output",
            str(output),
            "--store_threshold",
            "true",
        ],
    )
    found = json.loads(output.read_text())
    assert found["splits"]["gsm8k"] == found["splits"]["math"]
    assert {key: found["splits"]["math"][key] for key in ("n_erroneous", "n_correct", "n_too_long")} == {
        "n_erroneous": 2,
        "n_correct": 2,
        "n_too_long": 1,
    }
    assert list(found["mean"]) == ["fixed", "gsm8k", "own validation", "best of the split"]
    assert found["splits"]["math"]["at"]["own validation"]["threshold"] == 0.25
    tuned = found["splits"]["gsm8k"]["at"]["gsm8k"]
    stored = read_config_facts(str(prm)).thresholds
    assert stored == (
        Threshold("own validation", 0.25),
        Threshold("ProcessBench gsm8k", tuned["threshold"], tuned["f1"]["mean"]),
    )
    table = capsys.readouterr().out
    assert "gsm8k: 2 erroneous, 2 correct, 1 too long for the scorer" in table
    assert "mean over the splits" in table


def test_an_orm_and_a_missing_split_are_refused(data, tiny_policy, tmp_path):
    orm = save_random("orm", tiny_policy, tmp_path / "orm")
    with pytest.raises(InputError, match="an ORM, which scores whole solutions; expected a PRM"):
        main(["--checkpoint", str(orm), "--data", str(data), "--splits", "gsm8k"])
    with pytest.raises(InputError, match=r"omnimath.json: no such file; expected the folder of ProcessBench"):
        main(["--checkpoint", str(orm), "--data", str(data), "--splits", "gsm8k,omnimath"])
    with pytest.raises(InputError, match="tune_on: got 'gsm8k', expected one of the splits math"):
        main(["--checkpoint", str(orm), "--data", str(data), "--splits", "math"])
