"""Checkpoints of a real small training, published into a folder and pushed to the loopback Hub, loaded back by their users' means."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForTokenClassification

from data_gen.config import InputError
from data_gen.rows import OrmRow, PrmRow, write_rows
from prm_train import publish, train_orm, train_prm
from prm_train.export import ScoredPath, check_tokenizer, export_checkpoint, path_scores, read_qwen_prm, two_layer_head
from prm_train.modeling import load_checkpoint
from tests.hub_server import Account, Hub, client_settings, serve

STEPS = ("3 plus 4 = 7", "7 times 2 = 14, keep 4", "Answer: 7 4")


@pytest.fixture(scope="module")
def runs(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prm/, orm/ and their rows."""
    folder = tmp_path_factory.mktemp("project")
    questions = [f"Start with {i}: plus 4, times 2." for i in range(12)]
    labels = (True, True, False)
    nothing = ((0,) * 3, (0,) * 3, (0,) * 3, ("fixed",) * 3, ("none",) * 3)
    write_rows(folder / "prm.jsonl", [PrmRow(f"p{i}", question, STEPS, labels, *nothing) for i, question in enumerate(questions)])
    write_rows(folder / "orm.jsonl", [OrmRow(f"p{i}", question, "\n".join(STEPS), i % 2 == 0) for i, question in enumerate(questions)])
    for kind, train in (("prm", train_prm.main), ("orm", train_orm.main)):
        settings = ("--model", str(tiny_policy), "--validation_share", "0.3", "--use_cpu", "true")
        train(["--rows", str(folder / f"{kind}.jsonl"), "--output", str(folder / kind), *settings])
    return folder


def publish_to(runs: Path, kind: str, output: Path, *more: str) -> str:
    """The card."""
    where = ("--checkpoint", str(runs / kind), "--rows", str(runs / f"{kind}.jsonl"), "--output", str(output))
    publish.main([*where, "--license", "mit", *more])
    return (output / "README.md").read_text()


@pytest.mark.parametrize(("kind", "problem_type"), [("prm", None), ("orm", "multi_label_classification")])
def test_the_code_of_the_card_prints_what_it_says(kind, problem_type, runs, tmp_path):
    card = publish_to(runs, kind, tmp_path / "model")
    transformers_code, own_code = re.findall(r"^```python\n(.*?)^```$", card, re.DOTALL | re.MULTILINE)
    said = re.search(r"^prints `(\[.*\])`", card, re.MULTILINE)
    assert said is not None
    run = subprocess.run(
        [sys.executable, "-c", transformers_code + own_code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    printed, last = run.stdout.splitlines()[-2:]
    assert printed == said[1]
    assert float(last) == pytest.approx(json.loads(printed)[-1], abs=2e-4)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["prm_train"]["kind"] == kind
    assert config.get("problem_type") == problem_type
    assert config["pad_token_id"] != config["eos_token_id"]


def test_the_card_says_what_was_measured_and_nothing_of_this_machine(runs, tmp_path):
    card = publish_to(runs, "prm", tmp_path / "model", "--title", "Judge of sums", "--datasets", "me/sums")
    front = yaml.safe_load(card.split("---\n")[1])
    report = json.loads((runs / "prm" / "training" / "report.json").read_text())
    (result,) = front["model-index"][0]["results"]
    assert {"type": "loss", "value": report["validation"][-1]["loss"]} in result["metrics"]
    assert front["datasets"] == ["me/sums"]
    assert "# Judge of sums" in card
    assert f"| training labels | {report['n_training_labels']} |" in card
    assert re.search(r"\| Brier score, \d+ questions \(95 % interval\) \| 0\.\d+ \(0\.\d+ to 0\.\d+\) \|", card)
    served = re.search(r"--pooler-config '(.*)'", card)
    assert served is not None
    assert json.loads(served[1]) == {"task": "token_classify", "tok_pooling_type": "STEP", "step_tag_id": 4}
    assert str(tmp_path) not in card
    assert str(runs) not in card


def test_weights_in_16_bits_are_compared_and_the_difference_is_told(runs, tmp_path):
    card = publish_to(runs, "prm", tmp_path / "model", "--dtype", "bfloat16")
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "model")
    assert model.dtype == torch.bfloat16
    assert re.search(r"as the trained checkpoint does, to within \d\.\de-0[2-5]", card)


def test_the_two_layer_layout_scores_the_same(runs, tmp_path):
    card = publish_to(runs, "prm", tmp_path / "model", "--layout", "qwen_prm")
    assert "Qwen2ForProcessRewardModel" in card
    assert json.loads((tmp_path / "model" / "config.json").read_text())["architectures"] == ["Qwen2ForProcessRewardModel"]
    model, encoding, facts = load_checkpoint(str(runs / "prm"))
    path = ScoredPath("Start with 3: plus 4, times 2.", STEPS)
    expected = path_scores(model, encoding, facts, path)
    assert path_scores(read_qwen_prm(tmp_path / "model"), encoding, facts, path) == pytest.approx(expected, abs=1e-6)


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
    (tmp_path / "prm" / "config.json").write_text(json.dumps(config | {"pad_token_id": config["eos_token_id"]}))
    with pytest.raises(InputError, match=r"pad_token_id 1, eos_token_id 1; expected a padding token of its own"):
        publish.main(
            [
                *("--checkpoint", str(tmp_path / "prm"), "--rows", str(runs / "prm.jsonl")),
                *("--output", str(tmp_path / "model"), "--license", "mit"),
            ]
        )
    assert [path.name for path in tmp_path.iterdir()] == ["prm"]


def test_a_tokenizer_that_cuts_otherwise_is_refused(runs, tmp_path):
    _, encoding, _ = load_checkpoint(str(runs / "prm"))
    export_checkpoint(str(runs / "prm"), tmp_path, [ScoredPath("Start with 3: plus 4.", STEPS)])
    saved = json.loads((tmp_path / "tokenizer.json").read_text())
    saved["model"]["merges"] = saved["model"]["merges"][:2]
    (tmp_path / "tokenizer.json").write_text(json.dumps(saved))
    with pytest.raises(RuntimeError, match=r"gives other ids for the path that begins 'Start with 3: plus 4\.'; nothing was published"):
        check_tokenizer(tmp_path, encoding, [ScoredPath("Start with 3: plus 4.", STEPS)])


def test_another_folder_is_not_replaced(runs, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("keep me")
    with pytest.raises(InputError, match="exists and is no model of this command"):
        publish_to(runs, "prm", tmp_path / "thesis")
    publish_to(runs, "prm", tmp_path / "model", "--title", "First")
    assert "# Second" in publish_to(runs, "prm", tmp_path / "model", "--title", "Second")


@pytest.fixture
def hub() -> Hub:
    return Hub({"secret": Account("me")})


@pytest.fixture
def url(hub: Hub) -> Iterator[str]:
    with serve(hub) as address:
        yield address


def test_a_pushed_model_loads_by_name_and_scores_the_same(runs, hub, url, tmp_path):
    where = ["--checkpoint", str(runs / "prm"), "--rows", str(runs / "prm.jsonl"), "--output", str(tmp_path / "model")]
    code = f"""
import asyncio, torch
from transformers import AutoModelForTokenClassification
from prm_train.incremental import load_scorer
from prm_train.publish import main
main({[*where, "--license", "mit", "--repo", "me/prm"]!r})
local, pushed = (AutoModelForTokenClassification.from_pretrained(name) for name in ({str(runs / "prm")!r}, "me/prm"))
ids = torch.tensor([[5, 6, 7, 4]])
assert torch.equal(local(input_ids=ids).logits, pushed(input_ids=ids).logits)
async def score(name):
    async with load_scorer(name).session("Start with 3: plus 4.") as tree:
        return await tree.score(tree.extend(tree.root, "3 plus 4 = 7"))
assert asyncio.run(score("me/prm")) == asyncio.run(score({str(runs / "prm")!r}))
print("same")
"""
    hub.fail("POST", "/commit/main", status=500)  # once: the push is tried again
    environment = os.environ | client_settings(url, home=tmp_path / "home", token="secret")
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.splitlines()[-1] == "same"
    assert set(hub.repositories["model", "me/prm"].files) >= {"README.md", "config.json", "model.safetensors", "tokenizer.json"}


def test_a_wrong_token_is_told_in_one_line_and_the_folder_stays(runs, url, tmp_path):
    where = ["--checkpoint", str(runs / "orm"), "--rows", str(runs / "orm.jsonl"), "--output", str(tmp_path / "model")]
    environment = os.environ | client_settings(url, home=tmp_path / "home", token="wrong")
    command = [sys.executable, "-m", "prm_train.publish", *where, "--license", "mit", "--repo", "me/orm"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert re.search(r"me/orm: .* does not know the token of HF_TOKEN \(401: .*\); expected a valid access token$", run.stderr.strip())
    assert (tmp_path / "model" / "config.json").exists()
