"""A folder that appears whole: what `publish` and `publish-data` write becomes their output when it is
finished, or vanishes.

While a command is at work on the output NAME, `.NAME.prm-train` lies beside it: in its folder `new` is what
is being written, and for the moment between two renames its folder `old` is the earlier output. What a kill
leaves there the next command on that output puts right.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from data_gen.files.locks import lock
from data_gen.settings.errors import InputError

logger = logging.getLogger(__name__)
CARD = "README.md"
# By these lines of its card a folder is known as one that its command wrote, and may replace.
CARD_LINES = {
    "dataset": {"- prm-train", "size_categories:"},
    "model": {"- prm-train", "library_name: transformers"},
}


@contextmanager
def whole_folder(output: Path, kind: Literal["dataset", "model"]) -> Iterator[Path]:
    """A folder of the same name to write into, which becomes `output` when the block ends well and vanishes
    when it does not.

    An earlier `output` of this kind is replaced, and stays where anything fails. Raises InputError where
    `output` holds something else, and while another command writes it.
    """
    target = output.resolve()
    work = target.parent / f".{target.name}.prm-train"
    _refuse_others(output, kind)
    with _held(work, output):
        _put_back(target, work)  # after a kill
        _empty(work)
        try:
            _refuse_others(output, kind)
            new = work / "new" / target.name
            new.mkdir(parents=True)
            yield new
            if target.exists():
                target.rename(work / "old")
            new.rename(target)
        finally:
            _put_back(target, work)
            try:
                _empty(work)
                work.rmdir()
            except OSError as error:  # by now the output is what it should be
                logger.warning(
                    "%s: could not be removed (%s); the next command on %s will try again",
                    work,
                    error.strerror,
                    output,
                )


def _refuse_others(output: Path, kind: str) -> None:
    if output.exists() and not (output.is_dir() and (_is_empty(output) or _is_ours(output / CARD, kind))):
        raise InputError(
            f"{output}: exists and is no {kind} of this command; choose another folder, or delete this one"
        )


def _is_empty(folder: Path) -> bool:
    return next(folder.iterdir(), None) is None


def _is_ours(card: Path, kind: str) -> bool:
    return card.is_file() and CARD_LINES[kind] <= set(card.read_text(errors="replace").splitlines())


@contextmanager
def _held(work: Path, output: Path) -> Iterator[None]:
    """The folder `work` for this process alone. Raises InputError where another one has it, and where it is
    none of ours.
    """
    work.mkdir(parents=True, exist_ok=True)
    if not {path.name for path in work.iterdir()} <= {"new", "old"}:
        raise InputError(
            f"{work}: holds other files than this command's, which writes {output} there first; expected no "
            "such folder"
        )
    descriptor = os.open(work, os.O_RDONLY)
    try:
        if not lock(descriptor, work):
            raise InputError(f"{output}: another command is writing this folder; expected one at a time")
        yield
    finally:
        os.close(descriptor)


def _put_back(target: Path, work: Path) -> None:
    """The earlier output comes back where it was moved aside and nothing took its place."""
    old = work / "old"
    if not old.exists() or (target.exists() and not _is_empty(target)):
        return
    try:
        old.rename(target)
    except OSError as error:
        reason = f"{error.strerror}: what was there lies in {old}, and the same command puts it back"
        raise OSError(error.errno, reason, str(target)) from error


def _empty(work: Path) -> None:
    for path in work.iterdir():
        shutil.rmtree(path)
