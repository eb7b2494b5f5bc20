"""The training part of `benchmarks.gpu` at toy size."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.gpu.setting import Setting
from benchmarks.gpu.training import Found, estimates, measure, ratios
from benchmarks.gpu.training_checks import gradients
from benchmarks.gpu.training_runs import Run, plan, rows
from benchmarks.gpu.training_speed import Clock, Counted, measure_all, speed
from data_gen.problems.arithmetic.task import BASE_POLICY

PEER = Path("build/trl-1.13.0")


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting("cpu", True, Path(BASE_POLICY), tmp_path, None, None, 60.0)


def test_loss_and_gradient_of_a_tiny_network_hold_and_the_control_parts(setting):
    found = gradients("tiny", setting)
    assert [found[name]["ok"] for name in ("float32", "autocast", "packed")] == [True] * 3
    assert found["packed"]["attention"] == "packed_rows"
    assert found["packed"]["turn"] < 1e-3 < found["packed"]["control_turn"]


def test_a_run_of_ours_is_measured_and_its_memory_estimated(setting):
    run = plan("ours", is_small=True)[1]
    measure_all([run], setting, 60, setting.folder / "runs.jsonl")
    (found,) = [json.loads(line) for line in (setting.folder / "runs.jsonl").read_text().splitlines()]
    lengths = [len(row.input_ids) for row in rows(run, 300, is_small=True)]
    assert 0 < found["n_tokens"] < sum(lengths)
    assert found["padding_share"] == 0
    assert found["tokens_per_second"] > 0
    estimate = estimates([found], setting)[run.title]
    assert estimate["measured_gib"] == found["peak_gib"]
    assert 0 < estimate["estimate_of_largest_pass_gib"] < estimate["estimate_gib"]


def test_a_run_that_fails_is_a_figure_and_the_next_one_is_tried(setting, tmp_path):
    run, result = plan("ours", is_small=True)[0], tmp_path / "runs.jsonl"
    measure_all([run, run], replace(setting, model=tmp_path / "nothing"), 60, result)
    found = [json.loads(line) for line in result.read_text().splitlines()]
    assert ["nothing" in each["error"] for each in found] == [True, True]
    assert found[0]["case"] == run.case


def test_speed_counts_the_measured_steps_alone():
    class Model:
        class config:  # noqa: N801
            num_hidden_layers, num_attention_heads, hidden_size = 1, 2, 8
            _attn_implementation = "sdpa"

        def parameters(self):
            return iter(())

        def get_input_embeddings(self):
            class Embedding:
                class weight:  # noqa: N801
                    numel = staticmethod(lambda: 0)

            return Embedding

    run = Run("trl", "real", "short", False, 2, n_rows=4, n_warmup=1, n_steps=3)
    clock, collator = Clock(is_cuda=False), Counted(None)
    clock.at = [0.0, 100.0, 102.0, 104.0, 110.0]  # 2, 2 and 6 seconds
    collator.lengths = [[9, 9], [9, 9], [1, 2], [3, 4], [2, 2], [5, 1], [1, 1], [1, 1]]
    collator.passes = [[18], [18], [4], [8], [4], [10], [2], [2]]
    found = speed(run, clock, collator, Model())
    assert found["n_tokens"] == 24
    assert found["tokens_per_second"] == 4.0  # three steps of 2 seconds
    assert (found["step_seconds_median"], found["step_seconds_longest"]) == (2.0, 6.0)
    assert found["padding_share"] == pytest.approx(1 - 24 / 30)
    assert found["largest_pass_tokens"] == 18
    assert found["tokens_per_second_of_all_steps"] == 2.4
    # 6 * 1 layer * 8 wide * (1 + 4 + 9 + 16 + 4 + 4 + 25 + 1 + 4 of 1) in 6 seconds
    assert found["model_flops_per_second"] == pytest.approx(6 * 8 * 68 / 6)


def test_ratios_are_between_the_fastest_runs_of_a_case():
    def run(side, pass_size, rate, peak, **more):
        made = Run(side, "real", "short", False, pass_size, **more)
        return {"case": made.case, **vars(made), "tokens_per_second": rate, "peak_gib": peak}

    runs = [
        run("ours", 400, 200.0, 8.0),
        run("ours", 200, 190.0, 4.0),
        run("ours", 100, 50.0, 2.0),  # slower than TRL: its memory is no gain
        run("ours", 400, 900.0, 1.0, dtype="bfloat16"),
        run("trl", 8, 100.0, 10.0),
        run("trl", 16, 80.0, 20.0),
        {"case": "another", "side": "trl", "error": "out of memory"},
    ]
    (found,) = ratios(runs).values()
    assert found["tokens_per_second_ratio"] == 2.0
    assert found["peak_ratio"] == 0.8
    assert found["smallest_peak_ratio"] == 0.4
    assert found["reaches_speed_goal"]
    assert not found["reaches_peak_goal"]


def test_a_step_that_fails_is_written_down(setting):
    found = Found(setting.folder)
    found.step("good", lambda: 1)
    found.step("bad", lambda: 1 / 0)
    written = json.loads((setting.folder / "so_far.json").read_text())
    assert written["good"] == 1
    assert written["bad"] == {"ok": False, "error": "ZeroDivisionError: division by zero"}


@pytest.mark.slow
@pytest.mark.skipif(not PEER.exists(), reason="make build/trl-1.13.0")
def test_both_sides_at_toy_size(setting):
    found = measure(replace(setting, peer=PEER.resolve(), seconds=300.0))
    assert found["qlora"]["ok"]
    assert len(found["ratios"]) == 2
    assert len(found["estimates"]) == 2
