"""The tokenizer of models that are built here: byte-level BPE, so that any text has an encoding, with the tokens the toolkit reserves.

Digits are single tokens (with or without the space before them) and a newline never merges with anything.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, EOS, USER, ASSISTANT, MARKER = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|step|>"
SPECIAL_TOKENS = [PAD, EOS, USER, ASSISTANT, MARKER, "<|think|>", "<|wait|>", *(f"<|reserved_{i}|>" for i in range(5))]

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '<|user|>' + message['content'] + '<|end|>' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ '<|assistant|>' }}{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ raise_exception('unknown role: ' + message['role']) }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int, context_length: int) -> "PreTrainedTokenizerFast":
    """Byte-level BPE learnt from `texts`; at least 256 bytes + the special tokens."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    pieces = Regex(r"\n| ?\d| ?\p{L}+| ?[^\s\p{L}\d]+|[^\S\n]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pieces, behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        model_max_length=context_length,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(path: str, trust_remote_code: bool = False) -> "PreTrainedTokenizerFast":
    """The tokenizer of a model folder or Hub name, as it was saved.

    `AutoTokenizer` of transformers 5 turns the tokenizer of any qwen2 folder into a Qwen2Tokenizer with Qwen's own splitting rule, so that a
    tokenizer made by `train_tokenizer` would come back with other ids and without an error.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    if get_tokenizer_config(path).get("tokenizer_class") in ("TokenizersBackend", "PreTrainedTokenizerFast"):
        return PreTrainedTokenizerFast.from_pretrained(path)
    return AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
