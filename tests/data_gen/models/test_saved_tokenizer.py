"""Tokenizers of small vocabularies under the names of classes that split text otherwise."""

import json
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast

from data_gen.models.saved_tokenizer import class_that_replaces
from data_gen.models.tokenizer import CHAT_TEMPLATE, load_tokenizer
from data_gen.settings.errors import InputError

TEXT = "3 plus 4\n= 7, the solution"


def byte_level() -> Tokenizer:
    """As GPT-2's: words with the space before them, runs of digits."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    return tokenizer


def single_digits() -> Tokenizer:
    """As Llama 3's and DeepSeek's: another rule before the bytes."""
    tokenizer = byte_level()
    rule = pre_tokenizers.Split(Regex(r"\p{N}| ?\p{L}+|\s+"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [rule, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return tokenizer


def metaspace() -> Tokenizer:
    """As Llama 2's file: a space before every piece, also before one that begins with a space."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path, model_type: str, name: str) -> str:
    """The folder of a model of that type whose tokenizer_config.json names that class."""
    special = ["<|end|>", "<|pad|>", "<unk>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [TEXT] * 5, trainers.BpeTrainer(vocab_size=330, special_tokens=special, initial_alphabet=alphabet)
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>", chat_template=CHAT_TEMPLATE
    )
    fast.save_pretrained(folder)
    AutoConfig.for_model(model_type).save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tokenizer_class": name}))
    return str(folder)


@pytest.mark.parametrize(
    ("build", "model_type", "name"),
    [
        (byte_level, "llama", "LlamaTokenizerFast"),  # spaces and newlines would vanish
        (single_digits, "llama", "LlamaTokenizerFast"),
        (byte_level, "qwen3", "Qwen2Tokenizer"),
        (single_digits, "mistral", "GPT2TokenizerFast"),
        (byte_level, "gemma2", "GemmaTokenizer"),  # cannot be built of that vocabulary
        (byte_level, "smollm3", "CohereTokenizerFast"),
        (metaspace, "llama", "LlamaTokenizer"),
        (byte_level, "qwen2", "Qwen2Tokenizer"),
    ],
)
def test_the_tokenizer_in_use_is_the_one_that_was_saved(build, model_type, name, tmp_path):
    path = save(build(), tmp_path, model_type, name)
    saved, used = Tokenizer.from_file(str(tmp_path / "tokenizer.json")), load_tokenizer(path)
    for text in (TEXT, " 12 34\n\n<|end|>x", "naïve 問題"):
        ids = used(text, add_special_tokens=False)["input_ids"]
        assert ids == saved.encode(text, add_special_tokens=False).ids
        assert used.decode(ids) == saved.decode(ids, skip_special_tokens=False)
    assert (used.eos_token, used.pad_token, used.chat_template) == ("<|end|>", "<|pad|>", CHAT_TEMPLATE)
    assert used.decode(used.encode(TEXT, add_special_tokens=False)) == TEXT


def test_a_saved_tokenizer_is_written_so_that_transformers_loads_it_alike(tmp_path):
    path = save(byte_level(), tmp_path / "base", "llama", "LlamaTokenizerFast")
    assert AutoTokenizer.from_pretrained(path)(TEXT)["input_ids"] != load_tokenizer(path)(TEXT)["input_ids"]
    load_tokenizer(path).save_pretrained(tmp_path / "saved")
    AutoConfig.for_model("llama").save_pretrained(tmp_path / "saved")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert loaded(TEXT)["input_ids"] == load_tokenizer(path)(TEXT)["input_ids"]


def test_the_class_that_transformers_puts_in_its_place_is_known_beforehand(tmp_path):
    """Of any qwen2 model AutoTokenizer makes a Qwen2Tokenizer, whatever is saved."""
    used = load_tokenizer(save(byte_level(), tmp_path, "qwen2", "PreTrainedTokenizerFast"))
    assert class_that_replaces(used, AutoConfig.for_model("qwen2")) == "Qwen2Tokenizer"
    assert class_that_replaces(used, AutoConfig.for_model("llama")) is None


def test_a_file_that_is_no_tokenizer_is_named(tmp_path):
    path = save(byte_level(), tmp_path, "llama", "PreTrainedTokenizerFast")
    (tmp_path / "tokenizer.json").write_text('{"model": {}}')
    with pytest.raises(
        InputError, match=rf"{tmp_path}/tokenizer.json: no tokenizer that this version of tokenizers reads"
    ):
        load_tokenizer(path)
