import random
import weakref

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from data_gen.models.tokenizer import SPECIAL_TOKENS, train_tokenizer
from data_gen.records.steps import (
    N_SCANNERS,
    StepScanner,
    ended_steps,
    join_steps,
    split_steps,
    step_scanners,
    step_spans,
    token_bytes,
)


def test_split_steps_leaves_out_separators_and_blank_steps():
    assert split_steps("3 plus 4 = 7\n7 minus 2 = 5\n", "\n") == ("3 plus 4 = 7", "7 minus 2 = 5")
    assert split_steps("\n\nFirst.\n\n \n\nSecond.\nStill second.", "\n\n") == (
        "First.",
        "Second.\nStill second.",
    )
    assert split_steps("", "\n") == ()
    assert split_steps(" \n\n", "\n") == ()


def test_a_step_without_its_separator_has_not_ended():
    assert ended_steps("One.\nTwo", "\n") == ("One.",)
    assert ended_steps("\n\nOne.\n\n\n\nTwo\n\n", "\n\n") == ("One.", "Two")
    assert ended_steps("One.\n\n\nTwo", "\n\n") == ("One.",)
    assert ended_steps("", "\n") == ended_steps("One.", "\n") == ()


def test_join_steps_ends_where_the_next_step_begins():
    assert join_steps(("a", "b"), "\n\n") == "a\n\nb\n\n"
    assert join_steps((), "\n") == ""


def test_an_empty_separator_is_refused():
    with pytest.raises(ValueError, match="separator"):
        split_steps("a", "")
    with pytest.raises(ValueError, match="separator"):
        StepScanner([b"a"], "")


def test_step_spans_end_with_the_token_that_completes_the_separator():
    table = [b"One", b".\n\n", b"\n", b"Two", b"", b" \n\n", b"\n\n"]
    assert step_spans([0, 1, 3, 1], table, "\n\n") == [(0, 2), (2, 4)]
    # The separator is spread over two tokens
    assert step_spans([0, 2, 2, 3], table, "\n\n") == [(0, 3), (3, 4)]
    assert step_spans([6, 5, 0, 1], table, "\n\n") == [(0, 4)]  # leading blank lines belong to the first step
    assert step_spans([0, 1, 6, 3], table, "\n\n") == [(0, 2), (2, 4)]
    assert step_spans([0, 1, 4], table, "\n\n") == [(0, 2)]  # only EOS is left: no step
    assert step_spans([0, 1, 3, 4], table, "\n\n") == [(0, 2), (2, 4)]


def test_step_spans_never_split_a_token_that_runs_past_the_separator():
    table = [b"One\n\nTw", b"o", b"\n\n"]
    assert step_spans([0, 1, 2], table, "\n\n") == [(0, 1), (1, 3)]


def test_scanner_ends_no_step_on_a_separator_that_follows_only_blanks():
    scanner = StepScanner([b"\n", b" ", b"x"], "\n")
    state, ends = StepScanner.START, []
    for token_id in [0, 1, 0, 2, 0, 0]:
        state, is_end = scanner.advance(state, token_id)
        ends.append(is_end)
    assert ends == [False, False, False, False, True, False]


def test_scanner_counts_a_broken_off_separator_as_text():
    scanner = StepScanner([b"-", b"#", b"x"], "-#")
    state, is_end = scanner.advance(StepScanner.START, 0)
    assert scanner.has_text(state)
    assert not is_end
    state, _ = scanner.advance(state, 0)
    state, is_end = scanner.advance(state, 1)
    assert is_end  # "--#" is the step "-" and its separator


@pytest.mark.parametrize("separator", ["\n", "\n\n", "aab", ". "])
def test_spans_and_scanner_agree_with_the_steps_of_the_text(separator):
    tokens = [bytes([b]) for b in b"ab\n. x"] + [b".\n", b"xa", b" \n", b""]
    # Where no token carries text beyond a separator, ids and text must tell the same steps.
    table = [token for token in tokens if separator.encode()[-1:] not in token[:-1]]
    rng = random.Random(0)
    for _ in range(500):
        ids = [rng.randrange(len(table)) for _ in range(rng.randrange(20))]
        text = b"".join(table[i] for i in ids).decode()
        spans = step_spans(ids, table, separator)
        texts = [b"".join(table[i] for i in ids[start:end]).decode() for start, end in spans]
        assert tuple(step for t in texts for step in split_steps(t, separator)) == split_steps(
            text, separator
        )
        assert len(spans) == len(split_steps(text, separator))
        assert [start for start, _ in spans] == [0, *(end for _, end in spans)][: len(spans)]


def test_token_bytes_of_byte_level_bpe_spell_any_text():
    tokenizer = train_tokenizer(["3 plus 4 = 7\nAnswer: 7"] * 20, vocab_size=300, context_length=64)
    table = token_bytes(tokenizer)
    text = "3 plus 4 = 7\nnaïve — ≥ 🙂\n"
    assert b"".join(table[i] for i in tokenizer.encode(text)).decode() == text
    assert [table[tokenizer.convert_tokens_to_ids(token)] for token in SPECIAL_TOKENS] == [b""] * len(
        SPECIAL_TOKENS
    )
    tokenizer.add_tokens(["<note>"])
    assert token_bytes(tokenizer)[-1] == b"<note>"


def _sentencepiece_like(decoder):
    vocab = {"<unk>": 0, "</s>": 1, "▁Hello": 2, "<0x0A>": 3, "▁": 4, "é": 5}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    backend.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")


def test_token_bytes_of_sentencepiece_tokens():
    decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    assert token_bytes(_sentencepiece_like(decoder)) == [b"", b"", b" Hello", b"\n", b" ", "é".encode()]


def test_token_bytes_refuses_other_tokenizers():
    with pytest.raises(ValueError, match="WordPiece"):
        token_bytes(_sentencepiece_like(decoders.WordPiece()))


@pytest.mark.parametrize("separator", ["\n", "\n\n", "-#", "aab"])
def test_spans_of_a_whole_text_end_where_the_scanner_sees_its_steps_end(separator: str):
    table = [
        b"a",
        b"b",
        b"\n",
        b"\n\n",
        b" ",
        b"",
        b"-",
        b"#",
        b"a\n\nb",
        b".\n",
        b"\n\n\n",
        b"aa",
        b"aab aab",
        "é".encode(),
        b"#-#",
    ]
    rng, scanner = random.Random(0), StepScanner(table, separator)
    for _ in range(2000):
        ids = rng.choices(range(len(table)), k=rng.randrange(12))
        ends, state = [], StepScanner.START
        for position, token_id in enumerate(ids, start=1):
            state, is_end = scanner.advance(state, token_id)
            ends += [position] * is_end
        if scanner.has_text(state) and ends[-1:] != [len(ids)]:
            ends.append(len(ids))
        assert step_spans(ids, table, separator) == list(zip([0, *ends], ends, strict=False)), ids


def test_scanners_are_kept_for_the_separators_asked_for_last():
    scanner = step_scanners([bytes([i]) for i in range(256)])
    first = scanner("0")
    assert scanner("0") is first
    kept = [weakref.ref(scanner(str(i))) for i in range(N_SCANNERS + 5)]
    del first
    assert sum(each() is not None for each in kept) == N_SCANNERS
    assert scanner("0").advance(0, ord("a")) == (1, False)
