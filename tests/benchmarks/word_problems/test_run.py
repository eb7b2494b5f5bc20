"""`make word-problems` from problems to figures with a tiny random model, and its figures on written-out
results.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import Qwen2Config, Qwen2ForCausalLM, set_seed

from benchmarks.word_problems.__main__ import stages_before_choosing
from benchmarks.word_problems.figures import bars, collected, table
from benchmarks.word_problems.first_errors import ShownError, agreement, choose, page
from benchmarks.word_problems.stages import RunConfig, plan, search_stage
from data_gen.files.run_identity import claim_run
from data_gen.models.tokenizer import train_tokenizer
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config
from prm_train.cli import COMMANDS
from tests.benchmarks.word_problems.test_problems import write_data
from tests.test_configs import config_class

ROOT = Path(__file__).parents[3]


def write_model(folder: Path) -> Path:
    texts = ["Ann has 3 red pens and gets 4 more , then twice as many\n3 + 4 = 7\n2 * 7 = 14\n#### 14"] * 20
    tokenizer = train_tokenizer(texts, 320, 256)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    set_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        intermediate_size=128,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        **sizes,
        **ids,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_command_of_a_run_reads_its_config(device: str, tmp_path: Path) -> None:
    config = RunConfig(tmp_path, model="base", seed=3, device=device)
    counts = {"solutions": 1156, "train": 361, "validation": 60}
    tests = [search_stage(config, name, 300, (0.4, 0.7), "min") for name in config.test_sets]
    stages = [*stages_before_choosing(config, counts), *tests]
    modules = {module: command for command, (module, _) in COMMANDS.items()}
    for stage in stages:
        for module, *arguments in stage.commands:
            parsed: Any = parse_config(config_class(modules[module]), arguments)
            assert "runs/word-problems" not in str(parsed)  # nothing of the configs' own folders is left
            assert "data/word-problems" not in str(parsed)
            assert getattr(parsed, "temperature", 0.7) == 0.7
            assert getattr(parsed, "other_temperatures", (0.4,)) == (0.4,)
    shown = plan(stages).splitlines()
    assert shown[2].split() == ["train-policy", "10", "minutes"]  # 1156 * 97 tokens at 190 a second
    assert [line.split()[0] for line in shown[-3:]] == ["search-mawps_asdiv", "search-svamp", "all"]


@pytest.mark.slow
def test_a_run_goes_from_problems_to_figures_and_on_after_a_kill(tmp_path: Path) -> None:
    data, model, output = write_data(tmp_path / "data"), write_model(tmp_path / "model"), tmp_path / "run"
    command = (
        *(sys.executable, "-m", "benchmarks.word_problems", "run", "--output", str(output)),
        *("--data", str(data), "--model", str(model), "--small", "true"),
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith("label:"):
            break
    first.terminate()
    assert first.wait() == 143
    patience = time.monotonic() + 60
    while True:  # its children end a moment later, and until then the folder is theirs
        second = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        if "a run is under way there" not in second.stderr or time.monotonic() > patience:
            break
        time.sleep(0.5)
    assert second.returncode == 0, second.stderr[-3000:]
    assert "sample: done before" in second.stdout
    figures = collected([output])
    (seed,) = figures["seeds"]
    assert set(seed["sets"]) == {"mawps_asdiv", "svamp"}
    found = seed["sets"]["mawps_asdiv"]
    assert found["n_test_problems"] == 8
    assert {"prm_weighted minus majority", "orm_weighted minus majority"} <= set(found["paired"])
    assert {"majority", "prm_weighted", "orm_weighted", "particle_filter", "dvts", "beam"} <= set(
        found["accuracy"]
    )
    assert {"1", "4"} <= set(found["accuracy"]["prm_weighted"])
    assert set(figures["over_seeds"]["svamp"]) >= {"prm_weighted minus majority"}
    assert seed["cost"]["stages"]["train-policy"]["cpu_seconds"] > 0
    assert "| prm_weighted |" in table(figures, "svamp")
    json.dumps(figures)


def test_every_difference_that_a_bar_is_about_has_an_interval_of_each_seed() -> None:
    right = {
        "majority": {1: [0.5, 0.5, 0, 0], 4: [1, 0, 0, 0]},
        "prm_weighted": {1: [0.5, 0.5, 0, 0], 4: [1, 1, 0, 0]},
        "orm_weighted": {1: [0.5, 0.5, 0, 0], 4: [1, 1, 1, 1]},
    }
    correct = {
        name: {n: np.array(values, dtype=float) for n, values in curve.items()}
        for name, curve in right.items()
    }
    found = bars(correct)
    assert {name: curve["4"]["mean"] for name, curve in found.items()} == {
        "prm_weighted minus majority": 0.25,
        "orm_weighted minus majority": 0.75,
        "prm_weighted minus orm_weighted": -0.5,
    }
    assert found["orm_weighted minus majority"]["1"]["mean"] == 0


def test_runs_that_were_tested_on_different_problems_are_not_put_together(tmp_path: Path) -> None:
    runs = [tmp_path / "one", tmp_path / "two"]
    for run in runs:
        claim_run(run, RunConfig(run, model="base"))
        (run / "problems").mkdir()
        for name in ("mawps_asdiv", "svamp"):
            (run / "problems" / f"{name}.jsonl").write_text(f"{name if name == 'svamp' else run.name}\n")
    with pytest.raises(InputError, match=r"different problems in problems/mawps_asdiv\.jsonl"):
        collected(runs)


def error(problem_id: str, index: int, located: int, read: int | None) -> ShownError:
    return ShownError(problem_id, index, "How many?", "7", ("3 + 3 = 6", "#### 6"), located, read)


def test_first_errors_are_of_different_problems_and_agreement_counts_those_that_were_read() -> None:
    errors = [error(f"p{i % 5}", i, 0, None) for i in range(20)]
    assert sorted(each.problem_id for each in choose(errors, 4)) == sorted(
        {e.problem_id for e in choose(errors, 4)}
    )
    assert len(choose(errors)) == 5
    read = [error("a", 0, 0, 0), error("b", 0, 0, 1), error("c", 0, 1, -1), error("d", 0, 1, None)]
    assert agreement(read) == {"n_located": 4, "n_read": 3, "n_same": 1, "n_no_error": 1}
    assert "    1  #### 6  <-- located" in "\n".join(page([error("a", 0, 1, None)])).splitlines()
