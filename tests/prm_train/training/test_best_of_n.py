"""The training here has 40 solutions of 20 questions; candidates are those of a file in the layout of the
Qwen2.5-Math evaluation.
"""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from data_gen.rows.layouts import PrmRow, write_rows
from data_gen.settings.errors import InputError
from prm_train.kinds.load import load_classifier
from prm_train.strategies.candidates import Candidate
from prm_train.train_orm import main as train_orm
from prm_train.train_prm import main as train_prm
from prm_train.training.best_of_n import BestOfN, FrozenProblem, read_candidates
from prm_train.training.callbacks import tracker

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A step is wrong where it says 9; four rollouts of each step but the last."""
    made = []
    for i in range(40):
        steps = (
            f"{i % 10} plus 1 = {(i + 1) % 10}",
            f"then {i // 10} = {'9' if i % 2 else '8'}",
            "Answer: 1",
        )
        labels, counts = (True, i % 2 == 0, None if i % 2 else True), (4, 0 if i % 2 else 3, 0)
        made.append(
            PrmRow(
                f"p{i // 2}",
                f"Start with {i // 2}",
                steps,
                labels,
                counts,
                (4, 4, 0),
                (0,) * 3,
                ("fixed",) * 3,
                ("rollouts",) * 3,
            )
        )
    write_rows(tmp_path / "prm.jsonl", made)
    return tmp_path / "prm.jsonl"


@pytest.fixture
def candidates(tmp_path: Path) -> Path:
    """30 problems of 4 candidates: one says 8 and is right, three agree on 9. The question of the first
    problem is one of the rows'.
    """
    lines = []
    for i in range(30):
        code = ["1 plus 1 = 2\nthen 0 = 8\nAnswer: 8", *["1 plus 1 = 2\nthen 0 = 9\nAnswer: 9"] * 3]
        question = "Start with 1" if i == 0 else f"Start again with {i}"
        answers = {
            "pred": ["8", "9", "9", "9"],
            "score": [True, False, False, False],
            "pred_score": [[0.0]] * 4,
        }
        lines.append(json.dumps({"idx": i, "question": question, "gt": "8", "code": code, **answers}))
    (tmp_path / "candidates.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "candidates.jsonl"


def train(rows: Path, tiny_policy: Path, output: Path, *more: str, main: Any = train_prm) -> dict[str, Any]:
    settings = {
        "rows": rows,
        "output": output,
        "model": tiny_policy,
        "learning_rate": 0.01,
        "n_epochs": 3.0,
        "validation_share": 0.3,
    }
    main(
        [
            *(word for name, value in settings.items() for word in (f"--{name}", str(value))),
            "--use_cpu",
            "true",
            *more,
        ]
    )
    return json.loads((output / "training" / "report.json").read_text())


def read_wandb(file: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(history, config) of a .wandb file: records in LevelDB's log format, a 7-byte header and blocks of 32
    KiB.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, record = file.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    history: list[dict[str, Any]] = []
    config: dict[str, Any] = {}
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or its last part
            parsed, record = Record.FromString(record), b""
            if parsed.HasField("history"):
                history.append(
                    {
                        item.key or "/".join(item.nested_key): json.loads(item.value_json)
                        for item in parsed.history.item
                    }
                )
            for update in (
                [parsed.config]
                if parsed.HasField("config")
                else [parsed.run.config]
                if parsed.HasField("run")
                else []
            ):
                config |= {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json)
                    for item in update.update
                }
    return history, config


def test_wandb_offline_holds_metrics_configuration_and_what_was_left_out(
    rows, candidates, tiny_policy, tmp_path
):
    output = tmp_path / "prm"
    settings = [
        "--report_to",
        "wandb",
        "--run_name",
        "tiny",
        "--max_length",
        "60",
        "--candidates",
        str(candidates),
        "--n_candidates",
        "4",
    ]
    command = [
        sys.executable,
        "-m",
        "prm_train.train_prm",
        "--rows",
        str(rows),
        "--output",
        str(output),
        "--model",
        str(tiny_policy),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment |= {"WANDB_MODE": "offline", "PYTHONPATH": str(Path(__file__).parents[3])}
    command += [
        "--n_epochs",
        "2.0",
        "--validation_share",
        "0.3",
        "--monitoring_share",
        "100.0",
        "--n_steps_between_logs",
        "1",
        *settings,
    ]
    finished = subprocess.run(
        command, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=200
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert not (tmp_path / "wandb").exists()
    (file,) = output.glob("training/wandb/offline-run-*/run-*.wandb")
    history, config = read_wandb(file)
    report = json.loads((output / "training" / "report.json").read_text())
    for name in (
        "step_auroc",
        "step_value_brier",
        "step_value_brier_floor",
        "first_error_f1",
        "step_brier_at_2",
        "best_of_4_weighted",
        "loss",
    ):
        logged = [entry[f"eval/{name}"] for entry in history if f"eval/{name}" in entry]
        assert logged == [pytest.approx(entry[name]) for entry in report["validation"] if name in entry], name
        assert logged, name
    assert any("train/time/best_of_n_seconds" in entry for entry in history)
    assert [entry["train/loss"] for entry in history if "train/loss" in entry] == [
        entry["loss"] for entry in report["loss_curve"]
    ]
    assert config["prm_train"]["max_length"] == 60
    assert config["prm_train"]["learning_rate"] == 1e-5
    assert config["data"]["training rows"] == report["n_training_rows"]
    left_out = [entry for entry in history if "train/data/training_rows" in entry]
    assert len(left_out) == 1
    for reason, n in report["left_out"].items():
        assert config["data"][f"left out: {reason}"] == n > 0
        assert left_out[0][f"train/data/left_out:_{reason.replace(' ', '_')}"] == n


def test_tensorboard_holds_the_same(rows, tiny_policy, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    report = train(rows, tiny_policy, tmp_path / "prm", "--report_to", "tensorboard")
    (folder,) = (tmp_path / "prm" / "training" / "runs").iterdir()
    events = EventAccumulator(str(folder))
    events.Reload()
    logged = [event.value for event in events.Scalars("eval/step_auroc")]
    assert logged == pytest.approx([entry["step_auroc"] for entry in report["validation"]])
    assert [event.value for event in events.Scalars("train/data/training_rows")] == [
        report["n_training_rows"]
    ]
    text = events.Tensors("prm_train/text_summary")[0].tensor_proto.string_val[0].decode()
    assert '"learning_rate": 0.01' in text


def test_wandb_without_an_account_means_tensorboard(monkeypatch, tmp_path, caplog):
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "WANDB_CONFIG_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert tracker("wandb", tmp_path) == "tensorboard"
    assert "wandb has no account here" in caplog.text
    assert "reporting to TensorBoard instead" in caplog.text
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert tracker("wandb", tmp_path) == "wandb"
    assert tracker("none", tmp_path) == "none"


def test_best_of_n_is_logged_against_majority_and_pass_at_n(rows, candidates, tiny_policy, tmp_path, caplog):
    caplog.set_level("INFO")
    more = (
        "--candidates",
        str(candidates),
        "--n_candidates",
        "4",
        "--monitoring_share",
        "100.0",
        "--n_epochs",
        "15",
        "--batch_size",
        "4",
    )
    report = train(rows, tiny_policy, tmp_path / "prm", *more)
    assert "30 problems; left out 1 that training sees" in caplog.text
    last = report["validation"][-1]
    assert last["n_candidate_problems"] == 29
    assert (last["majority_of_4"], last["pass_at_4"]) == (0.0, 1.0)
    assert last["step_auroc"] == 1.0
    assert last["best_of_4"] == 1.0  # it has learnt that steps with a 9 are wrong
    assert last["step"] == report["n_steps"]


def test_best_of_n_of_an_orm_reads_the_end(tiny_policy, candidates, tmp_path):
    lines = []
    for i in range(40):
        completion = f"then 1 = {9 - i % 2}\nAnswer: {9 - i % 2}"
        lines.append(
            json.dumps({"prompt": f"Start with {i // 2}", "completion": completion, "label": bool(i % 2)})
        )
    (tmp_path / "orm.jsonl").write_text("\n".join(lines) + "\n")
    more = (
        "--candidates",
        str(candidates),
        "--n_candidates",
        "4",
        "--monitoring_share",
        "100.0",
        "--n_epochs",
        "12",
        "--batch_size",
        "4",
    )
    last = train(tmp_path / "orm.jsonl", tiny_policy, tmp_path / "orm", *more, main=train_orm)["validation"][
        -1
    ]
    assert (last["pair_accuracy"], last["best_of_4"], last["majority_of_4"]) == (1.0, 1.0, 0.0)


def test_candidates_that_training_sees_are_refused(rows, tiny_policy, candidates, tmp_path):
    first = tmp_path / "first.jsonl"
    first.write_text(candidates.read_text().splitlines()[0] + "\n")
    with pytest.raises(InputError, match=r"first.jsonl: none of 1 problems is held out and has 4 candidates"):
        train(rows, tiny_policy, tmp_path / "prm", "--candidates", str(first), "--n_candidates", "4")
    with pytest.raises(InputError, match="validation_share: got 0 with candidates"):
        train(rows, tiny_policy, tmp_path / "prm", "--candidates", str(first), "--validation_share", "0")


def test_watching_changes_nothing_in_what_is_trained(rows, candidates, tiny_policy, tmp_path):
    more = ("--head_dropout", "0.2", "--backbone_dropout", "0.1", "--batch_size", "4")
    train(rows, tiny_policy, tmp_path / "alone", *more)
    watched = (
        *more,
        "--candidates",
        str(candidates),
        "--n_candidates",
        "4",
        "--monitoring_share",
        "100.0",
        "--calibration",
        "platt",
    )
    train(rows, tiny_policy, tmp_path / "watched", *watched)
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("alone", "watched")]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())


class Clock:
    """A trainer whose scoring takes a second a problem of one candidate, on a clock that only it moves."""

    def __init__(self, seconds_a_problem: float = 1.0) -> None:
        self.now, self.seconds_a_problem, self.n_scored = 0.0, seconds_a_problem, 0
        self.logged: list[dict[str, float]] = []

    def logits_of(self, examples: list[Any]) -> list[Any]:
        import numpy as np

        self.now += self.seconds_a_problem * len(examples)
        self.n_scored += len(examples)
        return [np.array([0.0]) for _ in examples]

    def log(self, logs: dict[str, float]) -> None:
        self.logged.append(logs)


def best_of_n(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tokens_a_step: float = 2 / 3
) -> tuple[BestOfN, Any]:
    from types import SimpleNamespace

    from prm_train.examples.examples import Example

    monkeypatch.setattr("prm_train.training.best_of_n.time.perf_counter", lambda: clock.now)
    example, candidate = Example("q", (1, 2), (1,), (0.0,), (1.0,)), Candidate("p", 0, "8", "8", True)
    state = SimpleNamespace(global_step=0, is_world_process_zero=True)
    callback = BestOfN(
        clock,
        [FrozenProblem((candidate,), (example,))] * 100,
        "last",
        share=0.02,
        tokens_a_step=tokens_a_step,
    )
    callback.on_train_begin(None, state, None)
    return callback, state


def test_it_waits_until_enough_problems_are_paid_for_and_then_takes_what_is(monkeypatch):
    clock = Clock()
    callback, state = best_of_n(clock, monkeypatch)
    for seconds, n_expected in [(500.0, 0), (800.0, 25), (700.0, 0), (900.0, 32), (10_000.0, 100)]:
        clock.now += seconds
        state.global_step += int(seconds)
        before = clock.n_scored
        callback.on_evaluate(None, state, None)
        assert clock.n_scored - before == n_expected
        assert clock.logged[-1].get("eval_n_candidate_problems", 0) == n_expected
        assert clock.logged[-1]["time/best_of_n_seconds"] <= 0.02 * clock.logged[-1]["time/training_seconds"]
    # 0.02 x 1300 = 26, of 2000: 40 - 25 < 20, of 2900: 58 - 25 = 33, of 12,900: 258 - 57 > 100; the last
    # second is the margin
    assert [round(entry["time/training_seconds"]) for entry in clock.logged] == [
        500,
        1300,
        2000,
        2900,
        12_900,
    ]


def test_a_guess_that_is_far_too_low_costs_one_problem(monkeypatch):
    # Guessed at 1/30 s: a step of one second trains on 20 tokens, a problem has 2
    clock = Clock(seconds_a_problem=10.0)
    callback, state = best_of_n(clock, monkeypatch, tokens_a_step=20.0)
    clock.now, state.global_step = 1000.0, 1000
    callback.on_evaluate(None, state, None)
    assert clock.n_scored == 1
    assert "eval_n_candidate_problems" not in clock.logged[-1]
    assert clock.logged[-1]["time/best_of_n_seconds"] == 10.0
    clock.now += 12_000.0  # 0.02 x 13,000 - 10 = 250 seconds, a margin of 10
    callback.on_evaluate(None, state, None)
    assert clock.n_scored == 25


def test_candidates_come_from_a_search_or_the_qwen_layout(candidates, tmp_path):
    problem, first = read_candidates(candidates)[0]
    assert (problem.question, [candidate.answer for candidate in first]) == (
        "Start with 1",
        ["8", "9", "9", "9"],
    )
    sampled = {
        "spec": "samples",
        "n": 1,
        "temperature": 0.7,
        "candidates": [{"problem_id": "p", "index": 0, "text": "8", "answer": "8", "is_correct": True}],
    }
    result = {
        "problem": {"problem_id": "p", "question": "q", "gold_answer": "8"},
        "temperature": 0.7,
        "runs": [sampled, {**sampled, "temperature": 1.0, "candidates": []}],
        "scorings": [],
        "difficulty": {"n": 0, "n_correct": 0},
        "usage": {},
    }
    (tmp_path / "results.jsonl").write_text(json.dumps(result) + "\n")
    ((problem, found),) = read_candidates(tmp_path / "results.jsonl")
    assert (problem.problem_id, [candidate.text for candidate in found]) == ("p", ["8"])


def test_calibration_at_the_end_of_training_is_stored_and_reported(rows, tiny_policy, tmp_path):
    report = train(rows, tiny_policy, tmp_path / "prm", "--calibration", "platt", "--validation_share", "0.5")
    _, _, facts = load_classifier(str(tmp_path / "prm"))
    assert facts.calibration.method == "platt"
    assert report["calibration"]["calibration"] == vars(facts.calibration)
    assert [threshold.tuned_on for threshold in facts.thresholds] == ["none (fixed)", "own validation"]
    assert set(report["calibration"]["before"]) == {"log_loss", "brier", "ece"}
    assert facts.reliability is not None
    n_counted = sum(each.n_labels for each in facts.reliability.bins)
    assert n_counted == report["calibration"]["n_labels_measured"]
