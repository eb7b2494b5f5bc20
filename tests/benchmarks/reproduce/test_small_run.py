"""The whole of a seed, small: its figures say nothing."""

from pathlib import Path

import pytest

from benchmarks.reproduce.__main__ import main
from data_gen.files.stored_record import read_object


@pytest.mark.slow
def test_a_small_seed_ends_with_its_page_and_is_not_run_again(tmp_path: Path):
    command = ["run", "--output", str(tmp_path), "--seed", "99", "--small"]
    main(command)
    found = read_object(tmp_path / "reproduce.json")
    assert found["seeds"] == [99]
    assert [name for name, each in found["findings"].items() if each["shows"] is None] == ["F6"]
    page = (tmp_path / "RESULTS.md").read_text()
    assert "## F8. Lookahead at equal budget" in page
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    main(command)
    assert {path: path.stat().st_mtime_ns for path in finished if path.parent.name == "stages"} == {
        path: time for path, time in finished.items() if path.parent.name == "stages"
    }
