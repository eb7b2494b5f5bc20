"""Rows of a real small run, published into a folder and pushed to the loopback Hub, and read back by
`datasets` each time.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import yaml
from datasets import load_dataset

from data_gen import build, label, publish_data, sample
from data_gen.files.jsonl import read_jsonl, write_jsonl
from data_gen.publish_data import RowsFile, check_readable, find_rows, write_shards
from data_gen.rows.layouts import PrmRow, features
from data_gen.settings.errors import InputError
from tests.hub_server import Account, Hub, client_settings, serve


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of eight problems that the simulated policy worked on."""
    run = tmp_path_factory.mktemp("project") / "run"
    sample.main(
        [
            "--output",
            str(run),
            "--policy.model",
            "simulated",
            "--problems.n",
            "8",
            "--problems.split",
            "train",
        ]
    )
    label.main(["--run", str(run), "--n_rollouts", "4"])
    build.main(["--runs", str(run), "--output", str(run / "rows"), "--validation_share", "0.3"])
    return run / "rows"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def publish(rows: Path, output: Path, *arguments: str) -> str:
    """Publish into a folder; returns the card."""
    publish_data.main(["--rows", str(rows), "--output", str(output), "--license", "mit", *arguments])
    return (output / "README.md").read_text()


def lines(path: Path) -> list[dict[str, Any]]:
    return [fields for _, fields in read_jsonl(path)]


def code_block(card: str) -> str:
    return re.findall(r"^```python\n(.*?)^```$", card, re.DOTALL | re.MULTILINE)[0]


# --- the folder


def test_the_folder_loads_as_the_rows(rows: Path, tmp_path: Path):
    card = publish(rows, tmp_path / "dataset")
    listed = json.loads((rows / "build.json").read_text())["files"]
    assert set(listed) == {"prm", "orm"}
    for kind, splits in listed.items():
        loaded = load_dataset(str(tmp_path / "dataset"), kind)
        assert {split: list(loaded[split]) for split in loaded} == {
            split: lines(rows / name) for split, name in splits.items()
        }
    configs = yaml.safe_load(card.split("---\n")[1])["configs"]
    assert [config["config_name"] for config in configs] == ["prm", "orm"]
    assert "--method first_error --min_doubt 0.0 --min_root_share 0.0 --n_check 0 --n_rollouts 4\n" in card
    assert "| policy_id | `simulated-arithmetic-1` " in card
    assert "The runs worked on 8 problems; 8 of them have rows." in card


def test_the_code_of_the_card_runs_where_it_says(rows: Path, tmp_path: Path):
    code = code_block(publish(rows, tmp_path / "dataset"))
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"HF_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown == f"{lines(rows / 'prm-train.jsonl')[0]}\n"


def test_rows_are_spread_over_shards_in_their_order(rows: Path, tmp_path: Path):
    some = [PrmRow(str(i), "1?", ("x",), (None,), (0,), (0,), (0,), ("fixed",), ("none",)) for i in range(5)]
    write_shards(some, features(PrmRow), tmp_path / "prm" / "train", n_shards=3)
    shards = sorted((tmp_path / "prm").iterdir())
    assert [shard.name for shard in shards] == [f"train-0000{i}-of-00003.parquet" for i in range(3)]
    assert [pyarrow.parquet.read_table(shard)["problem_id"].to_pylist() for shard in shards] == [
        ["0"],
        ["1", "2"],
        ["3", "4"],
    ]
    loaded = load_dataset(str(tmp_path / "prm"), split="train")
    assert list(loaded)[4] == {
        name: list(value) if isinstance(value, tuple) else value for name, value in asdict(some[4]).items()
    }
    assert loaded.features == features(PrmRow)  # a column of nulls keeps its type


def test_rows_from_elsewhere_are_found_by_name_and_an_empty_file_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    write_jsonl(tmp_path / "rows" / "orm.jsonl", [{"prompt": "1?", "completion": "1", "label": True}])
    write_jsonl(tmp_path / "rows" / "prm.jsonl", [])
    card = publish(tmp_path / "rows", tmp_path / "dataset")
    (row,) = load_dataset(str(tmp_path / "dataset"), "orm", split="train")
    assert (row["prompt"], row["completion"], row["label"]) == ("1?", "1", True)
    assert "The rows came without a record of how they were made." in card
    assert "prm.jsonl: holds no row and is left out" in caplog.text


def test_no_rows_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="no rows to publish"):
        find_rows(tmp_path)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (
            {"files": {"prm": {"../../x": "orm.jsonl"}}},
            "files: prm: ../../x: got '../../x': Value error, a split is letters, digits and _",
        ),
        ({"files": {"orm": {"/x": "orm.jsonl"}}}, "files: orm: /x: got '/x': Value error, a split is"),
        (
            {"files": {"orm": {"train": "../secret.jsonl"}}},
            "files: orm: train: got '../secret.jsonl': Value error, no name of a file",
        ),
        (
            {"files": {"orm": {"train": ".."}}},
            "files: orm: train: got '..': Value error, no name of a file in this folder",
        ),
        ({"files": {"../x": {"train": "orm.jsonl"}}}, "files: ../x: got '../x': Input should be 'prm', "),
        ({"files": {"orm": ["orm.jsonl"]}}, "files: orm: got ['orm.jsonl']: Input should be an object"),
        ({"files": {"orm": {"train": 3}}}, "files: orm: train: got 3: Input should be a valid string"),
        ({"runs": [{"run": "a"}]}, "runs: 0: no config; expected what `prm-train build` writes"),
        ({"config": {"runs": ["a", "b"]}}, "2 runs in config and 0 described"),
        (["files"], "is damaged: got ['files']: Input should be an object"),
    ],
)
def test_a_record_of_rows_that_leads_elsewhere_is_refused_before_anything_is_read(
    tmp_path: Path, facts: object, said: str
):
    rows = tmp_path / "project" / "rows"
    for path in (rows / "orm.jsonl", rows.parent / "secret.jsonl"):
        write_jsonl(path, [{"prompt": "1?", "completion": "1", "label": True}])
    (rows / "build.json").write_text(json.dumps(facts))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=re.escape(f"{rows / 'build.json'}: {said}")) as caught:
        publish(rows, tmp_path / "dataset")
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_record_of_rows_that_is_no_json_is_refused(tmp_path: Path):
    (tmp_path / "build.json").write_bytes(b'{"files": \xff')
    with pytest.raises(
        InputError, match=r"build\.json: is damaged: Invalid JSON.*; expected what `prm-train build` writes"
    ):
        find_rows(tmp_path)


def test_a_published_folder_is_replaced_and_any_other_is_refused(rows: Path, tmp_path: Path):
    publish(rows, tmp_path / "dataset", "--title", "First")
    assert "# Second" in publish(rows, tmp_path / "dataset", "--title", "Second")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("keep me")
    with pytest.raises(InputError, match="exists and is no dataset of this command"):
        publish(rows, tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["dataset", "other"]


def test_a_failure_leaves_the_old_folder_and_no_other(rows: Path, tmp_path: Path):
    publish(rows, tmp_path / "dataset")
    shutil.copytree(rows, tmp_path / "rows")
    with (tmp_path / "rows" / "orm-train.jsonl").open("a") as file:
        file.write('{"prompt": "1?", "completion": "1", "label": "yes"}\n')
    with pytest.raises(InputError, match=r"orm-train\.jsonl:\d+: no OrmRow: label: got 'yes'"):
        publish(tmp_path / "rows", tmp_path / "dataset")
    assert (tmp_path / "dataset" / "README.md").exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["dataset", "rows"]


def test_reading_back_names_what_differs(rows: Path, tmp_path: Path):
    publish(rows, tmp_path / "dataset")
    changed = lines(rows / "orm-train.jsonl")
    changed[1]["label"] = not changed[1]["label"]
    write_jsonl(tmp_path / "orm.jsonl", changed)
    with pytest.raises(
        InputError,
        match=r"configuration orm, split train: label is (True|False) .* in .*orm\.jsonl:2; nothing was "
        r"published",
    ):
        check_readable([RowsFile(tmp_path / "orm.jsonl", "orm", "train")], tmp_path / "dataset")
    write_jsonl(tmp_path / "orm.jsonl", changed[:1])
    with pytest.raises(InputError, match=r"split train: it has more rows than .*orm\.jsonl; nothing"):
        check_readable([RowsFile(tmp_path / "orm.jsonl", "orm", "train")], tmp_path / "dataset")
    write_jsonl(tmp_path / "orm.jsonl", [*lines(rows / "orm-train.jsonl"), *changed])
    with pytest.raises(InputError, match=r"split train: .*orm\.jsonl has more rows than it; nothing"):
        check_readable([RowsFile(tmp_path / "orm.jsonl", "orm", "train")], tmp_path / "dataset")


# --- what must not be public


def test_the_card_names_no_secret_no_address_and_no_folder_of_the_machine(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JUDGE_API_KEY", "sk-0123456789")
    shutil.copytree(rows, tmp_path / "rows")
    facts = json.loads((rows / "build.json").read_text())
    facts["runs"][0]["config"]["policy"] |= {
        "model": "/home/alice/models/qwen-7b",
        "base_urls": ["http://alice:sk-0123456789@node7.intern:8000/v1"],
        "api_key": "sk-0123456789",
    }
    facts["runs"][0]["config"]["problems"]["source"] = "/home/alice/data/train.jsonl"
    facts["config"]["contamination"] = {"test_sets": ["math500=/home/alice/data/math500.jsonl"]}
    (tmp_path / "rows" / "build.json").write_text(json.dumps(facts))
    card = publish(tmp_path / "rows", tmp_path / "dataset")
    for leak in (
        "sk-0123456789",
        "alice",
        "/home",
        "node7",
        str(tmp_path),
        str(rows.parent.parent),
        "api_key",
    ):
        assert leak not in card
    assert "| policy | `qwen-7b` |" in card
    assert "| problems | `train.jsonl`, split train |" in card
    assert "- math500=math500.jsonl" in card


def test_rows_with_a_secret_are_refused(rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JUDGE_API_KEY", lines(rows / "orm-train.jsonl")[0]["prompt"])
    with pytest.raises(InputError, match=r"holds the value of JUDGE_API_KEY"):
        publish(rows, tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--license", "Apache 2"],
            "license: got 'Apache 2', expected the Hub's name of one, in small letters, as apache-2.0 or mit",
        ),
        (["--license", "mit", "--repo", "steps"], "repo: got 'steps', expected user/name"),
    ],
)
def test_a_setting_that_the_hub_would_refuse_is_refused(arguments: list[str], message: str):
    with pytest.raises(InputError, match=re.escape(message)):
        publish_data.main(["--rows", "rows", "--output", "dataset", *arguments])


# --- the Hub


@pytest.fixture
def hub() -> Hub:
    return Hub({"secret": Account("me")})


@pytest.fixture
def url(hub: Hub) -> Iterator[str]:
    with serve(hub) as address:
        yield address


def run_client(code: str, url: str, home: Path) -> list[str]:
    environment = os.environ | client_settings(url, home=home, token="secret")
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_a_push_can_be_loaded_by_name_updated_and_repeated(rows: Path, hub: Hub, url: str, tmp_path: Path):
    shutil.copytree(rows, tmp_path / "rows")
    shorter = lines(rows / "prm-train.jsonl")[:1]
    arguments = [
        "--rows",
        str(tmp_path / "rows"),
        "--output",
        str(tmp_path / "dataset"),
        "--license",
        "mit",
        "--repo",
        "me/steps",
    ]
    code = f"""
import json
from datasets import load_dataset
from data_gen.files.jsonl import write_jsonl
from data_gen.publish_data import main
main({arguments!r})
print(json.dumps(list(load_dataset("me/steps", "prm", split="train"))))
print(json.dumps(list(load_dataset("me/steps", "orm", split="validation"))))
main({arguments!r})
write_jsonl({str(tmp_path / "rows" / "prm-train.jsonl")!r}, {shorter!r})
main({[*arguments, "--title", "Fewer"]!r})
print(json.dumps(list(load_dataset("me/steps", "prm", split="train"))))
"""
    hub.fail("POST", "/commit/main", status=500)  # once: the push is tried again
    prm, orm, after = map(json.loads, run_client(code, url, tmp_path / "home"))
    assert (prm, orm, after) == (
        lines(rows / "prm-train.jsonl"),
        lines(rows / "orm-validation.jsonl"),
        shorter,
    )
    repository = hub.repositories["dataset", "me/steps"]
    assert repository.is_private
    # Empty, first push, changed rows: pushing the same again makes no commit
    assert len(repository.commits) == 3
    assert set(repository.files) == {
        "README.md",
        *(
            f"{kind}/{split}-00000-of-00001.parquet"
            for kind in ("prm", "orm")
            for split in ("train", "validation")
        ),
    }
    card = repository.files["README.md"].content.decode()
    assert run_client(code_block(card), url, tmp_path / "other home") == [str(shorter[0])]


def test_a_push_removes_the_data_files_that_are_no_more(hub: Hub, url: str, tmp_path: Path):
    for name, n in (("many", 3), ("few", 1)):
        write_jsonl(
            tmp_path / name / "orm.jsonl",
            [{"prompt": f"{i}?", "completion": "1", "label": True} for i in range(n)],
        )
    write_jsonl(tmp_path / "many" / "prm.jsonl", [{"prompt": "1?", "completions": ["1"], "labels": [True]}])
    pushes = [
        [
            "--rows",
            str(tmp_path / name),
            "--output",
            str(tmp_path / "dataset"),
            "--license",
            "mit",
            "--repo",
            "me/steps",
        ]
        for name in ("many", "few")
    ]
    run_client(
        f"from data_gen.publish_data import main\nfor push in {pushes!r}: main(push)", url, tmp_path / "home"
    )
    assert set(hub.repositories["dataset", "me/steps"].files) == {
        "README.md",
        "orm/train-00000-of-00001.parquet",
    }
