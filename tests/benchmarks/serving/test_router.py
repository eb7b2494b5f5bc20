"""The figures of a router, on the results that the tests of `prm-train route` work out by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.serving.router import Reference, config_of, measure
from tests.prm_train.allocation.test_allocate import write_search


def test_two_runs_are_judged_together_and_shown_apart(tmp_path: Path) -> None:
    """Of easy problems a router spends 28.5 of 42, of hard ones 37.5; a run has two shards of each split."""
    configs = {}
    for name, kinds in (("one", ["easy", "hard"]), ("two", ["easy", "easy"])):
        (tmp_path / name / "search").mkdir(parents=True)
        for split, n in (("validation", 2), ("test", 4)):
            for shard in range(2):
                write_search(tmp_path / name / "search" / f"{split}-{shard}", kinds * n)
        configs[name] = replace(config_of(tmp_path / name), prompt_head=False, method="prm_weighted")
    found = measure(configs, [Reference("four", "prm_weighted", 4)])
    four = found["references"]["four"]
    assert (four["n_problems"], four["accuracy"]["router"]["mean"]) == (32, 1.0)
    one, two = (four["seeds"][name] for name in ("one", "two"))
    assert (one["complex_path"], one["accept_from"], one["reference"]) == (
        ["prm_weighted 4"],
        0.9,
        "prm_weighted 4",
    )
    assert one["tokens_saved"]["mean"] == pytest.approx(9 / 42, abs=1e-4)
    assert two["tokens_saved"]["mean"] == pytest.approx(13.5 / 42, abs=1e-4)
    assert found["tokens_saved"]["mean"] == pytest.approx((9 + 13.5) / 84, abs=1e-4)
    assert found["accuracy_difference"]["mean"] == 0.0
    assert (four["tokens"]["simple_alone"], four["tokens"]["search_alone"]) == (24.0, 42.0)
