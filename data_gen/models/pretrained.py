"""Models by folder or Hub name, and one sentence in place of a traceback where they are not there, or not
whole.
"""

import logging
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data_gen.files.stored_record import read_object
from data_gen.models.forward_settings import attention_settings
from data_gen.models.loaded_weights import check_weights
from data_gen.process.library_noise import show_no_loading_bars
from data_gen.settings.errors import InputError

# What transformers and torch say, as a RuntimeError, of weights that cannot be read or put together; all else
# of that class is a fault.
NOT_PUT_TOGETHER = "We encountered some issues during automatic conversion"
BROKEN_WEIGHTS = ("Error(s) in loading state_dict", "PytorchStreamReader failed")


def load_model_config(path: str, trust_remote_code: bool = False) -> Any:
    """The config.json of a model as transformers reads it. Raises InputError where there is none, or an
    unknown one.
    """
    from transformers import AutoConfig

    refuse_adapter(path)
    with from_hub_or_folder(path):
        return AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)


def load_model(
    auto_class: Any, path: str, subfolder: str = "", new_head: bool = False, **options: Any
) -> Any:
    """`auto_class.from_pretrained(path)`, whose weights are all there and all finite; with `new_head` that of
    the network may be new.

    Its attention implementation leaves nothing out of what the model defines. Raises InputError where there
    are no weights, or others than the network's.
    """
    refuse_adapter(path)
    show_no_loading_bars()
    where = f"{path}/{subfolder}" if subfolder else path
    with from_hub_or_folder(where), _no_load_report():
        options = _attention_of(path, subfolder, options) | options
        model, found = auto_class.from_pretrained(
            path, subfolder=subfolder, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    check_weights(model, found, where, new_head)
    return model


def _attention_of(path: str, subfolder: str, options: dict[str, Any]) -> dict[str, str]:
    from transformers import AutoConfig

    config = options.get("config")
    if config is None:
        config = AutoConfig.from_pretrained(
            path, subfolder=subfolder, trust_remote_code=options.get("trust_remote_code", False)
        )
    return attention_settings(config)


def is_hub_name(path: str) -> bool:
    """Whether from_pretrained takes this for user/name on the Hub: it looks like that, and no folder here is
    called so.
    """
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", path) is not None and not Path(path).is_dir()


def refuse_adapter(path: str) -> None:
    """Raises InputError for a folder with low-rank updates alone, or beside a model: whether they count
    there, nobody says.
    """
    base = adapted_model(path)
    if base is not None:
        raise InputError(
            f"model {path}: its adapter_config.json says that it holds an adapter (PEFT) of {base}; expected "
            "a whole model, as "
            "PeftModel.from_pretrained(…).merge_and_unload().save_pretrained(…) writes it"
        )


def adapted_model(path: str) -> str | None:
    """The model that a folder or Hub name with a PEFT adapter is of; None where there is no adapter."""
    from transformers.utils.peft_utils import find_adapter_config_file

    if not Path(path).is_dir() and not is_hub_name(path):
        return None
    with from_hub_or_folder(path):
        file = find_adapter_config_file(path)
    return None if file is None else str(read_object(Path(file)).get("base_model_name_or_path"))


@contextmanager
def from_hub_or_folder(path: str) -> Iterator[None]:
    """Around `from_pretrained(path)`: what transformers did not find, or does not know (ValueError), raises
    InputError, and so do files that are broken.

    A failing disk stays an OSError, with its errno.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, pickle.UnpicklingError, EOFError) as error:
        raise InputError(f"model {path}: not loaded: {_broken_file(path, error)}") from error
    except RuntimeError as error:
        if not str(error).startswith(BROKEN_WEIGHTS):
            raise
        raise InputError(f"model {path}: not loaded: {_broken_file(path, error)}") from error
    except ValueError as error:
        raise InputError(f"model {path}: not loaded: {error}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"model {path}: not loaded: {reason}; expected a local folder of a model, or a name on the Hub"
        ) from error


def _broken_file(path: str, error: Exception) -> str:
    """What is wrong with the first weight file of a folder that cannot be opened; what `error` says where all
    can be.
    """
    from safetensors import SafetensorError, safe_open

    for file in sorted(Path(path).glob("*.safetensors")):
        if _is_pointer(file):
            return f"{file.name} is a pointer of git-lfs; expected the file itself (git lfs pull)"
        try:
            with safe_open(file, "numpy"):
                pass
        except SafetensorError as found:
            return (
                f"{file.name} is broken, with {file.stat().st_size:,} bytes ({found}); expected a whole "
                "file: copy or download it again"
            )
    for file in sorted(Path(path).glob("*.bin")):
        if _is_pointer(file):
            return f"{file.name} is a pointer of git-lfs; expected the file itself (git lfs pull)"
    said = " ".join(str(error).split()).partition(". ")[0] or type(error).__name__
    return f"its weights cannot be read ({said}); expected whole files: copy or download them again"


def _is_pointer(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(40).startswith(b"version https://git-lfs")


@contextmanager
def _no_load_report() -> Iterator[None]:
    """Without transformers' table of missing and other weights: `check_weights` says in a line what of it
    matters.

    Raises ValueError for weights that are one in the network and several in the files (experts), some of
    which are missing: the table alone names them.
    """
    logger = logging.getLogger("transformers.modeling_utils")
    tables: list[str] = []
    library = logging.getLogger("transformers")
    its_level = library.level

    def is_other(record: logging.LogRecord) -> bool:
        if "LOAD REPORT" in record.getMessage():
            tables.append(re.sub(r"\x1b\[[\d;]*m", "", record.getMessage()))
            return False
        return record.levelno >= its_level

    logger.addFilter(is_other)
    # The table is a warning, and a training before this has made the library quieter than that.
    library.setLevel(min(its_level, logging.WARNING))
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith(NOT_PUT_TOGETHER):
            raise
        names = re.findall(r"^(\S+) *\| CONVERSION", "\n".join(tables), re.MULTILINE)
        raise ValueError(
            f"parts of {', '.join(names[:3])} are missing, or have other shapes; expected those of all "
            "experts"
        ) from error
    finally:
        library.setLevel(its_level)
        logger.removeFilter(is_other)
