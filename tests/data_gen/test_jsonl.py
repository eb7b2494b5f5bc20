from pathlib import Path

import pytest

from data_gen.config import InputError
from data_gen.jsonl import read_jsonl, write_jsonl, write_text


def written(folder: Path, content: bytes) -> Path:
    path = folder / "rows.jsonl"
    path.write_bytes(content)
    return path


def test_rows_come_back_with_their_line_numbers_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    path = written(tmp_path, b'{"a": 1}\n\n  \n{"b": "\xc3\xa9\xe2\x80\xa8"}')
    assert list(read_jsonl(path)) == [(1, {"a": 1}), (4, {"b": "é\u2028"})]


def test_written_rows_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.jsonl"
    assert write_jsonl(path, [{"text": "a\nb", "labels": [True, None]}, {"text": "ü"}]) == 2
    assert [row for _, row in read_jsonl(path)] == [{"text": "a\nb", "labels": [True, None]}, {"text": "ü"}]
    assert [child.name for child in path.parent.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": 1', r"rows.jsonl:2: not JSON \(Expecting ',' delimiter at character 8\): {\"a\": 1"),
        (b"[1, 2]", r"rows.jsonl:2: got a JSON list, expected an object: \[1, 2\]"),
        (b"17", r"rows.jsonl:2: got a JSON int"),
        (b'{"a": "\xff"}', r"rows.jsonl:2: not UTF-8 \(byte 7 of the line is 0xff\)"),
    ],
)
def test_a_line_that_is_no_json_object_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = written(tmp_path, b'{"a": 0}\n' + line + b"\n")
    with pytest.raises(InputError, match=message):
        list(read_jsonl(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.jsonl: no such file"):
        list(read_jsonl(tmp_path / "absent.jsonl"))


def test_a_failed_write_leaves_the_earlier_file_and_no_scraps(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_text(path, '{"kept": true}\n')
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_jsonl(path, [{"a": 1}, {"a": {1, 2}}])
    assert [row for _, row in read_jsonl(path)] == [{"kept": True}]
    assert [child.name for child in tmp_path.iterdir()] == ["rows.jsonl"]
