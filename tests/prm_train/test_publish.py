"""Checkpoints of real small trainings, published into a folder and pushed to the loopback Hub, loaded back by
their users' means.
"""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification

from data_gen.records.chats import Message
from data_gen.rows.layouts import OrmHistoryRow, OrmPair, OrmRow, PrmRow, RevisionRow, write_rows
from data_gen.settings.errors import InputError
from prm_train import publish, train_implicit_prm, train_orm, train_prm, train_revision, train_verifier
from prm_train.checkpoints.facts import Calibration, store_calibration
from prm_train.examples.targets import LabelAlgebra
from prm_train.kinds import language_models, tolerances
from prm_train.kinds.load import load_checkpoint
from prm_train.kinds.lookup import kind_named
from prm_train.kinds.paths import ScoredPath
from prm_train.kinds.tolerances import bounds
from prm_train.metrics.training_report import Quality, StoredCalibration
from prm_train.publishing.export import export_checkpoint, two_layer_head
from prm_train.publishing.publishable import check_tokenizer
from tests.hub_server import Account, Hub, client_settings, serve

STEPS = ("3 plus 4 = 7", "7 times 2 = 14, keep 4", "Answer: 7 4")
SETTINGS = (
    "--validation_share",
    "0.3",
    "--use_cpu",
    "true",
    "--learning_rate",
    "0.01",
    "--n_epochs",
    "1",
    "--batch_size",
    "4",
)
PATH = ScoredPath((Message("user", "Start with 3: plus 4, times 2."),), STEPS)

# Name of a checkpoint → the command that trains it, and its settings. Rows are those of ROWS.
TRAININGS: dict[str, tuple[Callable[[list[str]], None], tuple[str, ...]]] = {
    "prm": (train_prm.main, ()),
    "orm": (train_orm.main, ()),
    "orm_pairs": (train_orm.main, ("--objective", "pairs")),
    "orm_history": (train_orm.main, ()),
    "generative_verifier": (train_verifier.main, ("--lora.rank", "4")),
    "implicit_prm": (train_implicit_prm.main, ("--lora.rank", "4", "--beta", "0.5")),
    "revision": (
        train_revision.main,
        ("--lora.rank", "4", "--grader", "arithmetic", "--max_new_tokens", "4", "--n_epochs", "3"),
    ),
}
ROWS = {"generative_verifier": "prm", "implicit_prm": "orm"} | {
    name: name for name in TRAININGS if name not in ("generative_verifier", "implicit_prm")
}


def write_all_rows(folder: Path) -> None:
    """Forty questions, ten held out; of each a solution, right for every second one, and the same solution
    after a wrong attempt.
    """
    questions = [f"Start with {i}: plus 4, times 2." for i in range(40)]
    labels, text = (True, True, False), "\n".join(STEPS)
    nothing = ((0,) * 3, (0,) * 3, (0,) * 3, ("fixed",) * 3, ("none",) * 3)
    write_rows(
        folder / "prm.jsonl",
        [PrmRow(f"p{i}", each, STEPS, labels, *nothing) for i, each in enumerate(questions)],
    )
    write_rows(
        folder / "orm.jsonl", [OrmRow(f"p{i}", each, text, i % 2 == 0) for i, each in enumerate(questions)]
    )
    write_rows(
        folder / "orm_pairs.jsonl",
        [OrmPair(f"p{i}", each, text, f"{STEPS[0]}\nAnswer: 9") for i, each in enumerate(questions)],
    )
    chats = [
        (Message("user", each), Message("assistant", "Answer: 9"), Message("user", each))
        for each in questions
    ]
    last = (Message("assistant", text),)
    write_rows(
        folder / "orm_history.jsonl",
        [OrmHistoryRow(f"p{i}", each, last, i % 2 == 0, 1, (1, 0)) for i, each in enumerate(chats)],
    )
    write_rows(
        folder / "revision.jsonl",
        [RevisionRow(f"p{i}", each, last, "revision", 1, 30, (1, 0)) for i, each in enumerate(chats)],
    )


@pytest.fixture(scope="module")
def project(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder with rows of all kinds and the checkpoint of that name, trained when it is first asked for."""
    folder = tmp_path_factory.mktemp("project")
    write_all_rows(folder)

    @cache
    def with_checkpoint(name: str) -> Path:
        train, more = TRAININGS[name]
        train(
            [
                "--rows",
                str(folder / f"{ROWS[name]}.jsonl"),
                "--output",
                str(folder / name),
                "--model",
                str(tiny_policy),
                *SETTINGS,
                *more,
            ]
        )
        if name == "orm_pairs":
            store_calibration(folder / name, Calibration("platt", 0.5, 0.25), ())
        return folder

    return with_checkpoint


@pytest.fixture(scope="module")
def runs(project: Callable[[str], Path]) -> Path:
    """The folder with prm/, orm/ and their rows."""
    return project("prm") and project("orm")


def publish_to(runs: Path, kind: str, output: Path, *more: str) -> str:
    """The card."""
    where = (
        "--checkpoint",
        str(runs / kind),
        "--rows",
        str(runs / f"{ROWS[kind]}.jsonl"),
        "--output",
        str(output),
    )
    publish.main([*where, "--license", "mit", *more])
    return (output / "README.md").read_text()


def run_card(
    card: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[list[str], list[str]]:
    """What the card's code printed, all of it as one program, and what the card says that it prints."""
    blocks = re.findall(r"^```python\n(.*?)^```$", card, re.DOTALL | re.MULTILINE)
    # Transformers alone
    assert not re.search(r"^(from|import) (prm_train|data_gen)", blocks[0], re.MULTILINE)
    monkeypatch.chdir(folder)
    capsys.readouterr()
    exec(compile("".join(blocks), "card", "exec"), {})
    return capsys.readouterr().out.splitlines(), re.findall(r"^prints `(\[.*\])`", card, re.MULTILINE)


@pytest.mark.parametrize("name", TRAININGS)
def test_the_code_of_the_card_prints_what_it_says(name, project, tmp_path, monkeypatch, capsys):
    card = publish_to(project(name), name, tmp_path / "model")
    printed, (said,) = run_card(card, tmp_path, monkeypatch, capsys)
    if name == "revision":
        assert printed[-1] == said
        assert -200 < json.loads(said)[0] < -1
        return
    assert said in printed
    numbers, own_score = json.loads(said), float(printed[-1])
    if name == "orm_pairs":
        # The scorer's score is the calibrated sigmoid of the reward
        expected = 1 / (1 + math.exp(-0.5 * numbers[0] - 0.25))
    elif name == "implicit_prm":
        assert all(abs(reward) > 0.001 for reward in numbers)
        expected = 1 / (1 + math.exp(-sum(numbers)))
        assert float(printed[-2]) == pytest.approx(expected, abs=2e-4)
    else:
        expected = numbers[-1]
    assert own_score == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("name", ["orm_history", "generative_verifier", "revision"])
def test_the_code_of_the_card_runs_without_a_chat_template(
    name, project, tiny_policy, tmp_path, monkeypatch, capsys
):
    shutil.copytree(tiny_policy, tmp_path / "policy")
    (tmp_path / "policy" / "chat_template.jinja").unlink()
    train, more = TRAININGS[name]
    rows = project(name) / f"{ROWS[name]}.jsonl"
    train(
        [
            "--rows",
            str(rows),
            "--output",
            str(tmp_path / "run"),
            "--model",
            str(tmp_path / "policy"),
            *SETTINGS,
            *more,
        ]
    )
    publish.main(
        [
            "--checkpoint",
            str(tmp_path / "run"),
            "--rows",
            str(rows),
            "--output",
            str(tmp_path / "model"),
            "--license",
            "mit",
        ]
    )
    assert (
        json.loads((tmp_path / "model" / "config.json").read_text())["prm_train"]["encoding"]["layout"]
        == "plain"
    )
    printed, (said,) = run_card((tmp_path / "model" / "README.md").read_text(), tmp_path, monkeypatch, capsys)
    assert said in printed


@pytest.mark.parametrize(
    ("name", "problem_type", "labels"),
    [
        ("prm", None, {"0": "bad", "1": "good"}),
        ("orm", "multi_label_classification", {"0": "correct"}),
        ("orm_history", "multi_label_classification", {"0": "correct"}),
        ("orm_pairs", "regression", {"0": "reward"}),  # Bradley-Terry: servers return the logit as it is
    ],
)
def test_the_config_says_what_the_outputs_mean(name, problem_type, labels, project, tmp_path):
    publish_to(project(name), name, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (config.get("problem_type"), config["id2label"]) == (problem_type, labels)
    assert config["pad_token_id"] != config["eos_token_id"]
    facts = config["prm_train"]
    assert (facts["is_reward"], facts["has_attempts"]) == (name == "orm_pairs", name == "orm_history")
    assert facts["encoding"] == {"layout": "chat", "step_separator": "\n", "marker_token": "<|step|>"}
    assert "tokenized by itself" in facts["reading"]


def test_a_reward_is_no_probability_and_its_card_says_what_it_is(project, tmp_path):
    card = " ".join(publish_to(project("orm_pairs"), "orm_pairs", tmp_path / "model").split())
    assert (
        "Within a question the difference of two rewards is the log-odds that the first solution is the "
        "right one" in card
    )
    assert "which of a right and a wrong solution of one question is the right one" in card
    assert "probability that its answer is right" not in card
    assert "probability that its answer is right" in " ".join(
        publish_to(project("orm"), "orm", tmp_path / "pointwise").split()
    )


@pytest.mark.parametrize("name", ["generative_verifier", "implicit_prm", "revision"])
def test_a_language_model_is_a_plain_one_with_its_updates_merged(name, project, tiny_policy, tmp_path):
    publish_to(project(name), name, tmp_path / "model")
    model, loading = AutoModelForCausalLM.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(loading.values())
    trained = AutoModelForCausalLM.from_pretrained(project(name) / name)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, trained(input_ids=ids).logits)
        assert not torch.allclose(
            model(input_ids=ids).logits,
            AutoModelForCausalLM.from_pretrained(tiny_policy)(input_ids=ids).logits,
        )
    facts = model.config.prm_train
    assert facts["kind"] == name
    if name == "generative_verifier":
        vocabulary = load_checkpoint(str(tmp_path / "model")).encoding.tokenizer.get_vocab()
        assert (facts["yes"], facts["no"], facts["verdict_ids"]) == (
            "Yes",
            "No",
            [vocabulary["N"], vocabulary["Y"]],
        )
    if name == "implicit_prm":
        reference = AutoModelForCausalLM.from_pretrained(tmp_path / "model", subfolder=facts["reference"])
        with torch.no_grad():
            assert torch.equal(
                reference(input_ids=ids).logits,
                AutoModelForCausalLM.from_pretrained(tiny_policy)(input_ids=ids).logits,
            )


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        (
            "prm",
            "orm",
            "no PrmRow: no field completions; .*; a checkpoint of kind prm takes rows of kind prm",
        ),
        (
            "orm",
            "prm",
            "no OrmRow: no field completion; .*; a checkpoint of kind orm takes rows of kind orm or orm_pairs",  # noqa: E501
        ),
        (
            "orm",
            "orm_history",
            "got rows with earlier attempts; a checkpoint of kind orm takes rows of kind orm or orm_pairs",
        ),
        (
            "orm_history",
            "orm",
            "got rows without earlier attempts; a checkpoint of kind orm takes rows of kind orm_history",
        ),
        (
            "revision",
            "orm_history",
            "no RevisionRow: no field kind; .*; a checkpoint of kind revision takes rows of kind revision",
        ),
        (
            "implicit_prm",
            "orm_pairs",
            "no OrmRow: no field completion; .*; a checkpoint of kind implicit_prm takes rows of kind orm",
        ),
        (
            "generative_verifier",
            "revision",
            "a checkpoint of kind generative_verifier takes rows of kind prm",
        ),
    ],
)
def test_rows_of_another_kind_are_refused(name, rows, message, project, tmp_path):
    folder = project(name)
    where = (
        "--checkpoint",
        str(folder / name),
        "--rows",
        str(folder / f"{rows}.jsonl"),
        "--output",
        str(tmp_path / "model"),
    )
    with pytest.raises(InputError, match=message):
        publish.main([*where, "--license", "mit"])
    assert list(tmp_path.iterdir()) == []


def test_an_orm_from_single_solutions_is_compared_on_both_sides_of_pairs(project, tmp_path):
    folder = project("orm")
    where = (
        "--checkpoint",
        str(folder / "orm"),
        "--rows",
        str(folder / "orm_pairs.jsonl"),
        "--output",
        str(tmp_path / "model"),
    )
    publish.main([*where, "--license", "mit"])
    n_held_out = json.loads((folder / "orm" / "training" / "report.json").read_text())["n_validation_rows"]
    assert (
        f"score {2 * n_held_out} solutions ({2 * n_held_out} scores)"
        in (tmp_path / "model" / "README.md").read_text()
    )


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("prm", "SCORE_TOLERANCES"),
        ("implicit_prm", "LOGIT_TOLERANCES"),
        ("orm_pairs", "LOGIT_TOLERANCES"),
        ("revision", "LOGIT_TOLERANCES"),
    ],
)
def test_numbers_that_are_not_those_of_the_checkpoint_stop_everything(
    name, table, project, tmp_path, monkeypatch
):
    monkeypatch.setitem(getattr(tolerances, table), "bfloat16", 1e-7)
    with pytest.raises(
        RuntimeError, match=r"scores differ by up to .* expected at most 1e-07, in the mean 1e-08"
    ):
        publish_to(project(name), name, tmp_path / "model", "--dtype", "bfloat16")
    assert list(tmp_path.iterdir()) == []


def test_many_scores_that_all_differ_a_little_are_not_those_of_the_checkpoint(runs, tmp_path, monkeypatch):
    many, few = bounds(16, 0.05), bounds(15, 0.05)
    assert (str(many), str(few)) == ("at most 0.05, in the mean 0.005", "at most 0.05")
    assert many.hold(0.04, 0.004)
    assert not many.hold(0.04, 0.006)
    assert few.hold(0.04, 0.006)  # in a few scores a large one decides the mean
    assert not many.hold(0.06, 0.004)
    for each in (many, few):
        assert not each.hold(math.nan, math.nan)
        assert not each.hold(max([0.0, math.nan, 0.0]), sum([0.0, math.nan, 0.0]) / 3)  # max gives 0.0
    monkeypatch.setattr(tolerances, "MEAN_SHARE", 1e-7)
    with pytest.raises(
        RuntimeError,
        match=r"30 scores differ by up to .*, in the mean .*, expected at most 0\.05, in the mean 5e-09",
    ):
        publish_to(runs, "prm", tmp_path / "model", "--dtype", "bfloat16")
    assert list(tmp_path.iterdir()) == []


def test_a_weight_or_a_score_that_is_no_number_stops_everything_wherever_it_stands(runs, tmp_path):
    original = load_checkpoint(str(runs / "prm"))
    original.model.get_input_embeddings().weight.data[9] = math.nan
    with pytest.raises(
        InputError, match=r"1 of its weights hold NaN or infinite numbers \(model.embed_tokens.weight\)"
    ):
        export_checkpoint(original, tmp_path, [PATH])
    assert not bounds(9, 1e-5).hold(math.nan, math.nan)
    assert not bounds(9, 1e-5).hold(0.0, math.nan)  # a maximum may miss it
    assert bounds(9, 1e-5).hold(0.0, 0.0)


def test_paths_beyond_the_context_are_left_out(project, tmp_path, caplog):
    """The tiny model has a context of 256 tokens."""
    folder = project("revision")
    rows = (folder / "revision.jsonl").read_text().splitlines(keepends=True)
    chats = [json.loads(row) for row in rows]
    for chat in chats:
        chat["completion"][0]["content"] = "7 times 2 = 14, keep 4\n" * 40
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    where = (
        "--checkpoint",
        str(folder / "revision"),
        "--rows",
        str(tmp_path / "long.jsonl"),
        "--output",
        str(tmp_path / "model"),
    )
    with pytest.raises(InputError, match=r"none of \d+ solutions fits into the context of 256 tokens"):
        publish.main([*where, "--license", "mit"])


def test_a_language_model_gets_a_padding_token_of_its_own(project, tmp_path):
    original = load_checkpoint(str(project("revision") / "revision"))
    tokenizer = original.encoding.tokenizer
    own = tokenizer.pad_token_id
    tokenizer.pad_token = tokenizer.eos_token
    export_checkpoint(original, tmp_path, [PATH])
    config = json.loads((tmp_path / "config.json").read_text())
    assert (
        config["pad_token_id"],
        json.loads((tmp_path / "generation_config.json").read_text())["pad_token_id"],
    ) == (own, own)
    assert load_checkpoint(str(tmp_path)).encoding.tokenizer.pad_token_id == own != config["eos_token_id"]


def test_a_language_model_without_any_padding_token_is_refused(project, monkeypatch):
    original = load_checkpoint(str(project("revision") / "revision"))
    monkeypatch.setattr(language_models, "PADDINGS", ("<unk>",))
    original.encoding.tokenizer.pad_token = None
    with pytest.raises(
        InputError, match=r"pad_token_id None, eos_token_id 1; expected a padding token of its own"
    ):
        original.kind.settle_padding(original)


def test_the_card_says_what_was_measured_and_nothing_of_this_machine(runs, tmp_path):
    card = publish_to(runs, "prm", tmp_path / "model", "--title", "Judge of sums", "--datasets", "me/sums")
    front = yaml.safe_load(card.split("---\n")[1])
    report = json.loads((runs / "prm" / "training" / "report.json").read_text())
    (result,) = front["model-index"][0]["results"]
    assert {"type": "loss", "value": report["validation"][-1]["loss"]} in result["metrics"]
    assert front["datasets"] == ["me/sums"]
    assert "# Judge of sums" in card
    assert f"| training labels | {report['n_training_labels']} |" in card
    assert "Of the published weights, on questions that were not trained on:" in card
    assert re.search(r"\| Brier score \| [\d.e-]+ \([\d.e-]+ to [\d.e-]+\) \| 10 \|", card)
    assert re.search(r"\| AUROC inside a question \| [01]\S* \(.*\) \| 10 \|", card)
    served = re.search(r"--pooler-config '(.*)'", card)
    assert served is not None
    assert json.loads(served[1]) == {"task": "token_classify", "tok_pooling_type": "STEP", "step_tag_id": 4}
    assert str(tmp_path) not in card
    assert str(runs) not in card


def quality_table(card: str) -> list[str]:
    """Names of the rows of the table of published scores."""
    _, _, table = card.partition("Of the published weights, on questions")
    return re.findall(r"^\| ([\w ]+) \| [\d.e-]+ \(", table, re.MULTILINE)


def change_report(checkpoint: Path, **settings: object) -> None:
    path = checkpoint / "training" / "report.json"
    report = json.loads(path.read_text())
    path.write_text(json.dumps(report | {"config": report["config"] | settings}))


def test_a_card_has_a_brier_score_where_a_score_is_the_probability_of_a_label(project, tmp_path):
    """Not of a PRM on values, whose labels are values; nor after a loss that orders alone, or of a reward,
    unless calibration gave a zero point.
    """
    shutil.copytree(project("prm"), tmp_path / "project")
    runs = tmp_path / "project"
    rows = [json.loads(line) for line in (runs / "prm.jsonl").read_text().splitlines()]
    counts = {"n_correct": [8, 6, 1], "n_rollouts": [8, 8, 8]}
    (runs / "prm.jsonl").write_text("".join(json.dumps(row | counts) + "\n" for row in rows))
    card = publish_to(runs, "prm", tmp_path / "hard")
    assert "the probability that the step is good, in the sense below." in card
    assert quality_table(card) == ["AUROC inside a question", "Brier score"]
    change_report(runs / "prm", label_kind="soft")
    card = publish_to(runs, "prm", tmp_path / "soft")
    assert "an estimate of the value of the solution up to it, in the sense below." in card
    assert quality_table(card) == ["AUROC inside a question"]
    change_report(runs / "prm", label_kind="hard", loss="pqm")
    card = publish_to(runs, "prm", tmp_path / "pqm")
    assert "a higher score means a better step. Take none for a probability." in card
    assert quality_table(card) == ["AUROC inside a question"]
    store_calibration(runs / "prm", Calibration("platt", 0.5, 0.25), ())
    card = publish_to(runs, "prm", tmp_path / "pqm_platt")
    assert "the probability that the step is good, in the sense below, once calibrated." in card
    assert quality_table(card) == ["AUROC inside a question", "Brier score"]
    worth = Quality(log_loss=0.5, brier=0.2, ece=0.1)
    fit = StoredCalibration(
        Calibration("platt", 0.5, 0.25), 5, 5, 20, worth, worth, (), LabelAlgebra(label_kind="soft")
    )
    fit.write(runs / "prm" / "calibration.json")
    card = publish_to(runs, "prm", tmp_path / "calibrated_for_values")
    assert (
        "calibrated on held-out questions for another label than that of the training, share of right "
        "rollouts from the end" in card
    )
    assert "an estimate of the value of the solution up to it, in the sense below, once calibrated." in card
    assert quality_table(card) == ["AUROC inside a question"]
    replace(fit, label_settings=None).write(runs / "prm" / "calibration.json")
    with pytest.raises(
        InputError,
        match=r"calibration\.json: no label_settings; expected those of `prm-train calibrate`: run it again",
    ):
        publish_to(runs, "prm", tmp_path / "unknown")
    shutil.copytree(project("orm_pairs") / "orm_pairs", runs / "orm_pairs", dirs_exist_ok=True)
    assert quality_table(publish_to(runs, "orm_pairs", tmp_path / "calibrated")) == [
        "AUROC inside a question",
        "Brier score",
    ]
    store_calibration(runs / "orm_pairs", Calibration(), ())
    assert quality_table(publish_to(runs, "orm_pairs", tmp_path / "reward")) == ["AUROC inside a question"]


def test_the_card_of_a_revision_model_says_which_chains_its_rates_leave_out(project, tmp_path):
    shutil.copytree(project("revision"), tmp_path / "project")
    path = tmp_path / "project" / "revision" / "training" / "report.json"
    report = json.loads(path.read_text())
    report["revisions"] |= {"n_chains": 10, "n_shortened": 3, "n_left_out": 2, "n_unknown": 4}
    path.write_text(json.dumps(report))
    card = publish_to(tmp_path / "project", "revision", tmp_path / "model")
    assert (
        "The next attempt after 10 held-out chains, as they are and with a right last attempt: 20 attempts, "
        "4 of them without a verdict "
        "and 3 after a chain without its oldest attempts, which the context did not hold. Chains left out, "
        "which even with one attempt "
        "left no room for the next: 2."
    ) in card


def test_a_checkpoint_without_a_report_is_published_and_its_card_says_so(project, tmp_path):
    for name in ("prm", "orm", "revision"):
        shutil.copytree(project(name) / name, tmp_path / name)
        shutil.rmtree(tmp_path / name / "training")
        where = ("--checkpoint", str(tmp_path / name), "--rows", str(project(name) / f"{name}.jsonl"))
        publish.main([*where, "--output", str(tmp_path / "public" / name), "--license", "mit"])
        card = (tmp_path / "public" / name / "README.md").read_text()
        assert "The checkpoint came without a training report." in card
        assert "From which model is not recorded here." in card
        assert "base_model" not in card
        assert quality_table(card) == []  # nobody knows which questions were trained on
    assert "Take none for a probability." in (tmp_path / "public" / "prm" / "README.md").read_text()


@pytest.mark.parametrize(
    ("model", "was_folder", "base_model", "title"),
    [
        ("base", False, None, "Outcome reward model from base"),
        ("user/sft", False, "user/sft", "Outcome reward model from user/sft"),
        # A folder where it was trained, and none here
        ("user/sft", True, None, "Outcome reward model from user/sft"),
        ("runs/sft", False, None, "Outcome reward model from runs/sft"),  # a folder here
        # No name on the Hub, whether it is still there or not
        ("runs/my/sft", False, None, "Outcome reward model from runs/my/sft"),
        ("../elsewhere/sft", False, None, "Outcome reward model from sft"),
    ],
)
def test_only_a_name_of_the_hub_is_its_base_model(
    model, was_folder, base_model, title, project, tmp_path, monkeypatch
):
    shutil.copytree(project("orm") / "orm", tmp_path / "orm")
    change_report(tmp_path / "orm", model=model)
    report = tmp_path / "orm" / "training" / "report.json"
    found = json.loads(report.read_text())
    assert found["model_is_folder"] is True  # the tiny policy
    report.write_text(json.dumps(found | {"model_is_folder": was_folder}))
    (tmp_path / "runs" / "sft").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    where = ("--checkpoint", "orm", "--rows", str(project("orm") / "orm.jsonl"), "--output", "public")
    publish.main([*where, "--license", "mit"])
    card = (tmp_path / "public" / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1]).get("base_model") == base_model
    assert f"# {title}\n" in card


def test_weights_in_16_bits_are_compared_and_the_difference_is_told(runs, tmp_path):
    card = publish_to(runs, "prm", tmp_path / "model", "--dtype", "bfloat16")
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "model")
    assert model.dtype == torch.bfloat16
    assert re.search(r"as the trained checkpoint does, to within \d\.\de-0[2-5]", card)


@pytest.mark.parametrize("name", ["prm", "implicit_prm"])
def test_the_code_of_a_card_computes_weights_in_16_bits_in_float32(
    name, project, tmp_path, monkeypatch, capsys
):
    card = publish_to(project(name), name, tmp_path / "model", "--dtype", "bfloat16")
    printed, (said,) = run_card(card, tmp_path, monkeypatch, capsys)
    assert said in printed


def test_the_two_layer_layout_scores_the_same(runs, tmp_path):
    card = publish_to(runs, "prm", tmp_path / "model", "--layout", "qwen_prm")
    assert "Qwen2ForProcessRewardModel" in card
    assert json.loads((tmp_path / "model" / "config.json").read_text())["architectures"] == [
        "Qwen2ForProcessRewardModel"
    ]
    trained, written = load_checkpoint(str(runs / "prm")), load_checkpoint(str(tmp_path / "model"))
    # The first layer's weights and bias
    assert trained.model.num_parameters() + 16 * 16 + 16 == written.model.num_parameters()
    assert f"`Qwen2ForProcessRewardModel`, {written.model.num_parameters():,} parameters" in card
    assert isinstance(written.model.score, torch.nn.Sequential)
    found, expected = (each.kind.shown(each.facts, each.logits(PATH)) for each in (written, trained))
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_two_layer_layout_says_which_precision_its_weights_have(runs, tmp_path):
    publish_to(runs, "prm", tmp_path / "model", "--layout", "qwen_prm", "--dtype", "bfloat16")
    assert {tensor.dtype for tensor in load_file(tmp_path / "model" / "model.safetensors").values()} == {
        torch.bfloat16
    }
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"


def test_the_two_layer_layout_is_for_prms_alone(project, tmp_path):
    with pytest.raises(InputError, match="layout qwen_prm holds a PRM on Qwen2, got kind orm on qwen2"):
        publish_to(project("orm"), "orm", tmp_path / "model", "--layout", "qwen_prm")


def test_two_layers_with_relu_hold_one_linear_map():
    weight, bias = torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.0, 3.0, -1.0, 2.0]]), torch.tensor([0.25, -1.0])
    layers = two_layer_head(weight, bias)
    x = torch.tensor([2.0, 1.0, -4.0, 3.0])
    hidden = torch.relu(layers["0.weight"] @ x + layers["0.bias"])
    assert hidden.tolist() == [0.0, 2.0, 13.0, 0.0]  # w_0 x = -2, w_1 x = 13
    assert (layers["2.weight"] @ hidden + layers["2.bias"]).tolist() == [-1.75, 12.0]


def test_padding_with_eos_is_refused_and_nothing_is_left(runs, tmp_path):
    shutil.copytree(runs / "prm", tmp_path / "prm")
    config = json.loads((tmp_path / "prm" / "config.json").read_text())
    (tmp_path / "prm" / "config.json").write_text(
        json.dumps(config | {"pad_token_id": config["eos_token_id"]})
    )
    with pytest.raises(
        InputError, match=r"pad_token_id 1, eos_token_id 1; expected a padding token of its own"
    ):
        publish.main(
            [
                *("--checkpoint", str(tmp_path / "prm"), "--rows", str(runs / "prm.jsonl")),
                *("--output", str(tmp_path / "model"), "--license", "mit"),
            ]
        )
    assert [path.name for path in tmp_path.iterdir()] == ["prm"]


def test_a_tokenizer_that_cuts_otherwise_is_refused(runs, tmp_path):
    original = load_checkpoint(str(runs / "prm"))
    export_checkpoint(original, tmp_path, [PATH])
    saved = json.loads((tmp_path / "tokenizer.json").read_text())
    saved["model"]["merges"] = saved["model"]["merges"][:2]
    (tmp_path / "tokenizer.json").write_text(json.dumps(saved))
    with pytest.raises(
        RuntimeError,
        match=r"gives other ids for the path that begins 'Start with 3: plus 4, times 2\.'; nothing was publ",
    ):
        check_tokenizer(tmp_path, original.encoding, kind_named("prm"), [PATH])


@pytest.mark.parametrize("name", ["revision", "generative_verifier"])
def test_a_chat_template_that_got_lost_or_changed_is_refused(name, project, tmp_path):
    original = load_checkpoint(str(project(name) / name))
    export_checkpoint(original, tmp_path, [PATH])
    template = (tmp_path / "chat_template.jinja").read_text()
    (tmp_path / "chat_template.jinja").write_text(template + "{# another #}")
    with pytest.raises(RuntimeError, match=r"has chat_template .*another.*; nothing was published"):
        check_tokenizer(tmp_path, original.encoding, original.kind, [PATH])


def test_another_folder_is_not_replaced(runs, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("keep me")
    with pytest.raises(InputError, match="exists and is no model of this command"):
        publish_to(runs, "prm", tmp_path / "thesis")
    publish_to(runs, "prm", tmp_path / "model", "--title", "First")
    assert "# Second" in publish_to(runs, "prm", tmp_path / "model", "--title", "Second")


PUSH = """
import asyncio, os, sys, torch, transformers
from data_gen.settings.parse import run_command
from prm_train import load_scorer
from prm_train.publish import main

async def score(name):
    async with load_scorer(name).session("Start with 3: plus 4.") as tree:
        return await tree.score(tree.extend(tree.root, "3 plus 4 = 7"))

ids = torch.tensor([[5, 6, 7, 4]])
for name, class_name in (("prm", "AutoModelForTokenClassification"), ("implicit_prm", "AutoModelForCausalLM")):
    trained, rows, output = sys.argv[1:4]
    sys.argv[1:4] = []
    main(["--checkpoint", trained, "--rows", rows, "--output", output, "--license", "mit", "--repo", f"me/{name}"])
    local, pushed = (getattr(transformers, class_name).from_pretrained(each) for each in (trained, f"me/{name}"))
    assert torch.equal(local(input_ids=ids).logits, pushed(input_ids=ids).logits)
    assert asyncio.run(score(f"me/{name}")) == asyncio.run(score(trained))
    print("same", name)
os.environ["HF_TOKEN"] = "wrong"
checkpoint, rows, output = sys.argv[1:4]
arguments = ["--checkpoint", checkpoint, "--rows", rows, "--output", output, "--license", "mit", "--repo", "me/orm"]
run_command(lambda: main(arguments), "publish")
"""  # noqa: E501


def test_pushed_models_load_by_name_and_score_the_same_and_a_wrong_token_is_told_in_one_line(
    project, tmp_path
):
    """In one process, since the client reads the address of the Hub when it is imported."""
    words: list[str] = []
    for name in ("prm", "implicit_prm", "orm"):
        words += [str(project(name) / name), str(project(name) / f"{ROWS[name]}.jsonl"), str(tmp_path / name)]
    hub = Hub({"secret": Account("me")})
    for name in ("prm", "implicit_prm"):
        hub.fail("POST", f"/models/me/{name}/commit/main", status=500)  # once: the push is tried again
    with serve(hub) as url:
        environment = os.environ | client_settings(url, home=tmp_path / "home", token="secret")
        run = subprocess.run(
            [sys.executable, "-c", PUSH, *words], env=environment, capture_output=True, text=True, check=False
        )
    assert [line for line in run.stdout.splitlines() if line.startswith("same")] == [
        "same prm",
        "same implicit_prm",
    ], run.stderr[-2000:]
    files = {"README.md", "config.json", "model.safetensors", "tokenizer.json"}
    assert set(hub.repositories["model", "me/prm"].files) >= files
    assert set(hub.repositories["model", "me/implicit_prm"].files) >= files | {"reference/model.safetensors"}
    assert run.returncode == 2
    told = r"me/orm: .* does not know the token of HF_TOKEN \(401: .*\); expected a valid access token$"
    assert re.search(told, run.stderr.strip().splitlines()[-1])
    assert ("model", "me/orm") not in hub.repositories
    assert (tmp_path / "orm" / "config.json").exists()  # the folder stays
