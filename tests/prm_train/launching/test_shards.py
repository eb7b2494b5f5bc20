"""How a command line is divided into shards, and what is refused before anything starts."""

import json
from pathlib import Path

import pytest

from data_gen.settings.errors import InputError
from prm_train.launch import as_options
from prm_train.launching.settings import LaunchConfig, ReplicaSettings
from prm_train.launching.shards import ShardEnd, is_done, plan

SAMPLE = "sample --problems.n 5 --policy.model simulated"


def planned(command: str, n_shards: int, output: Path | str, **settings: object):
    return plan(LaunchConfig(command, n_shards, str(output), **settings))  # type: ignore[arg-type]


def test_each_shard_is_the_typed_line_with_its_folder_and_its_part(tmp_path: Path):
    job = planned(SAMPLE, 2, tmp_path)
    words = ("--problems.n", "5", "--policy.model", "simulated", "--output", "{folder}", "--problems.shard")
    assert [spec.arguments for spec in job.specs] == [(*words, "0/2"), (*words, "1/2")]
    assert [spec.folder for spec in job.specs] == [f"{tmp_path}/shard-0", f"{tmp_path}/shard-1"]
    assert sum(spec.n_items for spec in job.specs) == 5
    assert job.n_empty == 0


def test_shards_without_a_problem_are_left_out_and_counted(tmp_path: Path):
    job = planned(SAMPLE, 64, tmp_path)
    assert len(job.specs) + job.n_empty == 64
    assert sum(spec.n_items for spec in job.specs) == 5
    assert all(spec.n_items for spec in job.specs)


def test_shards_of_rows_are_stretches_of_the_file(tmp_path: Path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"question": f"{i}?", "steps": ["1"]}) + "\n" for i in range(5)))
    job = planned(f"score --rows {rows} --checkpoint some/model", 2, tmp_path / "scored")
    assert [spec.n_items for spec in job.specs] == [2, 3]
    assert job.specs[1].arguments[-4:] == ("--output", "{folder}/scores.jsonl", "--shard", "1/2")


def test_words_behind_two_dashes_are_the_command(tmp_path: Path):
    given = ["--n_shards", "2", "--", "sample", "--policy.system_prompt", "be brief"]
    assert as_options(given) == ["--n_shards", "2", "--command=sample --policy.system_prompt 'be brief'"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("benchmark steps", "benchmark cannot be divided: its intervals .* are those of all rows together"),
        ("train-prm --rows x", "train-prm cannot be divided: its work is one whole"),
        (f"{SAMPLE} --problems.shard 0/2", "holds --problems.shard, which each shard has for itself"),
        (f"{SAMPLE} --ledger=x", "holds --ledger"),
        (f"{SAMPLE} --dry_run true", "sets dry_run, which shards cannot share"),
        (f"{SAMPLE} --n_sampels 3", "unknown key n_sampels"),
        ("label", "holds no shard-0"),
    ],
)
def test_what_cannot_be_divided_is_refused_before_anything_starts(command: str, said: str, tmp_path: Path):
    with pytest.raises(InputError, match=said):
        planned(command, 2, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_object_storage_needs_a_folder_to_work_in():
    with pytest.raises(ValueError, match="work: got null with output s3://bucket/run"):
        LaunchConfig(SAMPLE, 2, "s3://bucket/run")


def test_servers_that_are_started_with_the_shards_replace_those_of_the_command(tmp_path: Path):
    serve = "prm-train serve-policy --model simulated --host {host} --port {port}"
    settings = ReplicaSettings(serve, n=2)
    job = planned(f"{SAMPLE} --policy.max_concurrency 2", 1, tmp_path, replicas=settings)
    sent = ("--policy.servers", f"@{tmp_path}/replicas.txt", "--output", "{folder}")
    assert job.specs[0].arguments[-6:-2] == sent
    with pytest.raises(InputError, match="expected a shared folder"):
        planned(SAMPLE, 1, "s3://bucket/run", work=tmp_path, replicas=settings)
    with pytest.raises(ValueError, match=r"expected \{port\} in it"):
        LaunchConfig(SAMPLE, 1, replicas=ReplicaSettings("vllm serve some/model"))


def test_a_shard_is_done_for_its_settings_and_not_for_a_file_that_has_changed(tmp_path: Path):
    config = tmp_path / "sample.yaml"
    config.write_text("problems: {n: 3}\npolicy: {model: simulated}\nn_samples: 2\n")
    first = planned(f"sample --config {config}", 1, tmp_path / "run").specs[0]
    Path(first.folder).mkdir(parents=True)
    ShardEnd(0, "", 1.0, settings=first.settings).write(Path(first.end_file))
    assert is_done(planned(f"sample --config {config}", 1, tmp_path / "run").specs[0])
    config.write_text(config.read_text().replace("n_samples: 2", "n_samples: 3"))
    assert not is_done(planned(f"sample --config {config}", 1, tmp_path / "run").specs[0])
