"""DeepConf online (Fu et al. 2025, "Deep Think with Confidence", Algorithm 2): samples that the policy itself
is unsure of are given up while they are written. (Offline DeepConf, which chooses among whole samples, is
`deepconf` of `baselines`.)

    warm-up: `n_warmup` whole samples; of each the lowest confidence of a group of consecutive tokens
    s = the quantile of these that the best `percent` of 100 reach
    until N samples are drawn, or one answer has `confidence` of the vote:
        draw a sample; give it up when a group of its tokens falls below s

Samples, those of the warm-up too, vote with their lowest group confidence, if it is s or more. The vote is
looked at after each sample, in the order of the indices.

What differs from the paper: the confidence of a group needs whole distributions, which a draw does not bring
along. So a sample is drawn in segments as long as a group, each of which continues the ids before it, and
after each the policy reads the sample from its beginning once more. A sample is given up at the end of a
segment, not at the token, and what was drawn of it is paid for, as is all that was read. With groups of G
tokens, a sample of k G tokens is read k (k + 1) / 2 x G tokens long in all, prompts not counted.

A segment is a draw of its own: the samples of the warm-up are those that other strategies draw, later ones
are not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, get_type_hints

import numpy as np

from data_gen.ledger.policy import LedgerPolicy
from data_gen.process.side_by_side import side_by_side
from data_gen.records.grader import AnswerReader
from data_gen.records.sampling import Completion, FinishReason, SamplingParams
from data_gen.records.solutions import Solution
from data_gen.records.stop_strings import StopStrings
from data_gen.sampling.solutions import Prefix, draw_solution
from prm_train.scoring.work import Work, passed
from prm_train.strategies.best_of_n import as_candidate
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.ranges import check_at_least
from prm_train.strategies.tree_searches import parse_given

NOTHING = Work()
DEEPCONF_ONLINE = "deepconf_online"
LOWEST = "deepconf lowest"


@dataclass(frozen=True)
class DeepConfConfig:
    """`n_warmup` samples set the threshold that the best `percent` of 100 of them reach (the paper's η: 10
    or 90); a group has `group_tokens` tokens.
    """

    n_warmup: int = 16
    percent: float = 10.0
    group_tokens: int = 2048

    def __post_init__(self) -> None:
        check_at_least(1, n_warmup=self.n_warmup, group_tokens=self.group_tokens)
        if not 0 < self.percent <= 100:
            raise ValueError(f"percent: got {self.percent}, expected more than 0 and at most 100")


def parse_deepconf(text: str) -> DeepConfConfig:
    """Of `deepconf_online:SETTING=VALUE:…`. Raises ValueError for a setting or value that is none."""
    return DeepConfConfig(**parse_given(text, get_type_hints(DeepConfConfig)))


class ConfidenceReader(Protocol):
    """`prm_train.scoring.confidence.ConfidenceModel`, whose window is `group_tokens`."""

    def measure(
        self, prompt_ids: tuple[int, ...], texts: Sequence[tuple[int, ...]]
    ) -> list[Mapping[str, float]]: ...


@dataclass(frozen=True)
class Trace:
    """A sample as far as it is written: `lowest` is its lowest group confidence, `read` what the policy has
    read for that. It is open while its solution was cut by the end of a segment alone.
    """

    solution: Solution
    lowest: float = np.inf
    read: Work = NOTHING
    is_open: bool = False

    def candidate(self, policy: LedgerPolicy, reader: AnswerReader) -> Candidate:
        """One that was given up is not finished, and so never votes."""
        candidate = as_candidate(self.solution, reader.read_answer(policy.question, self.solution))
        return replace(candidate, confidence={LOWEST: self.lowest})


@dataclass(frozen=True)
class TraceWriter:
    """Who draws the samples of a question, and reads them."""

    policy: LedgerPolicy
    reader: ConfidenceReader
    params: SamplingParams
    config: DeepConfConfig

    async def whole(self, indices: range) -> list[Trace]:
        """Samples that are not given up."""
        prompt = Prefix(self._prompt_ids)
        drawn = await side_by_side(
            draw_solution(self.policy, prompt, self.params, index) for index in indices
        )
        return self._read([Trace(solution) for solution in drawn])

    async def while_above(self, threshold: float, indices: range) -> list[Trace]:
        """Samples of which each is written on while all of its groups reach the threshold."""
        problem_id, traces = self.policy.question.problem_id, dict[int, Trace]()
        going_on = [
            Trace(Solution(problem_id, index, "", FinishReason.LENGTH), is_open=True) for index in indices
        ]
        while going_on:
            drawn = self._read(await side_by_side(map(self._continued, going_on)))
            traces |= {trace.solution.index: trace for trace in drawn}
            going_on = [trace for trace in drawn if trace.is_open and trace.lowest >= threshold]
        return [traces[index] for index in indices]

    async def _continued(self, trace: Trace) -> Trace:
        """With a segment more. Its index is that of the sample, which no other sample has."""
        begun, params = trace.solution, self.params
        prefix_ids = self._prompt_ids + begun.token_ids
        n_left = min(
            params.max_new_tokens - len(begun.token_ids), self.policy.context_length - len(prefix_ids)
        )
        n_tokens = min(self.config.group_tokens, n_left)
        draw = await self.policy.sample(prefix_ids, replace(params, max_new_tokens=n_tokens), begun.index)
        text = self._text(begun.token_ids, draw)
        if params.stop_strings:
            whole = draw
            cut, draw = StopStrings(self.policy.token_bytes(), params.stop_strings).cut(begun.text, whole)
            text = text if draw is whole else cut
        solution = replace(
            begun,
            text=text,
            finish_reason=draw.finish_reason,
            token_ids=begun.token_ids + draw.token_ids,
            logprobs=begun.logprobs + draw.logprobs,
        )
        is_open = draw.finish_reason is FinishReason.LENGTH and n_tokens < n_left
        return replace(trace, solution=solution, is_open=is_open)

    def _text(self, before: tuple[int, ...], draw: Completion) -> str:
        """Of all ids: a character may begin in one segment and end in the next one."""
        pieces = self.policy.token_bytes()

        def joined(ids: tuple[int, ...]) -> str:
            return b"".join([pieces[token_id] for token_id in ids]).decode(errors="replace")

        is_shown = draw.finish_reason is not FinishReason.EOS or joined(draw.token_ids) == draw.text
        return joined(before + (draw.token_ids if is_shown else draw.token_ids[:-1]))

    def _read(self, traces: Sequence[Trace]) -> list[Trace]:
        texts = [trace.solution.token_ids for trace in traces]
        measured = self.reader.measure(self._prompt_ids, texts)
        return [
            replace(
                trace,
                lowest=measures[LOWEST],
                read=trace.read + passed(0, len(self._prompt_ids) + len(trace.solution.token_ids)),
            )
            for trace, measures in zip(traces, measured, strict=True)
        ]

    @property
    def _prompt_ids(self) -> tuple[int, ...]:
        return self.policy.encode_prompt(self.policy.question.question)


def threshold_of(warmup: Sequence[Trace], percent: float) -> float:
    """The quantile of their lowest confidences, between two of them in proportion."""
    return float(np.percentile([trace.lowest for trace in warmup], 100 - percent))


def confidence_weights(traces: Sequence[Trace], config: DeepConfConfig) -> list[float | None]:
    """In the vote: the lowest confidence where it reaches the threshold of the warm-up."""
    if not traces:
        return []
    threshold = threshold_of(traces[: config.n_warmup], config.percent)
    return [trace.lowest if trace.lowest >= threshold else None for trace in traces]
