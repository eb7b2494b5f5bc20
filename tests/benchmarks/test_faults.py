"""The fault suite runs all hostile tests that there are."""

from pathlib import Path

from benchmarks.faults import HOSTILE, TESTS


def test_every_file_with_hostile_tests_is_in_an_area() -> None:
    named = {TESTS / name for names in HOSTILE.values() for name in names}
    marked = {path for path in TESTS.rglob("test_*.py") if "pytest.mark.hostile" in path.read_text()}
    assert named == marked - {Path(__file__)}
