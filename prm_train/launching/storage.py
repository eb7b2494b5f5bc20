"""Folders that may be URLs, as fsspec opens them (s3://, gs://, memory://): where shards end up and what is
gathered of them. A file there is whole or absent.
"""

import tempfile
from pathlib import Path
from typing import TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem
from pydantic import TypeAdapter, ValidationError

from data_gen.settings.errors import InputError

Record = TypeVar("Record")


def joined(folder: str, *names: str) -> str:
    return "/".join((folder.rstrip("/"), *names))


def is_local(folder: str) -> bool:
    return "://" not in folder


def absolute(folder: str) -> str:
    """The same folder for processes that run elsewhere."""
    return str(Path(folder).absolute()) if is_local(folder) else folder.rstrip("/")


def opened(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URL, and the path in it. Raises InputError for one whose package is missing."""
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InputError(f"{url}: {error}; expected a path, or a URL that fsspec opens") from None
    return fs, path


def exists(url: str) -> bool:
    fs, path = opened(url)
    fs.invalidate_cache()  # others write there, too
    return bool(fs.exists(path))


def read_text(url: str) -> str | None:
    """None where there is no such file."""
    fs, path = opened(url)
    try:
        return bytes(fs.cat_file(path)).decode()
    except FileNotFoundError:
        return None


def read_record(url: str, kind: type[Record]) -> Record | None:
    """A record that a process has left there; None where it has not. Raises InputError for a damaged one."""
    text = read_text(url)
    if text is None:
        return None
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        raise InputError(f"{url}: is damaged: {error.errors()[0]['msg']}") from None


def put(file: Path, url: str) -> None:
    """Copy a file of this machine. In object storage an upload is seen when it is whole; a folder gets a file
    of another name, which is then renamed.
    """
    fs, path = opened(url)
    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    if not isinstance(fs, LocalFileSystem):
        fs.put_file(str(file), path)
        return
    partial = f"{path}.partial"
    fs.put_file(str(file), partial)
    Path(partial).replace(path)


def put_text(text: str, url: str) -> None:
    with tempfile.TemporaryDirectory(prefix="prm-train-launch-") as folder:
        file = Path(folder) / "text"
        file.write_text(text + "\n", encoding="utf-8")
        put(file, url)


def fetch(url: str, file: Path) -> None:
    """Copy a file to this machine; it gets its name when it is whole."""
    fs, path = opened(url)
    partial = file.with_name(f".{file.name}.partial")
    fs.get_file(path, str(partial))
    partial.replace(file)


def file_names(folder: str) -> list[str]:
    """Of the files in a folder; none where it does not exist."""
    fs, path = opened(folder)
    fs.invalidate_cache()
    if not fs.exists(path):
        return []
    files = (each["name"] for each in fs.ls(path, detail=True) if each["type"] == "file")
    return [name.rpartition("/")[2] for name in files]
