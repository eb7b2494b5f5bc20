"""`sample` and `label` killed with SIGKILL at random moments: nothing committed is lost, nothing is drawn
twice, the end is the same.
"""

import os
from pathlib import Path

import pytest

from benchmarks.faults import Outcomes
from benchmarks.kill9 import Case, Rows, compare, run_case


def test_lost_and_changed_rows_are_told_apart():
    before: Rows = {
        ("draws", 1): ("draws", 1, "a"),
        ("draws", 2): ("draws", 2, "b"),
        ("draws", 3): ("draws", 3, "c"),
    }
    after: Rows = {
        ("draws", 1): ("draws", 1, "a"),
        ("draws", 2): ("draws", 2, "x"),
        ("draws", 4): ("draws", 4, "d"),
    }
    assert compare(before, after) == {"lost": 1, "changed": 1}


def test_cases_that_fail_count_as_tried_and_those_that_are_skipped_do_not(tmp_path: Path):
    (tmp_path / "test_four.py").write_text(
        "import pytest\n\n\n@pytest.fixture\ndef broken():\n    raise OSError\n\n\n"
        "def test_good(record_property):\n    record_property('n_probes', 5)\n\n\ndef test_bad():\n    "
        "assert False\n\n\n"
        "def test_not_begun(broken):\n    pass\n\n\ndef test_skipped():\n    pytest.skip('not here')\n"
    )
    outcomes = Outcomes()
    pytest.main(
        ["-q", "-c", os.devnull, "--rootdir", str(tmp_path), "-p", "no:cacheprovider", str(tmp_path)],
        plugins=[outcomes],
    )
    assert outcomes.counts == {"tried": 7, "survived": 5}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Case("sample", "simulated", 1500, 2), id="sample"),
        pytest.param(Case("label", "simulated", 40, 2), id="label", marks=pytest.mark.slow),
        pytest.param(Case("label", "base", 40, 5), id="label on a real network", marks=pytest.mark.slow),
    ],
)
def test_killed_and_run_again_ends_like_an_unbroken_run(tmp_path: Path, case: Case):
    counts = run_case(case, tmp_path, seed=0)
    assert counts["kills"] == case.n_kills
    assert counts["kills_after_new_rows"] >= 1, "no kill came after a commit: the test shows nothing"
    assert (counts["lost"], counts["changed"], counts["duplicated"], counts["faults"]) == (0, 0, 0, 0)
    if case.policy == "simulated":  # logits of a real network may differ by 1e-6 with the shape of the batch
        assert counts["other_ends"] == 0
