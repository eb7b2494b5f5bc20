from pathlib import Path

import pytest

from data_gen.files.jsonl import (
    read_json_list,
    read_jsonl,
    read_objects,
    write_jsonl,
    write_objects,
    write_text,
)
from data_gen.settings.errors import InputError


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
        (b'{"a": NaN}', r"rows.jsonl:2: not JSON \(NaN is no JSON number\)"),
        (b'{"a": -Infinity}', r"rows.jsonl:2: not JSON \(-Infinity is no JSON number\)"),
        (b'{"a": 1e999}', r"rows.jsonl:2: not JSON \(1e999 is beyond the largest float\)"),
        (b'{"a": ' + b"9" * 5000 + b"}", r"rows.jsonl:2: not JSON \(Exceeds the limit"),
        (b'{"a": 1, "b": 2, "a": 3}', r"rows.jsonl:2: not JSON \(key 'a' comes twice\)"),
        (b'{"a": {"b": 1, "b": 1}}', r"rows.jsonl:2: not JSON \(key 'b' comes twice\)"),
        (b'{"a": "\\ud83d"}', r"rows.jsonl:2: not Unicode \(half of a surrogate pair\)"),
        (b'{"a": ' + b"[" * 100_000, r"rows.jsonl:2: JSON nested too deeply"),
        (b'{"a": 1} {"b": 2}', r"rows.jsonl:2: not JSON \(Extra data at character 10\)"),
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


def test_a_pair_of_escaped_surrogates_is_one_character(tmp_path: Path) -> None:
    path = written(tmp_path, b'{"a": "\\ud83d\\ude00"}\n')
    assert list(read_jsonl(path)) == [(1, {"a": "\U0001f600"})]


def test_a_json_list_gives_its_items_and_the_lines_on_which_they_begin(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(b'\xef\xbb\xbf[\n  {"a": 1},\n  {"a":\n 2}\n,\n\n{"a": 3} ]\n')
    assert list(read_json_list(path)) == [(2, {"a": 1}), (3, {"a": 2}), (7, {"a": 3})]
    assert list(read_objects(path)) == list(read_json_list(path))
    path.write_text(" [ ] ")
    assert list(read_json_list(path)) == []
    assert write_objects(path, [{"a": "é"}]) == 1
    assert path.read_text() == '[\n  {\n    "a": "é"\n  }\n]'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}', r"rows\.json:1: got '.\"a\": 1.', expected a JSON list"),
        (b"", r"rows\.json:1: got '', expected a JSON list"),
        (b'[\n{"a": 1},\n{"a": 2', r"rows\.json:3: not JSON \(Expecting ',' delimiter"),
        (b'[\n{"a": 1},\n]', r"rows\.json:3: not JSON \(Expecting value"),
        (
            b'[{"a": 1}\n{"a": 2}]',
            r"rows\.json:2: not JSON: got '.\"a\": 2..' after an item, expected ',' or '\]'",
        ),
        (b'[{"a": 1}]\n\nmore', r"rows\.json:3: not JSON: got 'more' after the end of the list"),
        (b'[\n{"a": 1}, 7]', r"rows\.json:2: got a JSON int, expected an object"),
        (b'[\n{"a": "\xff"}]', r"rows\.json:2: not UTF-8"),
        (b'[\n{"a": NaN}]', r"rows\.json:2: not JSON \(NaN is no JSON number\)"),
    ],
)
def test_a_broken_json_list_is_named_by_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_json_list(path))
