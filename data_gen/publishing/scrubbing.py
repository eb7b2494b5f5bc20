"""What may be said in public of a setting or a path: no secret, no address of a server, no folder of this
machine.

/home/alice/models/qwen-7b          qwen-7b
http://alice:key@10.0.0.7:8000/v1   <server>
runs/math/rows                      runs/math/rows     (as typed: it says where it lies in the project, not on
                                    the machine)
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_gen.models.gguf import PREFIX, is_gguf
from data_gen.settings.errors import InputError

SECRET_NAME = re.compile(r"(^|_)(token|api_?key|key|secret|password|credentials?)$", re.IGNORECASE)
MIN_SECRET_LENGTH = 8  # shorter values ("1", "none") would be found everywhere
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_PATH = re.compile(r"(?<![\w.<>/\\$-])(?:~[\w-]*(?:/[\w.+@-]+)+|\.\.(?:/[\w.+@-]+)+|(?:/[\w.+@-]+){2,})/?")


def secrets(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The values of environment variables that are named as secrets, by name."""
    return {
        name: value
        for name, value in environment.items()
        if SECRET_NAME.search(name) and len(value) >= MIN_SECRET_LENGTH
    }


def public_text(text: str) -> str:
    """The text with secrets and addresses blanked and absolute paths cut down to what they name."""
    for value in secrets().values():
        text = text.replace(value, "<secret>")
    text = _URL.sub("<server>", text)
    if text.startswith(("/", "~", "../")) and "\n" not in text:
        return public_path(text)
    return _PATH.sub(lambda found: public_path(found.group()), text)


def public_path(path: str | Path) -> str:
    """A path inside the working directory relative to it, any other that leads out of it by its last part
    alone; of `gguf:<file>` the file.
    """
    if is_gguf(str(path)):
        return PREFIX + public_path(str(path).removeprefix(PREFIX))
    path = Path(path)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    leads_out = path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].startswith("~"))
    return path.name if leads_out else str(path)


def public_settings(settings: Any) -> Any:
    """A config as JSON holds it, without the keys that hold secrets and with every text made public."""
    if isinstance(settings, dict):
        return {
            name: public_settings(value) for name, value in settings.items() if not SECRET_NAME.search(name)
        }
    if isinstance(settings, list):
        return [public_settings(value) for value in settings]
    return public_text(settings) if isinstance(settings, str) else settings


def refuse_secrets(files: Iterable[Path]) -> None:
    """Raises InputError naming the first file and line that holds the value of an environment variable named
    as a secret.
    """
    known = {name: value.encode() for name, value in secrets().items()}
    for path in files:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                for name, value in known.items():
                    if value in line:
                        raise InputError(
                            f"{path}:{number}: holds the value of {name} (environment); expected no secret "
                            "in public rows"
                        )
