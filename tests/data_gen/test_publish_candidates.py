"""`prm-train publish-candidates`: sampled runs as one file, the same each time."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from data_gen.publish_candidates import main
from data_gen.sample import main as sample
from data_gen.settings.errors import InputError


def sampled(folder: Path, *words: str) -> Path:
    sample(
        ["--output", str(folder), "--problems.source", "arithmetic", "--policy.model", "simulated", *words]
    )
    return folder


def published(output: Path, *words: Any) -> list[dict[str, Any]]:
    main(["--output", str(output), *map(str, words)])
    return [json.loads(line) for line in output.read_text().splitlines()]


def test_each_problem_has_its_solutions_in_the_order_of_their_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = sampled(tmp_path / "run", "--problems.n", "3", "--n_samples", "4")
    rows = published(tmp_path / "candidates.jsonl", "--runs", run)
    digest = hashlib.sha256((tmp_path / "candidates.jsonl").read_bytes()).hexdigest()
    assert digest in capsys.readouterr().out
    solutions = [json.loads(line) for line in (run / "solutions.jsonl").read_text().splitlines()]
    assert [len(row["candidates"]) for row in rows] == [4, 4, 4]
    for row in rows:
        own = [each for each in solutions if each["solution"]["problem_id"] == row["problem_id"]]
        assert [each["text"] for each in row["candidates"]] == [each["solution"]["text"] for each in own]
        assert [each["verdict"] for each in row["candidates"]] == [each["verdict"]["kind"] for each in own]
        assert all("\n".join(each["steps"]) == each["text"] for each in row["candidates"])
    two = published(tmp_path / "two.jsonl", "--runs", run, "--n", 2)
    assert [row["candidates"] for row in two] == [row["candidates"][:2] for row in rows]
    assert published(tmp_path / "again.jsonl", "--runs", run) == rows


def test_shards_are_joined_and_what_cannot_be_published_is_refused(tmp_path: Path) -> None:
    shards = [
        sampled(
            tmp_path / f"shard-{i}", "--problems.n", "6", "--n_samples", "2", "--problems.shard", f"{i}/2"
        )
        for i in range(2)
    ]
    rows = published(tmp_path / "all.jsonl", "--runs", *shards)
    assert len({row["problem_id"] for row in rows}) == 6
    whole = sampled(tmp_path / "whole", "--problems.n", "6", "--n_samples", "2")
    with pytest.raises(InputError, match=r"has two solutions 0; expected runs of different problems"):
        published(tmp_path / "twice.jsonl", "--runs", whole, shards[0])
    with pytest.raises(InputError, match="none of 6 problems has 3 solutions to publish"):
        published(tmp_path / "few.jsonl", "--runs", whole, "--n", 3)
    assert not (tmp_path / "few.jsonl").exists()
    assert [path.name for path in tmp_path.glob(".*")] == []
