"""A published folder is replaced as a whole: with faults and kills at each of its file events what was there
is there, or comes back.
"""

import errno
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from data_gen.process.disk_faults import describe_disk_fault
from data_gen.publishing.whole_folder import whole_folder
from data_gen.settings.errors import InputError

EVENTS = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "shutil.rmtree")
MARKS = "- prm-train\nsize_categories:\n"


def write(output: Path, version: str, *, is_broken: bool = False) -> None:
    with whole_folder(output, "dataset") as folder:
        (folder / "README.md").write_text(MARKS + version)
        (folder / "prm").mkdir()
        (folder / "prm" / "rows").write_text(version)
        if is_broken:
            raise InputError("no such rows")


def version_of(output: Path) -> str | None:
    """Of a whole folder; None where there is none."""
    if not output.exists():
        return None
    version = (output / "prm" / "rows").read_text()
    assert (output / "README.md").read_text() == MARKS + version
    assert len(list(output.rglob("*"))) == 3
    return version


def write_with_faults(output: Path, version: str, fault: str, first: int) -> int:
    """Exit code of a process in which file event number `first`, and with 'all fail' each one after it, fails
    or is the last of its life.

    0: written; 1: it said that the disk is full; 9: killed; 7: the event never came.
    """
    child = os.fork()
    if child == 0:
        code, count = 2, 0

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            if event in EVENTS:
                count += 1
                if count == first and fault == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if count == first or (count > first and fault == "all fail"):
                    raise OSError(errno.ENOSPC, "No space left on device")

        sys.addaudithook(watch)
        try:
            write(output, version)
            code = 0 if count >= first else 7
        except OSError as error:
            said = describe_disk_fault(error)
            code = 1 if said and said[1] == 1 else 2
        finally:
            os._exit(code)
    return abs(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


@pytest.mark.parametrize("fault", ["one fails", "all fail", "kill"])
@pytest.mark.parametrize("before", ["first", None])
def test_a_fault_at_any_file_event_loses_nothing_and_leaves_nothing(
    tmp_path: Path, fault: str, before: str | None
):
    number, codes = 0, set[int]()
    while 7 not in codes:
        number += 1
        output = tmp_path / str(number) / "dataset"
        output.parent.mkdir()
        if before:
            write(output, before)
        code = write_with_faults(output, "second", fault, number)
        codes.add(code)
        found = version_of(output)
        if code in (0, 7):
            assert found == "second"
        elif fault == "one fails":
            assert (code, found) == (1, before)
        with suppress(InputError):
            write(output, "third", is_broken=True)  # puts right what was left, and changes nothing itself
        assert version_of(output) == found or (found is None and version_of(output) == before)
        assert [path.name for path in output.parent.iterdir()] == ["dataset"] * output.exists()
        write(output, "third")
        assert version_of(output) == "third"
        assert [path.name for path in output.parent.iterdir()] == ["dataset"]
    assert number > 8
    assert codes == {"one fails": {0, 1, 7}, "all fail": {0, 1, 7}, "kill": {9, 7}}[fault]


def test_an_error_names_the_earlier_folder_where_it_cannot_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    output, rename = tmp_path / "dataset", Path.rename
    write(output, "first")

    def fail(self: Path, target: Path) -> Path:
        if target == output:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(PermissionError) as caught:
        write(output, "second")
    old = tmp_path / ".dataset.prm-train" / "old"
    assert f"Permission denied: what was there lies in {old}, and the same command puts it back" in str(
        caught.value
    )
    assert version_of(old) == "first"
    monkeypatch.undo()
    write(output, "second")
    assert version_of(output) == "second"


def test_folders_of_others_are_not_touched(tmp_path: Path):
    output = tmp_path / "dataset"
    for name in (".dataset.backup", ".dataset.prm-train"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"\.dataset\.prm-train: holds other files than this command's"):
        write(output, "first")
    assert (tmp_path / ".dataset.prm-train" / "notes.txt").read_text() == "mine"
    (tmp_path / ".dataset.prm-train" / "notes.txt").unlink()
    with (
        whole_folder(output, "dataset"),
        pytest.raises(InputError, match="dataset: another command is writing this folder"),
    ):
        write(output, "second")
    assert [path.name for path in output.iterdir()] == []
    write(output, "third")  # an empty folder is anybody's
    with (
        pytest.raises(InputError, match="exists and is no model of this command"),
        whole_folder(output, "model"),
    ):
        pass
    assert version_of(output) == "third"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".dataset.backup", "dataset"]


def test_a_folder_behind_a_link_is_replaced_where_it_lies(tmp_path: Path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "dataset").symlink_to(tmp_path / "disk" / "dataset")
    for version in ("first", "second"):
        write(tmp_path / "dataset", version)
    assert version_of(tmp_path / "disk" / "dataset") == "second"
    assert (tmp_path / "dataset").is_symlink()


def test_a_card_that_is_no_text_is_not_ours(tmp_path: Path):
    (tmp_path / "README.md").write_bytes(b"\xff" + MARKS.encode())
    with pytest.raises(InputError, match="exists and is no dataset of this command"):
        write(tmp_path, "first")
