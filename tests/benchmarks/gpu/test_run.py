"""The command at toy size: parts, what a failed one leaves, and what is not repeated."""

import json
from pathlib import Path

import pytest

from benchmarks.gpu import correctness, engine, search
from benchmarks.gpu.__main__ import faults, main, run_part
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.table import table
from data_gen.problems.arithmetic.task import BASE_POLICY
from data_gen.settings.errors import InputError


def small(folder: Path, **changes) -> Setting:
    folder.mkdir(exist_ok=True)
    settings = {
        "device": "cpu",
        "is_small": True,
        "model": BASE_POLICY,
        "folder": folder,
        "problems": None,
        "peer": None,
        "seconds": 60.0,
    }
    return Setting(**{**settings, **changes})


def test_correctness_finds_a_cpu_equal_to_itself(tmp_path: Path):
    found = correctness.measure(small(tmp_path))
    assert list(faults(found)) == []
    greedy = found["greedy_float32"]
    assert greedy["n_other_than_cpu"] == greedy["n_other_than_generate"] == 0
    assert found["choice"]["n_differ"] == 0
    assert 0 < found["scores"]["float32"]["incremental_to_cpu_whole"] < 1e-5
    assert found["scores"]["bfloat16_to_cpu_whole"] > 1e-5


@pytest.mark.slow
def test_engine_and_search_write_rates_and_ratios(tmp_path: Path):
    found = engine.measure(small(tmp_path / "engine"))
    rates = found["real"]["tokens_per_second"]
    best = max(rate for name, rate in rates.items() if name.startswith("engine"))
    plain = max(rate for name, rate in rates.items() if name.startswith("generate"))
    assert found["real"]["ratio"] == pytest.approx(best / plain, rel=0.02)
    found = search.measure(small(tmp_path / "search"))
    assert found["beam_one_in_flight"]["prm_tokens_per_step"] < found["textbook_beam"]["prm_tokens_per_step"]
    assert set(json.loads((tmp_path / "search" / "so_far.json").read_text())) < set(found)


def test_a_part_that_fails_leaves_its_message_and_the_exit_code_says_so(tmp_path: Path, capsys):
    setting = small(tmp_path / "broken", model=tmp_path / "nothing")
    found = run_part("search", setting)
    assert "exit code" in found["failed"]
    assert "nothing" in found["failed"]
    known = {"card": None, "model": "base_policy", "is_small": True}
    with pytest.raises(SystemExit, match="1"):
        main(["--small", "--parts", "pipeline", "--minutes", "0.1", "--output", str(tmp_path / "run")])
    said = capsys.readouterr().out
    assert "pipeline: not begun: 6 seconds were left for it" in said
    figures = json.loads((tmp_path / "run" / "gpu.json").read_text())
    assert {name: figures[name] for name in known} == known
    other = str(BASE_POLICY.parent / "single_attempt_policy")
    with pytest.raises(InputError, match="another card, model or size"):
        main(["--small", "--model", other, "--output", str(tmp_path / "run")])


def test_checks_that_did_not_hold_are_named_by_their_place():
    found = {"a": {"ok": True, "b": {"ok": False, "got": 2, "at_most": 1}}, "c": {"failed": "it fell"}}
    assert list(faults(found)) == ['a/b: {"ok": false, "got": 2, "at_most": 1}', "c: it fell"]
    lines = table({"card": "H", "machine": "m", "model": "s", "parts": found}).splitlines()
    assert lines[0] == "H, m, model s"
    assert lines[3].split() == ["b"]
    assert lines[5].split() == ["got", "2"]
