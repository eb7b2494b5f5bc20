"""The pipeline on a card, at toy size on a CPU, and how it keeps to its time."""

import asyncio
import json
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import Qwen2Config, Qwen2ForCausalLM, set_seed

from benchmarks.gpu.deadline import OutOfTimeError, at_most
from benchmarks.gpu.pipeline import (
    CARD,
    ON_A_CARD,
    SMALL,
    chunk_size,
    measure,
    problem_counts,
    rollouts_within,
    run_config,
    stages,
)
from benchmarks.gpu.pipeline_state import State
from benchmarks.gpu.setting import Setting
from data_gen.models.tokenizer import train_tokenizer
from data_gen.settings.parse import parse_config
from prm_train.cli import COMMANDS
from tests.test_configs import config_class

NAMES = ("Ann", "Bob", "Cy", "Di", "Ed", "Flo", "Gus", "Hal")
WORDS = ("pens", "cups", "nuts", "hats")


def row(name: str, a: int, b: int, word: str) -> dict[str, str]:
    return {
        "question": f"{name} has {a} {word} and gets {b} more. How many?",
        "answer": f"{a} + {b} = <<{a}+{b}={a + b}>>{a + b}\n#### {a + b}",
    }


def write_problems(folder: Path) -> Path:
    rows = [row(name, a, b, word) for name in NAMES for word in WORDS for a in (1, 2) for b in (1, 2)]
    random.Random(0).shuffle(rows)
    (folder / "gsm8k").mkdir(parents=True)
    # A training problem that is a variant of a tested one would be left out
    test = [{**each, "question": f"In all, {each['question']}"} for each in rows[56:64]]
    for name, some in (("train", rows[:56]), ("test", test)):
        (folder / "gsm8k" / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in some))
    return folder


def write_model(folder: Path) -> Path:
    texts = [text for name in NAMES for word in WORDS for text in row(name, 1, 2, word).values()]
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


def toy(tmp_path: Path, seconds: float) -> Setting:
    data, model = tmp_path / "data", tmp_path / "model"
    if not data.exists():
        write_problems(data)
        write_model(model)
    return Setting("cpu", True, model, tmp_path / "part", data, None, seconds)


@pytest.mark.slow
def test_the_pipeline_goes_from_problems_to_accuracies_and_on_where_its_time_was_over(tmp_path: Path) -> None:
    early = measure(toy(tmp_path, 0))
    assert early["failed"] == "time was over before grade"
    found = measure(toy(tmp_path, 600))
    assert "failed" not in found
    assert list(found["stages"]) == [
        *("grade", "train-policy", "sample", "label", "build", "train-prm", "train-orm"),
        *("search-validation", "search-gsm8k-0", "search-gsm8k-1"),
    ]
    assert found["sample"]["n_solutions"] == SMALL.n_train * SMALL.n_solutions
    assert 0 < found["sample"]["pass_at_1"] <= 1
    assert found["train_prm"]["held_out"]["n_labels"] > 0
    assert found["search"]["n_problems"] == 8
    accuracy = found["search"]["accuracy"]
    assert {"majority", "prm_weighted", "orm_weighted", "particle_filter", "beam"} <= set(accuracy)
    assert accuracy["pass_at_n"]["4"][0] >= accuracy["pass_at_n"]["1"][0] > 0
    again = measure(toy(tmp_path, 0))
    assert again["stages"] == found["stages"]
    assert again["search"] == found["search"]


def test_every_command_on_a_card_reads_its_settings(tmp_path: Path) -> None:
    setting = replace(toy(tmp_path, 200), device="cuda", is_small=False)
    amounts = replace(CARD, n_train=8, n_validation=4)
    config, state = run_config(setting, amounts), State(tmp_path / "pipeline.json", n_rollouts=4)
    modules = {module: command for command, (module, _) in COMMANDS.items()}
    parsed: dict[str, Any] = {}
    counts = problem_counts(config, amounts)
    assert counts == {"solutions": 44, "train": 8, "validation": 4, "gsm8k": 8}
    for stage in stages(config, amounts, counts, state, setting, time.monotonic() + 200):
        ((module, *arguments),) = stage.commands
        of_module = config_class(modules[module])
        parsed[stage.name] = parse_config(of_module, [*arguments, *ON_A_CARD.get(module, ())])
        state.seconds[stage.name] = 1.0
    policy, search = parsed["train-policy"], parsed["search-gsm8k-0"]
    assert (policy.gradient_checkpointing, policy.learning_rate, policy.use_cpu) == (False, 3e-4, False)
    assert (policy.bf16_autocast, parsed["train-prm"].bf16_autocast) == (True, True)
    assert (parsed["train-prm"].batch_size, parsed["train-prm"].n_accumulated) == (32, 1)
    assert (parsed["label"].n_rollouts, parsed["label"].n_open) == (4, 512)
    assert (search.policy.device, search.policy.dtype, search.policy.max_rows) == ("cuda", "bfloat16", 1024)
    assert (search.sizes, search.strategies, search.baselines) == ((4, 16), ("particle_filter", "beam"), ())
    assert (search.problems.offset, search.problems.n, search.other_temperatures) == (0, 8, ())
    assert parsed["search-validation"].strategies == ()


def test_test_problems_come_in_chunks_that_fit_into_what_is_left() -> None:
    assert chunk_size([], 1319, 30.0, 64) == 64  # nothing is known yet
    # 64 took 20 s: with a quarter more 0.39 s each, and 256 take 100 s
    assert chunk_size([(64, 20.0)], 1255, 100.0, 64) == 256
    assert chunk_size([(64, 20.0)], 1255, 99.0, 64) == 192
    assert chunk_size([(64, 20.0)], 1255, 24.0, 64) == 0
    assert chunk_size([(64, 20.0), (64, 0.0)], 40, 10.0, 64) == 40  # all that are left


def test_rollouts_are_as_many_as_the_rate_of_sampling_allows(tmp_path: Path) -> None:
    config = run_config(toy(tmp_path, 1), SMALL)
    run = config.shards("train")[0]
    run.mkdir(parents=True)
    # 90 wrong solutions of 100 tokens: 90 * 2 * 50 = 9,000 tokens for each rollout, at half the rate
    process = {"tokens_per_second": 1000.0}
    sample = {"pass_at_1": 0.1, "n_solutions": 100, "n_generated": 10_000, "this_process": process}
    (run / "sample.json").write_text(json.dumps(sample))
    assert [rollouts_within(config, seconds) for seconds in (144, 143, 72, 71, 1)] == [8, 4, 4, 2, 2]


def test_a_block_ends_when_its_time_is_over_and_puts_away_what_it_holds() -> None:
    put_away: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            put_away.append("task")

    started = time.monotonic()
    with pytest.raises(OutOfTimeError), at_most(0.05):
        asyncio.run(wait())
    with pytest.raises(OutOfTimeError), at_most(0.05):
        time.sleep(60)
    assert put_away == ["task"]
    assert time.monotonic() - started < 30
    with at_most(0.05):
        pass
    time.sleep(0.1)  # no signal comes after the block
    with pytest.raises(asyncio.CancelledError), at_most(60):  # which is not of ours
        raise asyncio.CancelledError


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = State.of(tmp_path)
    state.seconds["grade"], state.n_rollouts = 1.5, 4
    state.chunks.append([0, 64])
    state.write()
    assert State.of(tmp_path) == state
