"""A draw as an engine with stop strings of its own returns it, and the completion that it is by the toolkit's
rule of steps.

An engine such as vLLM stops where the separator first shows up in its text. The toolkit's step ends with the
token that completes the separator of a step that is not blank (`data_gen.records.steps`). So the ids are cut
here by the scanner; and where the engine stopped at a separator that ends nothing (a leading blank line), the
draw is made again without it: the same seed gives the same ids and more. Stop strings of the user are asked
for both times, and end the ids with the token that completes one (`data_gen.records.stop_strings`).
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from data_gen.policies.vocabulary import Vocabulary
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage
from data_gen.records.steps import StepScanner
from data_gen.records.stop_strings import StopStrings


@dataclass(frozen=True)
class EngineDraw:
    """`token_ids` as drawn, EOS included where `is_eos`; `finish` is the engine's word: it stopped, or the
    length was used up.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Literal["stop", "length"]
    is_eos: bool
    usage: Usage


async def draw_completion(
    draw: Callable[[str | None], Awaitable[EngineDraw]],
    vocabulary: Vocabulary,
    params: SamplingParams,
    scanner: StepScanner | None,
) -> Completion:
    """One completion by `params`. `draw` asks the engine, with the separator or without and otherwise the
    same request each time.

    The usage is that of all that was generated for it.
    """
    stop_strings = StopStrings(vocabulary.token_bytes, params.stop_strings) if params.stop_strings else None
    drawn = await draw(params.stop)
    completion = _completion(drawn, vocabulary, scanner, stop_strings, drawn.usage)
    if completion is None:
        whole = await draw(None)
        completion = _completion(whole, vocabulary, scanner, stop_strings, drawn.usage + whole.usage)
    if completion is None:
        raise ValueError(
            "an engine that was given no separator ended a text without an EOS, a stop string or its full "
            "length"
        )
    return completion


def _completion(
    drawn: EngineDraw,
    vocabulary: Vocabulary,
    scanner: StepScanner | None,
    stop_strings: StopStrings | None,
    usage: Usage,
) -> Completion | None:
    """None where the engine stopped at a separator that ends no step."""
    n_step = None if scanner is None else step_length(drawn.token_ids, scanner)
    n_stop = None if stop_strings is None else stop_strings.length(drawn.token_ids)
    ends = [end for end in (n_step, n_stop) if end is not None]
    if ends:
        ids, reason = drawn.token_ids[: min(ends)], FinishReason.STOP
    elif drawn.is_eos:
        ids, reason = drawn.token_ids, FinishReason.EOS
    elif drawn.finish == "length":
        ids, reason = drawn.token_ids, FinishReason.LENGTH
    else:
        return None
    text = vocabulary.text(ids[:-1] if reason is FinishReason.EOS else ids)
    return Completion(ids, text, drawn.logprobs[: len(ids)], reason, usage)


def step_length(token_ids: Sequence[int], scanner: StepScanner) -> int | None:
    """How many ids the first step has, its separator included; None where no step ends."""
    state = StepScanner.START
    for n_ids, token_id in enumerate(token_ids, 1):
        state, is_end = scanner.advance(state, token_id)
        if is_end:
            return n_ids
    return None
