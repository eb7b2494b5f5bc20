import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from data_gen.rows.layouts import OrmRow, PrmRow, read_rows, write_rows
from data_gen.settings.errors import InputError
from prm_train.calibrate import main, place_logits, training_questions
from prm_train.examples.examples import is_validation_question, prm_examples
from prm_train.examples.targets import LabelAlgebra
from prm_train.kinds.generative_verifier import ALGEBRA
from prm_train.kinds.load import load_classifier
from prm_train.metrics.calibration import CalibrationError, fits_calibration
from prm_train.train_orm import main as train_orm
from prm_train.train_prm import main as train_prm
from prm_train.train_verifier import main as train_verifier

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def write_prm(path: Path, name: str, n: int) -> Path:
    """Two solutions a question; a step is wrong where it says 9, but for one question in four."""
    made = []
    for i in range(n):
        wrong = i % 2 == 1
        steps = (
            f"{i % 10} plus 1 = {(i + 1) % 10}",
            f"then {i // 10} = {'9' if wrong != (i % 8 > 5) else '8'}",
        )
        made.append(
            PrmRow(
                f"p{i // 2}",
                f"{name} {i // 2}",
                steps,
                (True, not wrong),
                (4, 0),
                (4, 4),
                (0, 0),
                ("fixed",) * 2,
                ("rollouts",) * 2,
            )
        )
    write_rows(path, made)
    return path


@pytest.fixture(scope="module")
def trained(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    rows = write_prm(folder / "prm.jsonl", "Start with", 80)
    settings = {
        "rows": rows,
        "output": folder / "prm",
        "model": tiny_policy,
        "learning_rate": 0.02,
        "n_epochs": 12.0,
        "validation_share": 0.3,
    }
    train_prm([word for name, value in settings.items() for word in (f"--{name}", str(value))])
    return folder


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained / "prm", tmp_path / "prm")
    return tmp_path / "prm"


def test_questions_that_trained_the_checkpoint_do_not_calibrate_it(trained, checkpoint):
    questions = {f"Start with {i}" for i in range(40)}
    seen = {question for question in questions if not is_validation_question(question, 0.3)}
    assert training_questions(trained / "prm.jsonl", 0.3) == seen
    assert 20 < len(seen) < 36
    main(["--checkpoint", str(checkpoint), "--rows", str(trained / "prm.jsonl"), "--method", "none"])
    found = json.loads((checkpoint / "calibration.json").read_text())
    assert found["n_questions_fitted"] + found["n_questions_measured"] == 40 - len(seen)


def test_a_chat_names_its_question_since_its_first_turn_may_say_more(tmp_path):
    questions = [f"Start with {i}" for i in range(40)]
    chats = [
        {"prompt": [{"role": "user", "content": f"{each} Think."}], "question": each} for each in questions
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in chats))
    assert training_questions(tmp_path / "rows.jsonl", 0.3) == {
        each for each in questions if not is_validation_question(each, 0.3)
    }


def test_new_questions_calibrate_and_the_scorer_uses_it(checkpoint, tmp_path):
    rows = write_prm(tmp_path / "new.jsonl", "Go on with", 120)
    weights = (checkpoint / "model.safetensors").read_bytes()
    main(["--checkpoint", str(checkpoint), "--rows", str(rows), "--method", "platt"])
    found = json.loads((checkpoint / "calibration.json").read_text())
    assert found["n_questions_fitted"] + found["n_questions_measured"] == 60
    assert found["after"]["log_loss"] < found["before"]["log_loss"]
    _, _, facts = load_classifier(str(checkpoint))
    assert facts.calibration.scale == found["calibration"]["scale"]
    assert facts.reliability is not None
    assert sum(each.n_labels for each in facts.reliability.bins) == found["n_labels_measured"]
    assert [threshold.tuned_on for threshold in facts.thresholds] == ["none (fixed)", "own validation"]
    assert (checkpoint / "model.safetensors").read_bytes() == weights
    main(
        ["--checkpoint", str(checkpoint), "--rows", str(rows), "--method", "none"]
    )  # once more: from the network, not from the calibration
    again = json.loads((checkpoint / "calibration.json").read_text())
    assert again["before"] == again["after"] == found["before"]


def test_logits_are_those_of_one_row_at_a_time(checkpoint, trained):
    model, encoding, _ = load_classifier(str(checkpoint))
    examples = prm_examples(
        read_rows(trained / "prm.jsonl", PrmRow)[:9], encoding, LabelAlgebra(), 256
    ).examples
    found = place_logits(model, True, examples, batch_tokens=150)
    for example, row in zip(examples, found, strict=True):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([example.input_ids])).logits[0, list(example.positions)]
        np.testing.assert_allclose(row, (logits[:, 1] - logits[:, 0]).numpy(), rtol=1e-4, atol=1e-5)


def test_a_checkpoint_without_a_trace_of_its_training_takes_all_rows(checkpoint, trained, caplog):
    shutil.rmtree(checkpoint / "training")
    main(["--checkpoint", str(checkpoint), "--rows", str(trained / "prm.jsonl"), "--method", "none"])
    assert "nothing there tells which questions it was trained on" in caplog.text
    found = json.loads((checkpoint / "calibration.json").read_text())
    assert found["n_questions_fitted"] + found["n_questions_measured"] == 40


def test_where_the_training_rows_are_gone_the_questions_that_it_held_out_are_kept(
    checkpoint, trained, caplog
):
    settings = json.loads((checkpoint / "training" / "config.json").read_text())
    (checkpoint / "training" / "config.json").write_text(
        json.dumps(settings | {"rows": "elsewhere/prm.jsonl"})
    )
    main(["--checkpoint", str(checkpoint), "--rows", str(trained / "prm.jsonl"), "--method", "none"])
    assert "the rows that trained it are gone" in caplog.text
    found = json.loads((checkpoint / "calibration.json").read_text())
    held_out = {f"Start with {i}" for i in range(40) if is_validation_question(f"Start with {i}", 0.3)}
    assert found["n_questions_fitted"] + found["n_questions_measured"] == len(held_out)


def test_labels_of_another_meaning_are_pointed_out(checkpoint, trained, caplog):
    main(
        [
            "--checkpoint",
            str(checkpoint),
            "--rows",
            str(trained / "prm.jsonl"),
            "--label_kind",
            "soft",
            "--method",
            "none",
        ]
    )
    assert (
        "trained on \"whether the step is right, as the rows' labels say\", calibrated for 'share of right "
        "rollouts" in caplog.text
    )
    found = json.loads((checkpoint / "calibration.json").read_text())
    assert LabelAlgebra(**found["label_settings"]) == LabelAlgebra(label_kind="soft")


def test_rows_that_were_trained_on_or_are_too_few_are_refused(checkpoint, trained, tmp_path):
    rows = read_rows(trained / "prm.jsonl", PrmRow)
    write_rows(tmp_path / "seen.jsonl", [row for row in rows if not is_validation_question(row.prompt, 0.3)])
    before = (checkpoint / "config.json").read_bytes()
    with pytest.raises(
        InputError, match=r"it was trained on the questions of all \d+ solutions; expected other questions"
    ):
        main(["--checkpoint", str(checkpoint), "--rows", str(tmp_path / "seen.jsonl")])
    with pytest.raises(CalibrationError, match="expected right and wrong ones in both"):
        main(["--checkpoint", str(checkpoint), "--rows", str(write_prm(tmp_path / "one.jsonl", "Only", 2))])
    assert (checkpoint / "config.json").read_bytes() == before


def test_an_orm_is_calibrated_by_its_solutions(tiny_policy, tmp_path):
    rows = [
        OrmRow(f"p{i // 2}", f"Start with {i // 2}", f"then {i % 7} = {i % 2}", bool(i % 2) != (i % 10 > 7))
        for i in range(120)
    ]
    write_rows(tmp_path / "orm.jsonl", rows)
    settings = {
        "rows": tmp_path / "orm.jsonl",
        "output": tmp_path / "orm",
        "model": tiny_policy,
        "learning_rate": 0.01,
        "validation_share": 0.5,
    }
    train_orm([word for name, value in settings.items() for word in (f"--{name}", str(value))])
    main(
        [
            "--checkpoint",
            str(tmp_path / "orm"),
            "--rows",
            str(tmp_path / "orm.jsonl"),
            "--method",
            "temperature",
        ]
    )
    _, _, facts = load_classifier(str(tmp_path / "orm"))
    assert (facts.calibration.method, facts.calibration.bias, facts.thresholds) == ("temperature", 0.0, ())


def test_a_generative_verifier_is_calibrated_by_its_steps(tiny_policy, tmp_path):
    rows = write_prm(tmp_path / "prm.jsonl", "Start with", 80)
    settings = {
        "rows": rows,
        "output": tmp_path / "verifier",
        "model": tiny_policy,
        "learning_rate": 0.01,
        "validation_share": 0.5,
    }
    train_verifier([word for name, value in settings.items() for word in (f"--{name}", str(value))])
    main(["--checkpoint", str(tmp_path / "verifier"), "--rows", str(rows), "--method", "none"])
    found = json.loads((tmp_path / "verifier" / "calibration.json").read_text())
    assert LabelAlgebra(**found["label_settings"]) == ALGEBRA
    measured = [
        row
        for row in read_rows(rows, PrmRow)
        if is_validation_question(row.prompt, 0.5) and not fits_calibration(row.prompt)
    ]
    assert found["n_labels_measured"] == 2 * len(measured)  # a wrong step is the last one here
    with pytest.raises(InputError, match=r"calibrated for the labels it learns; got label settings .*soft"):
        main(["--checkpoint", str(tmp_path / "verifier"), "--rows", str(rows), "--label_kind", "soft"])
