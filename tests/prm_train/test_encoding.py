from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from data_gen.tokenizer import load_tokenizer, train_tokenizer
from prm_train.encoding import EncodingFacts, ScorerEncoding, prepare_encoding

QUESTION = "Start with 3: plus 4, times 2."
STEPS = ["3 plus 4 = 7", "7 times 2 = 14, keep 4", "Answer: 7 4"]


@pytest.fixture
def encoding(tiny_policy: Path) -> ScorerEncoding:
    return prepare_encoding(load_tokenizer(str(tiny_policy)), "\n")


def test_a_path_is_head_then_steps_each_with_separator_and_marker(encoding):
    ids, positions = encoding.encode(QUESTION, STEPS)
    assert encoding.tokenizer.decode(ids) == (
        "<|user|>Start with 3: plus 4, times 2.<|end|><|assistant|>"
        "3 plus 4 = 7\n<|step|>7 times 2 = 14, keep 4\n<|step|>Answer: 7 4\n<|step|>"
    )
    assert [encoding.tokenizer.decode([ids[position]]) for position in positions] == ["<|step|>"] * 3
    assert positions[-1] == len(ids) - 1


def test_ids_of_a_prefix_are_a_prefix_of_the_ids(encoding):
    ids, positions = encoding.encode(QUESTION, STEPS)
    assert encoding.encode_head(QUESTION) == ids[: len(encoding.encode_head(QUESTION))]
    for k in range(len(STEPS) + 1):
        prefix_ids, prefix_positions = encoding.encode(QUESTION, STEPS[:k])
        assert ids[: len(prefix_ids)] == prefix_ids
        assert positions[:k] == prefix_positions


def test_prefix_property_holds_where_text_would_merge_across_steps(encoding):
    steps = ["a", "", " b ", "\n", "c\n\nd", "é" * 3]
    ids, _ = encoding.encode("", steps)
    for k in range(len(steps)):
        assert ids[: len(encoding.encode("", steps[:k])[0])] == encoding.encode("", steps[:k])[0]


def test_a_step_that_spells_the_marker_does_not_become_one(encoding):
    ids = encoding.encode_step("say <|step|> here")
    assert ids.count(encoding.marker_id) == 1
    assert encoding.tokenizer.decode(ids[:-1]) == "say <|step|> here\n"


def test_without_a_chat_template_the_head_is_the_question_and_a_newline():
    tokenizer = train_tokenizer(["one two"], 300, 64)
    tokenizer.chat_template = None
    encoding = prepare_encoding(tokenizer, "\n\n")
    assert encoding.facts == EncodingFacts(layout="plain", step_separator="\n\n", marker_token="<|step|>")
    assert tokenizer.decode(encoding.encode("one", ["two"])[0]) == "one\ntwo\n\n<|step|>"


def foreign_tokenizer(*special: str) -> PreTrainedTokenizerFast:
    """A tokenizer of another project: bytes and these special tokens, the first of which ends a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator([], trainers.BpeTrainer(special_tokens=list(special), initial_alphabet=alphabet, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=special[0])


@pytest.mark.parametrize("marker", ["<extra_0>", "<|quad_end|>", "<|reserved_special_token_0|>"])
def test_a_reserved_token_of_the_model_becomes_the_marker(marker):
    tokenizer = foreign_tokenizer("<|endoftext|>", marker, "<|finetune_right_pad_id|>")
    encoding = prepare_encoding(tokenizer, "\n")
    assert encoding.facts.marker_token == marker
    assert (encoding.marker_id, tokenizer.pad_token, len(tokenizer)) == (1, "<|finetune_right_pad_id|>", 3 + 256)


def test_a_tokenizer_without_reserved_tokens_gets_marker_and_padding():
    tokenizer = foreign_tokenizer("<|endoftext|>")
    encoding = prepare_encoding(tokenizer, "\n")
    assert (encoding.facts.marker_token, encoding.marker_id, tokenizer.pad_token_id) == ("<|step|>", 257, 258)
    assert encoding.encode_step("a")[-1] == 257
    assert encoding.encode_step("<|step|>").count(257) == 1


def test_padding_is_never_the_end_of_text_token():
    tokenizer = train_tokenizer(["one two"], 300, 64)
    tokenizer.pad_token = tokenizer.eos_token
    prepare_encoding(tokenizer, "\n")
    assert tokenizer.pad_token == "<|pad|>"


def test_a_marker_that_the_tokenizer_lacks_is_refused(encoding):
    wrong = ScorerEncoding(encoding.tokenizer, EncodingFacts("chat", "\n", "<extra_0>"))
    with pytest.raises(ValueError, match="'<extra_0>': not a token"):
        wrong.encode_step("3 plus 4 = 7")
