"""Models by folder or Hub name, and one sentence in place of a traceback where they are not there."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data_gen.config import InputError
from data_gen.forward_settings import attention_settings


def load_model_config(path: str, trust_remote_code: bool = False) -> Any:
    """The config.json of a model as transformers reads it. Raises InputError where there is none, or an unknown one."""
    from transformers import AutoConfig

    with from_hub_or_folder(path):
        return AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)


def load_model(auto_class: Any, path: str, subfolder: str = "", **options: Any) -> Any:
    """`auto_class.from_pretrained(path)`, with an attention implementation that leaves nothing out of what the model defines.

    Raises InputError where there are no weights.
    """
    with from_hub_or_folder(f"{path}/{subfolder}" if subfolder else path):
        options = _attention_of(path, subfolder, options) | options
        return auto_class.from_pretrained(path, subfolder=subfolder, **options)


def _attention_of(path: str, subfolder: str, options: dict[str, Any]) -> dict[str, str]:
    from transformers import AutoConfig

    config = options.get("config")
    if config is None:
        config = AutoConfig.from_pretrained(path, subfolder=subfolder, trust_remote_code=options.get("trust_remote_code", False))
    return attention_settings(config)


def is_hub_name(path: str) -> bool:
    """Whether from_pretrained takes this for user/name on the Hub: it looks like that, and no folder here is called so."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", path) is not None and not Path(path).is_dir()


@contextmanager
def from_hub_or_folder(path: str) -> Iterator[None]:
    """Around `from_pretrained(path)`: what transformers did not find, or does not know (ValueError), raises InputError.

    A failing disk stays an OSError, with its errno.
    """
    try:
        yield
    except ValueError as error:
        raise InputError(f"model {path}: not loaded: {error}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"model {path}: not loaded: {reason}; expected a local folder of a model, or a name on the Hub") from error
