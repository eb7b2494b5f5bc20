"""Steps are cut by the toolkit's rule, whatever the engine's own stop strings did."""

import asyncio

from data_gen.policies.servers.engine_draw import EngineDraw, draw_completion
from data_gen.policies.vocabulary import Vocabulary
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage
from data_gen.records.steps import StepScanner

A, NEWLINE, EOS, INSIDE = 65, 10, 256, 257
VOCABULARY = Vocabulary(
    [*(bytes([i]) for i in range(256)), b"", b".\n\nB"],
    frozenset({EOS}),
    lambda text: tuple(text.encode()),
    "v",
)
PARAMS = SamplingParams(10, stop="\n\n")


def completed(
    with_stop: EngineDraw, without_stop: EngineDraw | None = None
) -> tuple[Completion, list[str | None]]:
    asked: list[str | None] = []

    async def draw(stop: str | None) -> EngineDraw:
        asked.append(stop)
        answer = with_stop if stop is not None else without_stop
        assert answer is not None
        return answer

    return asyncio.run(
        draw_completion(draw, VOCABULARY, PARAMS, StepScanner(VOCABULARY.token_bytes, "\n\n"))
    ), asked


def engine_draw(*ids: int, finish: str = "stop") -> EngineDraw:
    return EngineDraw(
        ids,
        tuple(-float(i) for i in range(len(ids))),
        "stop" if finish == "stop" else "length",
        ids[-1] == EOS,
        Usage(len(ids), 3),
    )


def test_a_step_ends_with_the_token_that_completes_its_separator():
    completion, asked = completed(engine_draw(A, INSIDE))
    assert (completion.token_ids, completion.text, completion.finish_reason) == (
        (A, INSIDE),
        "A.\n\nB",
        FinishReason.STOP,
    )
    assert asked == ["\n\n"]


def test_ids_beyond_the_step_are_cut_with_their_logprobs():
    completion, _ = completed(engine_draw(A, NEWLINE, NEWLINE, A, A))
    assert (completion.token_ids, completion.logprobs) == ((A, NEWLINE, NEWLINE), (0.0, -1.0, -2.0))
    assert completion.usage == Usage(5, 3)  # what it cost, beyond the cut too


def test_a_stop_at_a_leading_blank_line_is_drawn_again_without_stop_string():
    whole = engine_draw(NEWLINE, NEWLINE, A, NEWLINE, NEWLINE, A, EOS)
    completion, asked = completed(engine_draw(NEWLINE, NEWLINE), whole)
    assert asked == ["\n\n", None]
    assert (completion.token_ids, completion.text) == ((NEWLINE, NEWLINE, A, NEWLINE, NEWLINE), "\n\nA\n\n")
    assert (completion.finish_reason, completion.usage) == (FinishReason.STOP, Usage(9, 6))
    completion, _ = completed(engine_draw(NEWLINE, NEWLINE), engine_draw(NEWLINE, NEWLINE, A, EOS))
    assert (completion.text, completion.finish_reason) == ("\n\nA", FinishReason.EOS)


def test_ends_of_the_text_and_of_the_length_are_told_apart():
    completion, _ = completed(engine_draw(A, EOS))
    assert (completion.token_ids, completion.text, completion.finish_reason) == (
        (A, EOS),
        "A",
        FinishReason.EOS,
    )
    completion, _ = completed(engine_draw(A, A, finish="length"))
    assert (completion.text, completion.finish_reason) == ("AA", FinishReason.LENGTH)
    completion, _ = completed(engine_draw(EOS))
    assert (completion.token_ids, completion.text) == ((EOS,), "")


def test_a_stop_string_ends_the_ids_where_it_is_complete_before_the_separator_or_after():
    def draw_ids(drawn: EngineDraw, separator: str | None) -> tuple[tuple[int, ...], FinishReason]:
        async def draw(stop: str | None) -> EngineDraw:
            return drawn

        params = SamplingParams(10, stop=separator, stop_strings=("AB",))
        scanner = None if separator is None else StepScanner(VOCABULARY.token_bytes, separator)
        completion = asyncio.run(draw_completion(draw, VOCABULARY, params, scanner))
        return completion.token_ids, completion.finish_reason

    b = A + 1
    assert draw_ids(engine_draw(A, A, b), None) == ((A, A, b), FinishReason.STOP)
    # An engine that looked for none
    assert draw_ids(engine_draw(A, A, b, A, EOS), None) == ((A, A, b), FinishReason.STOP)
    assert draw_ids(engine_draw(A, b, NEWLINE, NEWLINE), "\n\n") == ((A, b), FinishReason.STOP)
    assert draw_ids(engine_draw(A, NEWLINE, NEWLINE, A, b), "\n\n") == (
        (A, NEWLINE, NEWLINE),
        FinishReason.STOP,
    )
    assert draw_ids(engine_draw(A, A, EOS), None) == ((A, A, EOS), FinishReason.EOS)
