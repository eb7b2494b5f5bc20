"""Where stop strings end a draw and a solution."""

import pytest

from data_gen.records.sampling import Completion, FinishReason, Usage
from data_gen.records.stop_strings import StopStrings, check_stop_strings

EOS, END, EURO = 256, 257, 258
TOKENS = [*(bytes([i]) for i in range(256)), b"", b"7\n\nQ", b"\xe2\x82"]


def draw(*ids: int, reason: FinishReason = FinishReason.STOP) -> Completion:
    text = b"".join(TOKENS[i] for i in ids).decode(errors="replace")
    return Completion(ids, text, tuple(-float(i) for i in range(len(ids))), reason, Usage(len(ids)))


def test_a_draw_ends_with_the_token_that_completes_one_of_the_strings():
    stops = StopStrings(TOKENS, ("\n\nQ:", "###"))
    assert stops.length((65, 10, 10, 81, 58, 65)) == 5
    assert stops.length((65, END, 58, 65)) == 3
    assert stops.length((35, 35, 10, 35, 35, 35)) == 6
    assert stops.length((35, 35, EOS)) is None


@pytest.mark.parametrize(
    ("begun", "ids", "text", "n_ids"),
    [
        ("", (65, 10, 10, 81, 58), "A", 1),  # what only the stop string has a part in is left out
        ("", (65, END, 58), "A7", 2),  # a token of which the text has a part stays
        ("5\n", (10, 81, 58, 65), "5", 1),  # a stop string across the end of a step; one id stays
        ("5\n", (65, 35, 35, 35, 10, 10, 81, 58), "5\nA", 1),  # the first of two
        ("é", (EURO, 0xAC, 35, 35, 35), "é€", 2),  # letters of several tokens
        ("", (35, 35, 35), "", 1),
    ],
)
def test_a_solution_ends_where_the_first_stop_string_begins(
    begun: str, ids: tuple[int, ...], text: str, n_ids: int
):
    whole, cut = StopStrings(TOKENS, ("\n\nQ:", "###")).cut(begun, draw(*ids))
    assert whole == text
    assert (cut.token_ids, cut.finish_reason, len(cut.logprobs), cut.usage) == (
        ids[:n_ids],
        FinishReason.STOP,
        n_ids,
        Usage(len(ids)),
    )
    assert (begun + cut.text).startswith(text)


def test_a_draw_without_stop_string_stays_as_it_is():
    for reason in (FinishReason.EOS, FinishReason.LENGTH):
        drawn = draw(65, 10, 10, *((EOS,) if reason is FinishReason.EOS else (81,)), reason=reason)
        whole, cut = StopStrings(TOKENS, ("\n\nQ:",)).cut("B", drawn)
        assert (whole, cut) == (f"B{drawn.text}", drawn)


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        (("",), "expected strings of at least one character"),
        (("Q:", "\\n\\nQ:"), "expected real newlines"),
        (("a", "a"), "expected at most 16 different strings"),
    ],
)
def test_stop_strings_that_cannot_be_meant_are_refused(stop: tuple[str, ...], message: str):
    with pytest.raises(ValueError, match=message):
        check_stop_strings(stop)
