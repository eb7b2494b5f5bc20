"""The ids that end a text."""

from typing import Any

from data_gen.settings.errors import InputError


def eos_ids(*sources: Any) -> frozenset[int]:
    """Every id that ends a text by the word of any of these: tokenizers, configs of models (their text part
    counts) and of generation.

    Instruct models often have more than the tokenizer's one. A source that is None or names no id adds
    nothing.
    """
    ids: set[int | None] = set()
    for source in sources:
        part = source.get_text_config() if hasattr(source, "get_text_config") else source
        named = getattr(part, "eos_token_id", None)
        ids |= set(named) if isinstance(named, list) else {named}
    return frozenset(token_id for token_id in ids if token_id is not None)


def need_eos_ids(model: str, *sources: Any) -> frozenset[int]:
    """`eos_ids` of a model that writes. Raises InputError where there is none: its texts would never end."""
    ids = eos_ids(*sources)
    if not ids:
        raise InputError(f"{model}: neither tokenizer nor model names an EOS token to end a text")
    return ids
