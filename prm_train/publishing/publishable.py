"""What a checkpoint's config and tokenizer must be, checked before it is trained and again when it is
published.

What is wrong with them then was wrong with the base: a tokenizer that its users load as another class, which
cuts text otherwise, or a chat template that is lost on the way.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from data_gen.models.tokenizer import load_tokenizer
from data_gen.settings.errors import InputError
from prm_train.encoding.paths import ScorerEncoding
from prm_train.kinds.model_kind import ModelKind
from prm_train.kinds.paths import ScoredPath
from prm_train.networks.special_ids import check_padding

# Spaces, line ends, digits, LaTeX, other scripts, and what tokenizers have been seen to lose.
PROBES = (
    "Start: 12.5 + 3\n\nx = 7, {y}",
    " \\frac{1}{2}  of it's\ttwo \r\n Answer: 1,007",
    "étés π ≤ 数学 🙂 don't",
)


class TokenizerFaultError(InputError, RuntimeError):
    """A tokenizer is another one once it was written and loaded again."""


def check_publishable(
    folder: Path,
    config: Any,
    encoding: ScorerEncoding,
    kind: ModelKind,
    paths: Sequence[ScoredPath],
    source: str = "",
    done: str = "published",
) -> None:
    """Padding is a token of its own, and the tokenizer in `folder` the one in use. Raises InputError naming
    `source` (the folder, if empty) and what was not `done`.
    """
    check_padding(config, source or str(folder))
    check_tokenizer(folder, encoding, kind, paths, source, done)


def check_tokenizer(
    folder: Path,
    encoding: ScorerEncoding,
    kind: ModelKind,
    paths: Sequence[ScoredPath],
    source: str = "",
    done: str = "published",
) -> None:
    """The written tokenizer must be the one in use, loaded as its users load it: vocabulary, padding, EOS,
    chat template, and the ids of each path. Raises TokenizerFaultError naming what differs.
    """
    used = encoding.tokenizer
    for tokenizer in (load_tokenizer(str(folder)), AutoTokenizer.from_pretrained(folder)):
        said = f"{source or folder}: the saved tokenizer, loaded as {type(tokenizer).__name__},"
        for name in ("pad_token_id", "eos_token_id", "chat_template"):
            if getattr(tokenizer, name) != getattr(used, name):
                raise TokenizerFaultError(
                    f"{said} has {name} {getattr(tokenizer, name)!r}, expected {getattr(used, name)!r}; "
                    f"nothing was {done}"
                )
        reloaded = replace(encoding, tokenizer=tokenizer)
        for path in paths:
            if kind.encode(path, reloaded) != kind.encode(path, encoding):
                raise TokenizerFaultError(
                    f"{said} gives other ids for the path that begins {path.question[:60]!r}; nothing was "
                    f"{done}"
                )
        if tokenizer.get_vocab() != used.get_vocab():
            other = sorted({*tokenizer.get_vocab().items()} ^ {*used.get_vocab().items()})[:3]
            raise TokenizerFaultError(f"{said} has another vocabulary: {other}; nothing was {done}")
