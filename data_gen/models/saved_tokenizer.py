"""Is a loaded tokenizer the one in its tokenizer.json?

transformers builds many tokenizers anew from their vocabulary, with the splitting rule of the class that
tokenizer_config.json or the type of the model names: where that is another rule than the saved one, spaces
vanish, or words are cut elsewhere, and nothing says so.
"""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from data_gen.settings.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Each class splits some of these otherwise than the others: spaces, newlines, digits, contractions, marks,
# several scripts.
TEXTS = (
    "3 plus 4\n= 7",
    "Start with 12.5:  plus 1234567,\ttimes 89.\n\nx = {y}\n    return 3\r\n",
    " \\frac{1}{2} \n Answer: $\\boxed{x_1^2}$ ",
    "I'll say we've DON'T\nit's",
    "naïve cafe\u0301 — “so” … ½ ²³",
    "решение: 42, λύση 7, حل ٤٢, ५६",
    "数学の問題12、答えは３です。",
    "🎉👍🏽\u200b\u00a0x",
    "<s> [INST] a </s>",
)
N_SPECIAL = 32

logger = logging.getLogger(__name__)


def tokenizer_file(path: str) -> Path | None:
    """The tokenizer.json of a folder or Hub name; None where there is none, as beside a SentencePiece model
    or code.
    """
    from transformers.utils import cached_file

    found = cached_file(path, "tokenizer.json", _raise_exceptions_for_missing_entries=False)
    return None if found is None else Path(found)


def read_tokenizer_file(file: Path) -> "Tokenizer":
    """Raises InputError for another file."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except Exception as error:  # `tokenizers` raises that class alone
        if type(error) is not Exception:
            raise
        raise InputError(f"{file}: no tokenizer that this version of tokenizers reads: {error}") from error


def load_by_class(path: str, trust_remote_code: bool = False) -> Any | None:
    """The tokenizer as AutoTokenizer builds it; None where the class that it takes cannot be built of that
    vocabulary.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    except Exception as error:  # `tokenizers` raises that class alone
        if type(error) is not Exception:
            raise
        return None


def first_difference(tokenizer: Any, saved: "Tokenizer") -> str | None:
    """A text that `tokenizer` encodes or decodes otherwise than the saved one; None if there is none among
    `TEXTS` and others with the saved special tokens.
    """
    saved.no_truncation()
    saved.no_padding()
    special = [str(token) for token in saved.get_added_tokens_decoder().values()]
    texts = (*TEXTS, *(f"1 + 1{token}2 = 3\n{token}{token}x" for token in special[:N_SPECIAL]))
    for text in texts:
        ids = saved.encode(text, add_special_tokens=False).ids
        if encoded(tokenizer, text) != ids:
            return text
        if tokenizer.decode(ids, clean_up_tokenization_spaces=False) != saved.decode(
            ids, skip_special_tokens=False
        ):
            return text
    return None


def encoded(tokenizer: Any, text: str) -> list[int]:
    """The ids of a text by itself; special tokens in it are special."""
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=False)["input_ids"])


def class_that_replaces(tokenizer: Any, model_config: Any) -> str | None:
    """The class that AutoTokenizer makes of `tokenizer` once it is saved beside such a model, if that one has
    other ids; else None.
    """
    if getattr(model_config, "auto_map", None):
        return None  # a class of the model's own
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        model_config.save_pretrained(folder)
        loaded = load_by_class(folder)
    same = loaded is not None and all(encoded(loaded, text) == encoded(tokenizer, text) for text in TEXTS)
    return None if same else type(loaded).__name__


def warn_if_replaced(tokenizer: Any, model_config: Any, path: str) -> None:
    """Say before a training what `publish` would refuse after it."""
    name = class_that_replaces(tokenizer, model_config)
    if name is not None:
        logger.warning("%s", _replaced(path, name))


def refuse_replaced(tokenizer: Any, model_config: Any, path: str) -> None:
    """Raises InputError where AutoTokenizer gives other ids for what would be published."""
    name = class_that_replaces(tokenizer, model_config)
    if name is not None:
        raise InputError(_replaced(path, name))


def _replaced(path: str, name: str) -> str:
    return (
        f"model {path}: AutoTokenizer makes a {name} of its tokenizer, with another splitting rule than "
        "tokenizer.json and other ids; the "
        "model works with prm-train, which reads the file as it is, but not elsewhere, and publish refuses "
        "it; expected a base whose "
        "tokenizer AutoTokenizer leaves as it is"
    )
