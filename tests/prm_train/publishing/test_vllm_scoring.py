"""Scores of real vLLM engines against transformers: `make test-vllm`, which runs where vLLM is."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import torch
from transformers import set_seed

from data_gen.files.run_folder import read_records
from data_gen.problems.arithmetic.task import BASE_POLICY
from prm_train import verify_export
from prm_train.checkpoints.facts import CheckpointFacts, Kind
from prm_train.kinds.load import load_checkpoint, load_scorer
from prm_train.kinds.served import connect_scorer
from prm_train.publishing.export import export_checkpoint
from prm_train.publishing.served_parity import compare, load_subject, sample_paths
from prm_train.publishing.vllm_scoring import SETTINGS, Request, answer
from prm_train.scoring.score import score
from prm_train.search.answer import Answer
from prm_train.search.results import ProblemResult, read_results
from prm_train.search.run import main as search
from prm_train.search.solve_questions import ANSWERS
from prm_train.search.solve_questions import main as solve
from prm_train.training.scorer_network import build_scorer, save_scorer
from prm_train.training.settings import ScorerConfig

pytestmark = pytest.mark.vllm
# A busy machine needs longer for what vLLM begins with
BUSY = {"VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": "3600", "VLLM_ENGINE_READY_TIMEOUT_S": "3600"}


def scorer(kind: Kind, folder: Path, is_reward: bool = False) -> Path:
    """On the built-in policy: vLLM on a CPU wants attention heads of 32 numbers or more, which the tests'
    tiny models lack.
    """
    set_seed(0)
    model, encoding = build_scorer(kind, ScorerConfig(rows=Path(), output=Path(), model="base"))
    torch.nn.init.normal_(model.score.weight, std=0.1)  # so that scores differ by more than rounding
    save_scorer(
        model, encoding, CheckpointFacts(kind, encoding.facts, "none", "min", is_reward=is_reward), folder
    )
    return folder


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scorer("prm", tmp_path_factory.mktemp("prm"))


def test_a_prm_is_served_as_it_is(prm, tmp_path, capsys):
    verify_export.main([str(prm), "--n_rows", "3", "--report", str(tmp_path / "report.json")])
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["is_same"]
    assert [each["read_by"] for each in report["comparisons"]] == ["ALL", "STEP"]
    assert report["comparisons"][0]["n_scores"] == sum(len(path.steps) for path in sample_paths(3))
    assert capsys.readouterr().out.count("  same\n") == 2


def test_a_head_with_its_classes_the_other_way_round_fails(prm, tmp_path, capsys):
    folder = tmp_path / "swapped"
    shutil.copytree(prm, folder)
    config = json.loads((folder / "config.json").read_text())
    config["id2label"], config["label2id"] = {"0": "good", "1": "bad"}, {"good": 0, "bad": 1}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(SystemExit) as caught:
        verify_export.main([str(folder), "--n_rows", "3"])
    assert caught.value.code == 1
    out = capsys.readouterr().out
    assert out.count("NOT THE SAME") == 2
    assert "fault: labels: got id2label" in out


def test_step_pooling_without_a_tag_returns_nothing_and_is_not_taken_for_agreement(prm, monkeypatch):
    for name, value in {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1"}.items():
        monkeypatch.setenv(name, value)
    subject = load_subject(prm, "float32")
    paths = [subject.encode(path) for path in sample_paths(2)]
    absent = subject.encoding.tokenizer.get_vocab()["<|wait|>"]
    request = Request(str(prm), "prm", "float32", [path.ids for path in paths], ("STEP",), absent, 256)
    returned = answer(request)["found"]["STEP"]
    assert returned == [[], []]
    assert (
        compare("STEP", returned, subject, subject, paths).error
        == f"path 0: got 0 scores from vLLM, expected {len(paths[0].positions)}"
    )


@pytest.mark.parametrize(
    ("is_reward", "problem_type"), [(False, "multi_label_classification"), (True, "regression")]
)
def test_an_orm_is_served_as_it_is(is_reward, problem_type, tmp_path):
    folder = scorer("orm", tmp_path, is_reward=is_reward)
    assert json.loads((folder / "config.json").read_text())["problem_type"] == problem_type
    verify_export.main([str(folder), "--n_rows", "3"])


def test_a_language_model_is_served_as_it_is():
    verify_export.main([str(BASE_POLICY), "--n_rows", "3"])


@contextmanager
def served(folder: Path, log: Path, *arguments: str) -> Iterator[str]:
    """The URL of `vllm serve` for a checkpoint."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("vllm")), "serve", str(folder), "--runner", "pooling"]
    command += [
        "--dtype",
        "float32",
        "--enforce-eager",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        *arguments,
    ]
    process = subprocess.Popen(
        command, stdout=log.open("wb"), stderr=subprocess.STDOUT, env={**SETTINGS, **BUSY, **os.environ}
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"vllm serve ended: {log.read_text()[-2000:]}")
            try:
                if httpx.get(f"{url}/health").status_code == httpx.codes.OK:
                    break
            except httpx.TransportError:
                time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("pooling", ["ALL", "STEP", "ORM"])
def test_a_scorer_behind_vllm_scores_as_in_this_process(pooling, tmp_path):
    folder = scorer("orm" if pooling == "ORM" else "prm", tmp_path / "scorer")
    arguments = []
    if pooling == "STEP":
        tag = load_subject(folder, "float32").marker_id
        pooler = {"task": "token_classify", "tok_pooling_type": "STEP", "step_tag_id": tag}
        arguments = ["--pooler-config", json.dumps(pooler)]
    local = load_scorer(str(folder))
    with served(folder, tmp_path / "log", *arguments) as url:
        behind = connect_scorer(str(folder), (url,))
        for path in sample_paths(3):
            wanted = score(path.question, path.steps, local)
            assert score(path.question, path.steps, behind) == pytest.approx(wanted, abs=1e-5)


STRATEGY = {"prm": "beam:width=2", "orm": "weighted"}
SIMULATED = ("--policy.model", "simulated")


def used(folder: Path, kind: Kind, output: Path, *where: str) -> tuple[list[ProblemResult], Answer]:
    """What a search finds with the scorer, and the answer to a question."""
    trees = ("--strategies", "beam:width=2,particle_filter", "--sizes", "4") if kind == "prm" else ()
    small = ("--problems.n", "2", "--n_samples", "4", "--n_difficulty_draws", "1")
    search(["--output", str(output / "search"), f"--{kind}", str(folder), *SIMULATED, *small, *trees, *where])
    asked = ("--question", "Start with 4: plus 9, times 6.", "--grader", "arithmetic")
    how = ("--strategy", STRATEGY[kind], "--n", "4")
    solve(["--output", str(output / "solve"), f"--{kind}", str(folder), *SIMULATED, *asked, *how, *where])
    (answer,) = read_records(output / "solve" / ANSWERS, Answer)
    results = read_results(output / "search" / "results.jsonl")  # as they were finished
    return sorted(results, key=lambda result: result.problem.problem_id), answer


@pytest.mark.parametrize("kind", ["prm", "orm"])
def test_a_published_scorer_behind_vllm_searches_and_solves_as_in_this_process(kind, tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    export_checkpoint(load_checkpoint(str(scorer(kind, tmp_path / "scorer"))), folder, sample_paths(2))
    wanted, wanted_answer = used(folder, kind, tmp_path / "here")
    with served(folder, tmp_path / "log") as url:
        found, found_answer = used(folder, kind, tmp_path / "there", "--scorer.servers", url)
    pairs = [
        (theirs, ours)
        for result, local in zip(found, wanted, strict=True)
        for run, local_run in zip(result.runs, local.runs, strict=True)
        for theirs, ours in zip(run.candidates, local_run.candidates, strict=True)
    ]
    assert [theirs.text for theirs, _ in pairs] == [ours.text for _, ours in pairs]
    scores = [(each.scores.get(kind, ()), ours.scores.get(kind, ())) for each, ours in pairs]
    assert all(theirs == pytest.approx(ours, abs=1e-5) for theirs, ours in scores)
    given = [number for _, ours in scores for number in ours]
    assert max(given) - min(given) > 0.01
    assert (found_answer.answer, found_answer.steps) == (wanted_answer.answer, wanted_answer.steps)
    assert found_answer.scores == pytest.approx(wanted_answer.scores, abs=1e-5)
