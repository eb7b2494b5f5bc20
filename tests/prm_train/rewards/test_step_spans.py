import random

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from data_gen.models.tokenizer import load_tokenizer
from data_gen.problems.tasks import DEFAULT_TASK
from data_gen.records.steps import ended_steps, split_steps, token_bytes
from prm_train.rewards.step_spans import StepFinder, at_step_ends, per_token
from tests.tiny_models import byte_level_tokenizer

EOS, ONE, END, TWO, NEWLINE, WHOLE, HALF_OVER, REST, FIRST_BYTE, BEYOND = 0, 1, 2, 3, 4, 5, 6, 7, 8, 999


@pytest.fixture(scope="module")
def finder() -> StepFinder:
    words = ["<eos>", "One", ".ĊĊ", "Two", "Ċ", "ĊĊTwoĊĊ", "ĊĊTw", "o", "Ã"]  # Ċ: a newline, Ã: half of é
    backend = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<eos>"))
    backend.decoder = decoders.ByteLevel()
    return StepFinder(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>"), "\n\n")


@pytest.mark.parametrize(
    ("ids", "texts", "spans"),
    [
        # EOS behind the last step is the last step's: to end was its choice
        ([ONE, END, TWO, EOS], ("One.", "Two"), ((0, 2), (2, 4))),
        ([ONE, END, EOS], ("One.",), ((0, 3),)),
        ([ONE, END, NEWLINE, NEWLINE, EOS], ("One.",), ((0, 5),)),
        # Blank lines before the first step are its own; the separator may be spread over two ids
        ([NEWLINE, NEWLINE, ONE, NEWLINE, NEWLINE, TWO], ("One", "Two"), ((0, 5), (5, 6))),
        # An id that holds the separator and the first letters of the next step stays with the step it ends
        ([ONE, HALF_OVER, REST], ("One", "Two"), ((0, 2), (2, 3))),
        # A step inside such an id has no id
        ([ONE, WHOLE, ONE, EOS], ("One", "Two", "One"), ((0, 2), (2, 2), (2, 4))),
        ([ONE, WHOLE], ("One", "Two"), ((0, 2), (2, 2))),
        # Cut in the middle of a character, ids that are no text, nothing at all
        ([ONE, FIRST_BYTE], ("One\ufffd",), ((0, 2),)),
        ([EOS, ONE, BEYOND, END, TWO], ("One.", "Two"), ((0, 4), (4, 5))),
        ([EOS], (), ()),
        ([NEWLINE, EOS], (), ()),
        ([], (), ()),
    ],
)
def test_each_id_belongs_to_the_step_that_its_bytes_say(finder, ids, texts, spans):
    steps = finder.find(ids)
    assert (steps.texts, steps.spans, steps.n_tokens) == (texts, spans, len(ids))


def test_values_of_steps_go_to_their_ids(finder):
    steps = finder.find([ONE, HALF_OVER, REST, EOS])
    assert per_token([0.5, -0.25], steps).tolist() == [0.5, 0.5, -0.25, -0.25]
    assert at_step_ends([0.5, -0.25], steps).tolist() == [0, 0.5, 0, -0.25]
    inside = finder.find([ONE, WHOLE, ONE, EOS])
    assert per_token([1, 2, 3], inside).tolist() == [1, 1, 3, 3]
    assert at_step_ends([1, 2, 3], inside).tolist() == [0, 3, 0, 3]  # what the steps earn is all there
    assert per_token([], finder.find([EOS])).tolist() == [0]
    assert per_token([], steps).tolist() == [0, 0, 0, 0]  # no scores, no credit
    with pytest.raises(ValueError, match="zip"):
        per_token([1], steps)


@pytest.mark.parametrize("separator", ["\n", "\n\n", "1", "s 2", "é"])
@pytest.mark.parametrize("which", ["base policy", "bpe", "sentencepiece"])
def test_steps_of_random_ids_are_those_of_their_text(which, separator):
    tokenizer = real_tokenizer(which)
    finder, table = StepFinder(tokenizer, separator), token_bytes(tokenizer)
    letters = separator.encode()
    likely = [n for n, data in enumerate(table) if set(data) & set(letters)]
    rng = random.Random(separator)
    for _ in range(150):
        ids = rng.choices(range(len(table)), k=rng.randrange(30)) + rng.choices(likely, k=rng.randrange(30))
        rng.shuffle(ids)
        steps = finder.find(ids)
        text = b"".join(table[n] for n in ids).decode(errors="replace")
        assert steps.texts == split_steps(text, separator)
        # Without gaps from the first id to the last, however the bytes fall
        edges = [0, *(end for _, end in steps.spans)]
        assert [start for start, _ in steps.spans] == edges[:-1]
        assert edges[-1] == (len(ids) if steps.texts else 0)
        # All but the last step end with the id that completes their separator: without it, one step fewer
        for number, (start, end) in enumerate(steps.spans[:-1], start=1):
            if end > start:
                before = b"".join(table[n] for n in ids[: end - 1]).decode(errors="replace")
                whole = b"".join(table[n] for n in ids[:end]).decode(errors="replace")
                assert len(ended_steps(before, separator)) < number <= len(ended_steps(whole, separator))


def real_tokenizer(which: str) -> PreTrainedTokenizerFast:
    if which == "base policy":
        return load_tokenizer(str(DEFAULT_TASK.policy_folder))
    if which == "bpe":
        return byte_level_tokenizer()
    vocab = [
        "<unk>",
        "</s>",
        "▁s",
        "<0x0A>",
        "▁",
        "é",
        "1",
        "s▁2",
        "2",
        "\n1",
        *(f"<0x{n:02X}>" for n in range(256)),
    ]
    backend = Tokenizer(models.BPE(vocab={word: n for n, word in enumerate(dict.fromkeys(vocab))}, merges=[]))
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")
