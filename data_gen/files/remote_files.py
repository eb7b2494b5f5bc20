"""Files in object storage, as fsspec opens them (s3://, gs://, hf://), for readers of files."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_gen.settings.errors import InputError


@contextmanager
def local_copy(name: str) -> Iterator[Path]:
    """A file of this machine, or a copy of the one that a URL names. Raises InputError where it is not there,
    or the package for such URLs is not installed.
    """
    if "://" not in name:
        yield Path(name)
        return
    import fsspec  # slow to load

    with tempfile.TemporaryDirectory(prefix="prm-train-") as folder:
        copy = Path(folder) / name.rpartition("/")[2]
        try:
            fs, path = fsspec.core.url_to_fs(name)
            fs.get_file(path, str(copy))
        except (OSError, ImportError, ValueError) as error:
            raise InputError(
                f"{name}: {type(error).__name__}: {error}; expected a file that fsspec reads"
            ) from None
        yield copy
