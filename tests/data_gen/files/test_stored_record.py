"""Records in JSON files: what is written, and what is said of a file that is not what its writer leaves."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from data_gen.files.stored_record import StoredRecord, read_object
from data_gen.settings.errors import InputError


@dataclass(frozen=True)
class Part:
    n: int
    note: str | None = None


@dataclass(frozen=True)
class Whole(StoredRecord):
    WRITTEN_BY = "`prm-train whole`"

    name: str
    by_n: Mapping[int, tuple[float, str]]
    share: float | None  # has no default, so that it is always said
    parts: tuple[Part, ...] = ()
    extra: Mapping[str, int] = field(default_factory=dict)
    newer: float | None = None


def test_a_record_is_read_as_it_was_written_and_says_nothing_of_what_it_lacks(tmp_path: Path) -> None:
    whole = Whole("a", {4: (0.5, "best")}, None, (Part(1), Part(2, "second")), {"dropped": 3})
    whole.write(tmp_path / "whole.json")
    assert json.loads((tmp_path / "whole.json").read_text()) == {
        "name": "a",
        "by_n": {"4": [0.5, "best"]},
        "share": None,
        "parts": [{"n": 1}, {"n": 2, "note": "second"}],
        "extra": {"dropped": 3},
    }
    assert Whole.read(tmp_path / "whole.json") == whole


def test_losses_that_are_no_numbers_survive(tmp_path: Path) -> None:
    Whole("a", {}, math.nan, newer=math.inf).write(tmp_path / "whole.json")
    found = Whole.read(tmp_path / "whole.json")
    assert str(found.share) == "nan"
    assert found.newer == math.inf


def test_a_file_of_another_version_is_read_without_what_it_lacks_and_what_it_has_more(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text('{"name": "a", "by_n": {}, "share": 1, "gone": [1]}')
    assert Whole.read(tmp_path / "old.json") == Whole("a", {}, 1.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no such file; expected what `prm-train whole` writes when it has finished"),
        ('{"name": "a", "share"', "is damaged: Invalid JSON: EOF while parsing"),
        ('{"name": "a", "share": 1}', "no by_n; expected what `prm-train whole` writes when it has finished"),
        (
            '{"name": 3, "by_n": {}, "share": 1}',
            "name: got 3: Input should be a valid string; expected what `prm-train whole` writes",
        ),
        (
            '{"name": "a", "by_n": {"x": [1, "b"]}, "share": 1}',
            "by_n: x: got 'x': Input should be a valid integer",
        ),
        ('{"name": "a", "by_n": {}, "share": 1, "parts": [{"n": 1}, {}]}', "parts: 1: no n; expected"),
        (
            '{"name": "a", "by_n": {}, "share": 1, "parts": [{"n": 1.5}]}',
            "parts: 0: n: got 1.5: Input should be a valid integer",
        ),
        ("[1]", "is damaged: got [1]: Input should be an object; expected what `prm-train whole` writes"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_field(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "whole.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=re.escape(f"{path}: {said}")) as caught:
        Whole.read(path)
    assert "\n" not in str(caught.value)


def test_an_object_of_unknown_fields_is_still_an_object(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"any": {"b": [1, null]}}')
    assert read_object(tmp_path / "config.json") == {"any": {"b": [1, None]}}
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(InputError, match=r"config\.json: is damaged: got \[\]: Input should be an object"):
        read_object(tmp_path / "config.json")
