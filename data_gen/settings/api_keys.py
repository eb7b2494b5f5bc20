"""Secrets come from the environment: a config holds the name of the variable, and no message shows a value
that may be a secret.
"""

import os
import re

from data_gen.settings.errors import InputError


def check_api_key_env(name: str | None) -> None:
    """Raises ValueError for what looks like anything but a variable's name: it may be the key itself."""
    if name is not None:
        check_variable_name(name, "api_key_env", "SERVER_API_KEY; never the key")


def check_variable_name(name: str, setting: str, such_as: str) -> None:
    """Raises ValueError, without the value, unless `name` is an environment variable's name in capitals.

    Keys of capitals and digits alone exist: what looks like one is taken for a name only where the
    environment has it.
    """
    is_like_a_key = (len(name) >= 16 and "_" not in name) or sum(map(str.isdigit, name)) >= 4
    if not re.fullmatch("[A-Z_][A-Z0-9_]*", name) or (is_like_a_key and name not in os.environ):
        raise ValueError(
            f"{setting}: expected the NAME of an environment variable, in capitals, such as {such_as}"
        )


def read_api_key(name: str | None) -> str | None:
    """The key in the variable of this name. Raises InputError where the variable is not set."""
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise InputError(
            f"api_key_env: the environment variable {name} is not set; expected it to hold the API key"
        )
    return key
