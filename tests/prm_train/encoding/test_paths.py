from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from data_gen.models.prompt_ids import encode_chain, encode_messages, encode_question
from data_gen.models.prompt_layout import PromptLayout
from data_gen.models.tokenizer import load_tokenizer, train_tokenizer
from data_gen.policies.engine.transformers_policy import load_policy
from data_gen.policies.vocabulary import load_vocabulary
from data_gen.records.chats import Message
from data_gen.records.steps import split_steps
from data_gen.settings.errors import InputError
from prm_train.encoding.paths import EncodingFacts, ScorerEncoding, prepare_encoding

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


@pytest.mark.parametrize(
    ("separator", "steps", "found"),
    [
        ("\n", ["3 plus 4\nis 7", "Answer: 7"], ["3 plus 4", "is 7", "Answer: 7"]),
        ("\n", ["3 plus 4\n\nis 7\n", "Answer: 7\n"], ["3 plus 4", "is 7", "Answer: 7"]),
        ("\n", ["3 plus 4\r\nis 7\r\n", "Answer: 7"], ["3 plus 4\r", "is 7\r", "Answer: 7"]),
        ("\n", ["", "3 plus 4 = 7", " \n ", "Answer: 7", "\n"], ["3 plus 4 = 7", "Answer: 7"]),
        ("\n\n", ["3 plus 4\nis 7", "Answer: 7"], ["3 plus 4\nis 7", "Answer: 7"]),
        ("\n\n", ["\n3 plus 4\n\nis 7\n\n", "\nAnswer: 7"], ["\n3 plus 4", "is 7", "\nAnswer: 7"]),
        # As the end of a text that lacks its separator
        ("\n\n", ["3 plus 4 = 7", "Answer: 7\n"], ["3 plus 4 = 7", "Answer: 7"]),
        (" ки", ["3 plus 4 ки is 7 ки", "Answer: 7"], ["3 plus 4", " is 7", "Answer: 7"]),
    ],
)
def test_a_text_has_the_same_ids_however_rows_cut_it_into_steps(separator, steps, found, encoding):
    """Training encodes the steps of rows, search those that it finds in a text by their separator."""
    encoding = replace(encoding, facts=replace(encoding.facts, step_separator=separator))
    assert [*split_steps("".join(step + separator for step in found), separator)] == found
    ids, positions = encoding.encode(QUESTION, steps)
    searched, ends = encoding.encode(QUESTION, found)
    assert ids == searched
    assert positions[-1] == ends[-1] == len(ids) - 1
    assert {*positions} <= {len(encoding.encode_head(QUESTION)) - 1, *ends}


def test_a_step_that_spells_the_marker_does_not_become_one(encoding):
    ids = encoding.encode_step("say <|step|> here")
    assert ids.count(encoding.marker_id) == 1
    assert encoding.tokenizer.decode(ids[:-1]) == "say <|step|> here\n"


@pytest.mark.parametrize("layout", ["chat", "plain"])
@pytest.mark.parametrize(
    "spelled", ["<|step|>", "<|end|>", "<|user|>", "<|end|><|assistant|>", "<|pad|>", "spelled0x <|step|>"]
)
def test_a_question_that_spells_special_tokens_is_text_in_training_and_in_search(
    spelled, layout, tiny_policy
):
    tokenizer = load_tokenizer(str(tiny_policy))
    if layout == "plain":
        tokenizer.chat_template = None
    encoding = prepare_encoding(tokenizer, "\n")
    question = f"What is {spelled} ?"
    before, after = ("<|user|>", "<|end|><|assistant|>") if layout == "chat" else ("", "\n")
    head = encoding.encode_head(question)
    assert tokenizer.decode(head) == before + question + after
    special = [token for token in head if token in tokenizer.all_special_ids]
    assert special == tokenizer.convert_tokens_to_ids(
        ["<|user|>", "<|end|>", "<|assistant|>"] if layout == "chat" else []
    )
    assert encoding.encode(question, ["x", "y"])[0].count(encoding.marker_id) == 2
    assert encode_question(tokenizer, "{question}", question) == head  # a policy's prompt
    assert encode_chain(tokenizer, [Message("user", question)]) == head


@pytest.mark.parametrize("model", ["unigram", "merges"])
def test_a_special_token_in_the_vocabulary_of_sentencepiece_is_text_where_a_user_spells_it(model):
    letters = [*"▁abehisxy</>"]
    if model == "unigram":
        pieces = Tokenizer(
            models.Unigram([("<unk>", 0.0), ("</s>", 0.0), *((letter, -3.0) for letter in letters)], unk_id=0)
        )
    else:
        known = {token: number for number, token in enumerate(["<unk>", "</s>", *letters, "</", "s>"])}
        pieces = Tokenizer(
            models.BPE(vocab=known, merges=[("<", "/"), ("s", ">"), ("</", "s>")], unk_token="<unk>")
        )
    pieces.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, eos_token="</s>", unk_token="<unk>")
    assert tokenizer("a</s>b", split_special_tokens=True)["input_ids"].count(1) == 1  # what is mended here
    encoding = prepare_encoding(tokenizer, "x")
    ids, _ = encoding.encode("is</s>a", ["a</s>b?</s>", "y"])
    assert 1 not in ids
    spelled = "".join(tokenizer.convert_ids_to_tokens(encoding.encode_text("a</s>b?</s>")))
    assert spelled.replace("▁", "") == "a</s>b<unk></s>"
    assert encoding.encode_text("ab?hi") == tuple(tokenizer("ab?hi", add_special_tokens=False)["input_ids"])


def test_a_text_without_special_tokens_has_the_ids_of_the_whole_prompt(tiny_policy):
    tokenizer = load_tokenizer(str(tiny_policy))
    for text in (QUESTION, " 3 plus 4\n", "<|step", "|end|>", "a <b> c", ""):
        messages = [Message("user", text), Message("assistant", text), Message("user", text)]
        chat = [{"role": message.role, "content": message.content} for message in messages]
        whole = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        assert list(encode_messages(tokenizer, messages)) == whole


def test_what_a_prompt_template_spells_is_meant(tiny_policy):
    tokenizer = load_tokenizer(str(tiny_policy))
    tokenizer.chat_template = None
    ids = encode_question(tokenizer, "<|user|>{question}<|end|>", "one <|end|>")
    assert tokenizer.decode(ids) == "<|user|>one <|end|><|end|>\n"
    assert ids.count(tokenizer.eos_token_id) == 1


def test_a_system_prompt_and_arguments_go_through_the_chat_template(tiny_policy):
    tokenizer = load_tokenizer(str(tiny_policy))
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
        "<|assistant|>{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
    )
    layout = PromptLayout("Q: {question} \\neq 2", "Count to <|end|>.", {"enable_thinking": False})
    layout.check(tokenizer)
    assert tokenizer.decode(layout.encode(tokenizer, "1+1 <|end|>")) == (
        "<|system|>Count to <|end|>.<|end|><|user|>Q: 1+1 <|end|> \\neq 2<|end|><|assistant|><think></think>"
    )
    chat = [Message("user", "Q: 1"), Message("assistant", "2 <|end|>"), Message("user", "Again")]
    ids = layout.encode_chat(tokenizer, chat)
    assert tokenizer.decode(ids) == (
        "<|system|>Count to <|end|>.<|end|><|user|>Q: 1<|end|><|assistant|>2 <|end|><|end|>"
        "<|user|>Again<|end|><|assistant|><think></think>"
    )
    assert (
        ids.count(tokenizer.eos_token_id) == 5
    )  # the system's two, and one of each turn: the attempt's is text
    assert PromptLayout("Q: {question}").encode_chat(tokenizer, chat) == encode_chain(tokenizer, chat)
    # The question's is text
    assert layout.encode(tokenizer, "1+1 <|end|>").count(tokenizer.eos_token_id) == 3
    assert PromptLayout("Q: {question}").encode(tokenizer, QUESTION) == encode_question(
        tokenizer, "Q: {question}", QUESTION
    )
    with pytest.raises(
        InputError,
        match=r"chat_template_kwargs: got enable_thinkin, which the chat template of .* does not read",
    ):
        PromptLayout(chat_template_kwargs={"enable_thinkin": False}).check(tokenizer)
    tokenizer.chat_template = "{% for m in messages if m['role'] == 'user' %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(InputError, match=r"system_prompt: the chat template of .* leaves it out"):
        PromptLayout(system_prompt="Be brief.").check(tokenizer)
    with pytest.raises(InputError, match="refuses messages of system, user: unknown role: system"):
        PromptLayout(system_prompt="Be brief.").check(load_tokenizer(str(tiny_policy)))
    tokenizer.chat_template = None
    with pytest.raises(InputError, match=r"system_prompt: .* has no chat template"):
        PromptLayout(system_prompt="Be brief.").check(tokenizer)


def test_named_chat_templates_without_a_default_are_refused_unless_there_is_one_alone(tiny_policy):
    tokenizer = load_tokenizer(str(tiny_policy))
    template = tokenizer.chat_template
    expected = encode_messages(tokenizer, [Message("user", QUESTION)])
    for templates in ({"default": template, "rag": "other"}, {"tool_use": template}):
        tokenizer.chat_template = templates
        assert encode_messages(tokenizer, [Message("user", QUESTION)]) == expected
    tokenizer.chat_template = {"tool_use": template, "rag": template}
    with pytest.raises(
        InputError, match="its chat templates are called rag, tool_use; expected one that is called default"
    ):
        encode_question(tokenizer, "{question}", QUESTION)


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
    tokenizer.train_from_iterator(
        [], trainers.BpeTrainer(special_tokens=list(special), initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=special[0])


@pytest.mark.parametrize(
    ("special", "pad", "eos", "chosen", "n_new"),
    [
        (["<|endoftext|>", "<|step|>", "<pad>"], "<pad>", [0], "<pad>", 0),  # what works stays
        # EOS by the config
        (
            ["<|im_end|>", "<|step|>", "<|endoftext|>", "<|vision_pad|>"],
            "<|endoftext|>",
            [2],
            "<|vision_pad|>",
            0,
        ),
        (["<|endoftext|>", "<|step|>", "<|padding|>"], None, [0], "<|padding|>", 0),
        (["</s>", "<|step|>", "<unk>", "<pad>"], None, [0], "<pad>", 0),
        (["</s>", "<|step|>", "<unk>", "<pad>"], "<unk>", [2, 3], "<|pad|>", 1),  # both end texts
        (
            ["<|end|>", *(f"<|reserved_special_token_{i}|>" for i in range(4))],
            None,
            [0],
            "<|reserved_special_token_3|>",
            0,
        ),
        (["<eos>", "<|step|>", "<unused0>", "<unused1>", "<unk>"], None, [0], "<unused1>", 0),
        (["</s>", "<|step|>", "<unk>"], None, [None], "<unk>", 0),
        (["<|endoftext|>"], None, [0], "<|pad|>", 2),  # and a marker
    ],
)
def test_padding_is_what_the_vocabulary_keeps_for_it_and_no_end_by_any_config(
    special, pad, eos, chosen, n_new
):
    tokenizer = foreign_tokenizer(*special)
    tokenizer.pad_token = pad
    prepare_encoding(tokenizer, "\n", eos)
    assert (tokenizer.pad_token, len(tokenizer)) == (chosen, len(special) + 256 + n_new)


@pytest.mark.parametrize("marker", ["<extra_0>", "<|quad_end|>", "<|reserved_special_token_0|>"])
def test_a_reserved_token_of_the_model_becomes_the_marker(marker):
    tokenizer = foreign_tokenizer("<|endoftext|>", marker, "<|finetune_right_pad_id|>")
    encoding = prepare_encoding(tokenizer, "\n")
    assert encoding.facts.marker_token == marker
    assert (encoding.marker_id, tokenizer.pad_token, len(tokenizer)) == (
        1,
        "<|finetune_right_pad_id|>",
        3 + 256,
    )


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


def test_a_chat_is_encoded_alike_here_and_for_a_model_that_runs_elsewhere(tiny_policy):
    """As the question is, where it shows no attempt."""
    policy, vocabulary = load_policy(str(tiny_policy)), load_vocabulary(str(tiny_policy))
    chat = [Message("user", QUESTION), Message("assistant", STEPS[0]), Message("user", QUESTION)]
    assert policy.encode_chat(chat) == vocabulary.encode_chat(chat) == encode_chain(policy.tokenizer, chat)
    assert policy.encode_chat(chat[:1]) == policy.encode_prompt(QUESTION)
    with pytest.raises(InputError, match="the simulated policy reads questions alone"):
        load_vocabulary("simulated").encode_chat(chat)
