import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForTokenClassification

from data_gen.rows.layouts import PrmRow, read_rows, write_rows
from data_gen.settings.errors import InputError
from data_gen.settings.parse import load_yaml
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.encoding.paths import EncodingFacts
from prm_train.examples.examples import prm_examples, split_by_question
from prm_train.examples.targets import LabelAlgebra
from prm_train.kinds.load import load_classifier
from prm_train.publish import main as publish
from prm_train.train_prm import main
from prm_train.training.config import TrainPrmConfig
from prm_train.training.folder import last_whole_checkpoint, training_lock
from tests.tiny_models import write_tiny_model

HARD = LabelAlgebra()


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """40 solutions of 20 questions; a step is wrong where it says 9."""
    made = []
    for i in range(40):
        steps = (
            f"{i % 10} plus 1 = {(i + 1) % 10}",
            f"then {i // 10} = {'9' if i % 2 else '8'}",
            "Answer: 1",
        )
        labels = (True, i % 2 == 0, None if i % 2 else True)
        counts = (4, 0 if i % 2 else 3, 0)
        made.append(
            PrmRow(
                f"p{i // 2}",
                f"Start with {i // 2}",
                steps,
                labels,
                counts,
                (4, 4, 0),
                (0, 0, 0),
                ("fixed",) * 3,
                ("rollouts",) * 3,
            )
        )
    write_rows(tmp_path / "prm.jsonl", made)
    return tmp_path / "prm.jsonl"


def arguments(rows: Path, tiny_policy: Path, output: Path) -> list[str]:
    settings = {
        "rows": rows,
        "output": output,
        "model": tiny_policy,
        "learning_rate": 0.01,
        "n_epochs": 3.0,
        "validation_share": 0.3,
    }
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


def train(rows: Path, tiny_policy: Path, output: Path, *more: str) -> dict:
    main([*arguments(rows, tiny_policy, output), *more])
    return json.loads((output / "training" / "report.json").read_text())


def validation_loss(output: Path, rows: Path, algebra: LabelAlgebra = HARD) -> float:
    """Of the checkpoint as it lies there, one example at a time."""
    model, encoding, _ = load_classifier(str(output))
    examples = prm_examples(read_rows(rows, PrmRow), encoding, algebra, 1024).examples
    losses = []
    for example in split_by_question(examples, 0.3)[1]:
        scores = (
            model(input_ids=torch.tensor([example.input_ids]))
            .logits[0, list(example.positions)]
            .softmax(-1)[:, 1]
        )
        losses += [
            -(t * s.log() + (1 - t) * (1 - s).log()).item()
            for s, t in zip(scores, example.targets, strict=True)
        ]
    return sum(losses) / len(losses)


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--lora.rank", "4", "--lora.dropout", "0.1"),
        ("--keep", "lowest_validation_loss", "--head_dropout", "0.1", "--backbone_dropout", "0.1"),
        ("--label_kind", "soft", "--aggregation", "last", "--n_accumulated", "2", "--batch_size", "4"),
        ("--loss", "pqm", "--batch_tokens", "200", "--max_length", "200", "--packing", "true"),
    ],
)
def test_the_checkpoint_on_disk_has_the_loss_that_training_reported(rows, tiny_policy, tmp_path, more):
    output = tmp_path / "prm"
    report = train(rows, tiny_policy, output, *more)
    algebra = LabelAlgebra(label_kind="soft") if "soft" in more else LabelAlgebra()
    assert validation_loss(output, rows, algebra) == pytest.approx(report["validation"][-1]["loss"], rel=1e-5)
    assert sorted(path.name for path in output.iterdir()) == [
        "chat_template.jinja",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "training",
    ]
    assert sorted(path.name for path in (output / "training").iterdir()) == ["config.json", "report.json"]


def test_a_forecast_counts_what_the_training_then_does_and_leaves_nothing(
    rows: Path, tiny_policy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "prm"
    alone = ("--batch_size", "1", "--n_accumulated", "4", "--keep", "lowest_validation_loss")
    with caplog.at_level(logging.INFO):
        main([*arguments(rows, tiny_policy, output), *alone, "--forecast", "true"])
    assert not output.exists()
    said = caplog.messages[-1]
    report = train(rows, tiny_policy, output, *alone)
    n_rows, n_labels, n_tokens = (report[f"n_training_{name}"] for name in ("rows", "labels", "tokens"))
    n_validated, n_steps = report["n_validation_rows"], report["n_steps"]
    assert n_steps == 3 * -(-n_rows // 4)
    assert said.startswith(f"forecast of {output}:\n")
    assert f"{n_rows} to train on with {n_labels} labels, {n_validated} to validate on\n" in said
    # A pass has one row: no padding
    assert re.search(
        rf"tokens  +{n_tokens:,} an epoch, the longest row \d+; {n_tokens:,} are computed\n", said
    )
    assert f"{n_steps}, of which 5 were measured" in said
    assert re.search(r"peak memory  \d+\.\d\d GiB of the process", said)

    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    with caplog.at_level(logging.INFO):
        # Of padded passes, and of a finished training
        main([*arguments(rows, tiny_policy, output), "--forecast", "true"])
    found = re.search(r"; ([\d,]+) are\s+computed, \d+% of them\s+padding", caplog.messages[-1])
    assert found is not None
    assert int(found[1].replace(",", "")) > n_tokens
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before


def test_training_learns_what_separates_the_labels(rows, tiny_policy, tmp_path):
    report = train(rows, tiny_policy, tmp_path / "prm", "--n_epochs", "30", "--batch_size", "4")
    assert report["validation"][-1]["step_auroc"] == 1.0
    assert report["validation"][-1]["loss"] < 0.1 < report["validation"][0]["loss"]


def test_the_checkpoint_loads_with_transformers_alone_and_says_what_it_is(rows, tiny_policy, tmp_path):
    output = tmp_path / "prm"
    train(rows, tiny_policy, output, "--lora.rank", "4")
    model, loading = AutoModelForTokenClassification.from_pretrained(output, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert (model.num_labels, model.config.id2label, model.config.use_cache) == (
        2,
        {0: "bad", 1: "good"},
        True,
    )
    assert model.config.classifier_dropout == 0.0
    _, _, facts = load_classifier(str(output))
    labels = "whether the step is right, as the rows' labels say"
    assert facts.reliability is not None  # counted on the validation questions
    assert sum(each.n_questions for each in facts.reliability.bins) > 0
    expected = CheckpointFacts("prm", EncodingFacts("chat", "\n", "<|step|>"), labels, "min")
    assert replace(facts, reliability=None) == expected
    assert AutoConfig.from_pretrained(output).prm_train["encoding"]["marker_token"] == "<|step|>"


def test_a_model_that_is_no_checkpoint_of_ours_is_refused(tiny_policy):
    with pytest.raises(
        InputError, match="has no 'prm_train'; expected a model that train-prm or train-orm has written"
    ):
        load_classifier(str(tiny_policy))


def test_a_finished_training_is_not_repeated_and_another_one_is_refused(rows, tiny_policy, tmp_path):
    output = tmp_path / "prm"
    train(rows, tiny_policy, output)
    written = (output / "model.safetensors").stat().st_mtime_ns
    files = sorted((output / "training").iterdir())
    (output / "training" / "checkpoint-9").mkdir()  # as after a kill while it cleaned up
    for name in ("checkpoint-9/optimizer.pt", "sources.json", "cost.json"):
        (output / "training" / name).write_text("{}")
    train(rows, tiny_policy, output)
    assert (output / "model.safetensors").stat().st_mtime_ns == written
    assert sorted((output / "training").iterdir()) == files
    with pytest.raises(InputError, match="another configuration: seed is 0, got 1"):
        train(rows, tiny_policy, output, "--seed", "1")

    before = rows.read_text()
    rows.write_text(before.replace("9", "8", 1))
    with pytest.raises(
        InputError,
        match=r"training is finished, and the rows in .*prm\.jsonl have changed since it began; put",
    ):
        train(rows, tiny_policy, output)
    rows.write_text(before)
    (output / "model.safetensors").rename(output / "elsewhere")
    with pytest.raises(
        InputError,
        match=r"finished, and its model is no longer there whole; expected config\.json and weights",
    ):
        train(rows, tiny_policy, output)


def test_a_finished_training_is_of_the_base_that_began_it(rows, tiny_policy, tmp_path):
    base = shutil.copytree(tiny_policy, tmp_path / "base")
    train(rows, base, tmp_path / "prm", "--n_epochs", "0.1")
    (base / "README.md").write_text("a card, which decides nothing")
    train(rows, base, tmp_path / "prm", "--n_epochs", "0.1")
    weights = load_file(base / "model.safetensors")
    save_file(
        {name: weight * 1.01 for name, weight in weights.items()},
        base / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(
        InputError, match=r"finished, and model\.safetensors of its model .*base changed since it began"
    ):
        train(rows, base, tmp_path / "prm", "--n_epochs", "0.1")
    shutil.rmtree(base)  # what is not there has not changed
    train(rows, base, tmp_path / "prm", "--n_epochs", "0.1")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("base", "holds the base model .*base, which would be overwritten; expected a folder of its own"),
        (".", "holds the base model .*base, which would be overwritten"),
        ("base/../base", "holds the base model"),
        (
            "other",
            r"holds config\.json, model\.safetensors and no training of this project; expected a folder of "
            r"its own, new or empty",
        ),
        ("run", r"holds config\.json, ledger\.sqlite and no training of this project"),
        ("notes", r"holds training and no training of this project"),
        ("thesis", r"holds chapter\.txt and no training of this project"),
        ("prm.jsonl", "is a file; expected a folder, or none yet"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--resume", "false")], ids=["", "over"])
def test_a_training_writes_over_nothing_but_itself(output, said, more, rows, tiny_policy, tmp_path):
    shutil.copytree(tiny_policy, tmp_path / "base")
    files = (
        "other/config.json",
        "other/model.safetensors",
        "run/config.json",
        "run/ledger.sqlite",
        "notes/training/config.json",
    )
    for name in (*files, "thesis/chapter.txt", "thesis/notes.log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"mine": 1}')
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=said):
        train(rows, tmp_path / "base", tmp_path / output, *more)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_second_training_in_a_folder_is_refused_while_the_first_is_at_work(rows, tiny_policy, tmp_path):
    with training_lock(tmp_path / "prm"):
        with pytest.raises(InputError, match=r"prm: another training is at work in this folder"):
            main(arguments(rows, tiny_policy, tmp_path / "prm"))
        assert [path.name for path in (tmp_path / "prm").iterdir()] == [".training.lock"]
    assert not (tmp_path / "prm").exists()  # nothing came of it


def test_training_killed_at_any_moment_ends_with_the_weights_of_unbroken_training(
    rows, tiny_policy, tmp_path
):
    more = ("--batch_size", "2", "--n_epochs", "10", "--n_steps_between_saves", "4")
    train(rows, tiny_policy, tmp_path / "whole", *more)
    output = tmp_path / "killed"
    command = [sys.executable, "-m", "prm_train.train_prm", *arguments(rows, tiny_policy, output), *more]
    process = subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while (
        last_whole_checkpoint(output / "training") is None
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL, process.communicate()[1].decode()[-2000:]
    (output / "training" / "checkpoint-1000").mkdir()  # a save that was broken off
    train(rows, tiny_policy, output, *more)
    assert (output / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()


def test_rows_of_too_few_questions_to_split_are_refused(rows, tiny_policy, tmp_path):
    one = tmp_path / "one.jsonl"
    one.write_text(rows.read_text().splitlines()[0] + "\n")
    with pytest.raises(InputError, match=r"1 questions with validation_share 0\.3 give"):
        train(one, tiny_policy, tmp_path / "prm")


@pytest.mark.parametrize("path", sorted(Path("configs/train_prm").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_loads(path):
    assert load_yaml(TrainPrmConfig, path).n_epochs > 0


def test_a_model_whose_head_has_another_name_is_trained_with_lora_and_published(rows, tmp_path):
    model, output = write_tiny_model("gpt2", tmp_path / "base"), tmp_path / "prm"
    report = train(rows, model, output, "--n_epochs", "1", "--lora.rank", "2", "--head_learning_rate", "0.05")
    assert validation_loss(output, rows) == pytest.approx(report["validation"][-1]["loss"], rel=1e-5)
    public = tmp_path / "public"
    publish(
        [
            "--checkpoint",
            str(output),
            "--rows",
            str(rows),
            "--output",
            str(public),
            "--license",
            "mit",
            "--n_rows",
            "10",
        ]
    )
    assert validation_loss(public, rows) == pytest.approx(report["validation"][-1]["loss"], rel=1e-5)


def test_packing_on_linear_attention_is_refused_before_anything_is_trained(rows, tmp_path):
    model, output = write_tiny_model("qwen3_next", tmp_path / "base"), tmp_path / "prm"
    with pytest.raises(
        InputError,
        match=r"packing: got true with model .*/base, in which a packed row depends on the row before it",
    ):
        train(rows, model, output, "--packing", "true", "--batch_tokens", "200", "--max_length", "200")
    assert [path.name for path in output.iterdir()] == ["training"]
    assert not list(output.rglob("*.safetensors"))
