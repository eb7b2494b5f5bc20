"""The tokenizer of models that are built here: byte-level BPE, so that any text has an encoding, with the
tokens the toolkit reserves.

Digits are single tokens.
"""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from data_gen.models.pretrained import from_hub_or_folder
from data_gen.models.saved_tokenizer import (
    first_difference,
    load_by_class,
    read_tokenizer_file,
    tokenizer_file,
)
from data_gen.settings.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

PAD, EOS, USER, ASSISTANT, MARKER = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|step|>"
SPECIAL_TOKENS = [
    PAD,
    EOS,
    USER,
    ASSISTANT,
    MARKER,
    "<|think|>",
    "<|wait|>",
    *(f"<|reserved_{i}|>" for i in range(5)),
]

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '<|user|>' + message['content'] + '<|end|>' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ '<|assistant|>' }}{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ raise_exception('unknown role: ' + message['role']) }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int, context_length: int) -> "Qwen2Tokenizer":
    """Byte-level BPE learnt from `texts` under Qwen2's splitting rule; at least 256 bytes + the special
    tokens.

    The rule is Qwen2's because AutoTokenizer gives every qwen2 folder that rule, whatever its tokenizer.json
    says.
    """
    from tokenizers import pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    empty = Qwen2Tokenizer(vocab={}, merges=[], unk_token=None, pad_token=PAD, eos_token=EOS)
    backend = empty.backend_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    learnt = json.loads(backend.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=learnt["vocab"],
        merges=[tuple(merge) for merge in learnt["merges"]],
        unk_token=None,
        pad_token=PAD,
        eos_token=EOS,
        additional_special_tokens=SPECIAL_TOKENS[2:],
        model_max_length=context_length,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


# Some templates (Llama 3.2's) tell the model today's date. This line before them tells the date that Llama
# 3.2 takes without a clock, at midnight, in the format that the template asks for. Other directives stay as
# they are written.
DATE_PARTS = {
    **{"%d": "26", "%m": "07", "%Y": "2024", "%y": "24", "%j": "208"},
    **{"%a": "Fri", "%A": "Friday", "%b": "Jul", "%B": "July"},
    **{"%H": "00", "%M": "00", "%S": "00"},
}
FILLED_FORMAT = " | ".join(
    ["format", *(f"replace('{directive}', '{part}')" for directive, part in DATE_PARTS.items())]
)
FIXED_DATE = "{%- macro strftime_now(format) -%}{{- " + FILLED_FORMAT + " -}}{%- endmacro -%}"


def load_tokenizer(path: str, trust_remote_code: bool = False) -> "PreTrainedTokenizerFast":
    """The tokenizer of a model folder or Hub name, as it was saved; a chat template that reads the clock gets
    a fixed date, so that a question has the same ids tomorrow. Raises InputError where there is none, or
    where it is not the one in its tokenizer.json.
    """
    with from_hub_or_folder(path):
        tokenizer = _as_saved(path, trust_remote_code)
    templates = tokenizer.chat_template  # one, several by name, or None
    if isinstance(templates, dict):
        tokenizer.chat_template = {name: _with_fixed_date(template) for name, template in templates.items()}
    elif templates is not None:
        tokenizer.chat_template = _with_fixed_date(templates)
    return tokenizer


def _as_saved(path: str, trust_remote_code: bool) -> "PreTrainedTokenizerFast":
    """By its own class, unless that one splits text otherwise than tokenizer.json does: then by the file
    alone.
    """
    from transformers import PreTrainedTokenizerFast
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    file = tokenizer_file(path)
    saved = None if file is None else read_tokenizer_file(file)
    by_class = None
    if get_tokenizer_config(path).get("tokenizer_class") not in (
        "TokenizersBackend",
        "PreTrainedTokenizerFast",
    ):
        by_class = load_by_class(path, trust_remote_code)
        if by_class is not None and (saved is None or first_difference(by_class, saved) is None):
            return by_class
    plain = PreTrainedTokenizerFast.from_pretrained(path)
    if saved is None:
        return plain
    for name in ("bos_token", "eos_token", "unk_token", "pad_token"):  # what the class alone knows of them
        known = getattr(by_class, name, None)
        if getattr(plain, name) is None and known is not None and saved.token_to_id(known) is not None:
            setattr(plain, name, known)
    text = first_difference(plain, saved)
    if text is not None:
        raise InputError(
            f"model {path}: its tokenizer gives for {text!r} other ids or text than its tokenizer.json; "
            "expected the same"
        )
    return plain


def _with_fixed_date(template: str) -> str:
    return (
        FIXED_DATE + template
        if "strftime_now" in template and not template.startswith(FIXED_DATE)
        else template
    )
