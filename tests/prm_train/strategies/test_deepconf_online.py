"""DeepConf online: the threshold of the warm-up, samples that are given up, the vote and when it ends; all by
hand, then with a real model that reads what it wrote.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

import prm_train
from data_gen.grading.words import ExactGrader
from data_gen.ledger.store import IN_MEMORY, Ledger
from data_gen.policies.config import PolicyConfig, load_policy
from data_gen.policies.engine.transformers_policy import TransformersPolicy
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage
from data_gen.records.solutions import Question
from prm_train.scoring.confidence import ConfidenceModel
from prm_train.scoring.flops import ForwardFlops
from prm_train.scoring.work import passed
from prm_train.search.budget import Budget, Meter
from prm_train.search.method_policy import MethodPolicy
from prm_train.search.solving.samples import ConfidentSamples, Found, draw_samples
from prm_train.strategies.baselines import load_confidence
from prm_train.strategies.deepconf_online import LOWEST, DeepConfConfig, TraceWriter, parse_deepconf
from tests.scripted_search import ScriptedPolicy

FLOPS = {"policy": ForwardFlops(100, 10, 1)}
NO_BUDGET = Budget()
CONFIG = DeepConfConfig(n_warmup=3, percent=50, group_tokens=8)


class SegmentPolicy(ScriptedPolicy):
    """`texts[index]` a byte a token, as far as `max_new_tokens` goes; the end of a text is its EOS."""

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__(lambda text, index: texts[index])

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        so_far = bytes(prefix_ids[1:])
        rest = self.write("", index).encode()[len(so_far) :]
        part = rest[: params.max_new_tokens]
        self.asked.append((so_far.decode(errors="replace"), index))
        reason = FinishReason.EOS if len(part) == len(rest) else FinishReason.LENGTH
        text = part.decode(errors="replace")
        return Completion(tuple(part), text, (-1.0,) * len(part), reason, Usage(len(part)))


class LetterReader:
    """A digit at the beginning of 8 tokens is how sure the policy is of them; of others it is sure with 9."""

    def measure(
        self, prompt_ids: tuple[int, ...], texts: Sequence[tuple[int, ...]]
    ) -> list[Mapping[str, float]]:
        firsts = [[chr(first) for first in ids[::8]] for ids in texts]
        return [{LOWEST: min(float(each) if each.isdigit() else 9.0 for each in some)} for some in firsts]


def text(*sureness: int, answer: str) -> str:
    """A line of 8 tokens for each, then the 9 tokens of an answer."""
    return "".join(f"{number}......\n" for number in sureness) + f"Answer: {answer}"


def sampled(
    texts: Sequence[str], n: int, window: int, budget: Budget = NO_BUDGET, stop: tuple[str, ...] = ()
) -> tuple[Found, ConfidentSamples]:
    policy, params = SegmentPolicy(texts), SamplingParams(100, stop_strings=stop)

    async def run() -> tuple[Found, ConfidentSamples]:
        with Ledger(IN_MEMORY) as ledger:
            recorded = MethodPolicy(policy, ledger, Question("q", "?"), {})
            writer = TraceWriter(recorded, LetterReader(), params, CONFIG)
            samples = ConfidentSamples(writer, recorded, ExactGrader(), 0.95, Meter(budget, FLOPS))
            return await draw_samples(samples, budget, n, window, CONFIG.n_warmup), samples

    return asyncio.run(run())


# The median of 2, 4 and 6 is what later samples have to reach: two of them do not.
TEXTS = (
    text(2, answer="a"),
    text(4, answer="a"),
    text(6, answer="b"),
    text(3, 9, answer="a"),
    text(9, 1, 9, answer="a"),
    text(5, 9, answer="b"),
)


def test_a_sample_below_the_threshold_is_given_up_and_paid_for() -> None:
    found, samples = sampled(TEXTS, 6, window=2)
    assert found.weights == [None, 4.0, 6.0, None, None, 5.0]
    assert [each.n_tokens for each in found.candidates] == [17, 17, 17, 8, 16, 25]
    assert [each.is_finished for each in found.candidates] == [True] * 3 + [False] * 2 + [True]
    assert found.candidates[5].text == TEXTS[5]
    assert (found.stopped, found.spent.tokens) == (None, 100)
    # read behind a prompt of 1: 17 tokens of each of three; 8; 8 and 16; 8, 16, 24 and 25
    n_read = 3 * 18 + 9 + (9 + 17) + (9 + 17 + 25 + 26)
    # four segments go on from what was written: its last token is computed again
    n_prefilled, n_prefixes = 1 + 4, 5 * 1 + 1 + 9 + 9 + 17 + 25
    assert samples.cost.policy == Usage(100, n_prefilled + n_read, n_prefixes - n_prefilled)
    assert samples.traces[4].read == passed(0, 9) + passed(0, 17)


def test_reading_is_computed_by_the_policy_too() -> None:
    """A weight costs 100, an output 10, a pair 1; the warm-up alone: a prompt of 1, three times 17."""
    found, _ = sampled(TEXTS[:3], 3, window=2, budget=Budget(budget_flops=1e9))
    drawn = 100 * 52 + 10 * 51 + 1 + 3 * sum(range(2, 19))
    read = 3 * (100 * 18 + 10 * 18 + sum(range(1, 19)))
    assert found.spent.flops == drawn + read


def test_no_more_are_drawn_once_one_answer_has_nearly_all_of_the_vote() -> None:
    agreed, _ = sampled([text(5, answer="a")] * 6, 6, window=2)
    assert (len(agreed.candidates), agreed.stopped) == (3, "consensus")  # the warm-up is drawn whole
    # 8 + 9 k of 12 + 9 k are 95 % from k = 8 on
    texts = [text(4, answer=answer) for answer in "aab"] + [text(9, answer="a")] * 20
    found, samples = sampled(texts, 20, window=5)
    assert (len(found.candidates), found.stopped, len(samples.candidates)) == (11, "consensus", 13)


def test_a_budget_ends_the_drawing_and_a_short_warm_up_sets_the_threshold() -> None:
    found, _ = sampled(TEXTS, 6, window=2, budget=Budget(budget_tokens=60))
    # 51 in the warm-up, 8 of the fourth; 16 of the fifth are too many
    assert (found.weights, found.stopped) == ([None, 4.0, 6.0, None], "budget_tokens")
    assert found.spent.tokens == 51 + 8 + 16
    found, _ = sampled(TEXTS, 6, window=2, budget=Budget(budget_tokens=34))
    assert (found.weights, found.spent.tokens) == ([None, 4.0], 51)  # the median of 2 and 4 is 3


def test_characters_and_stop_strings_may_lie_across_segments() -> None:
    warm_up = [text(4, answer=answer) for answer in "abc"]
    split = "4......é\nAnswer: d"
    found, _ = sampled([*warm_up, split], 4, window=1)
    assert found.candidates[3].text == split
    found, _ = sampled([*warm_up, "4.....d##more"], 4, window=1, stop=("##",))
    assert (found.candidates[3].text, found.candidates[3].is_finished) == ("4.....d", True)


def test_settings_stand_behind_the_name() -> None:
    assert parse_deepconf("deepconf_online") == DeepConfConfig(16, 10.0, 2048)
    assert parse_deepconf("deepconf_online:n_warmup=8:percent=90:group_tokens=64") == DeepConfConfig(
        8, 90, 64
    )
    for strategy, told in (
        ("deepconf_online:percent=0", "percent: got 0.0, expected more than 0"),
        ("deepconf_online:group_tokens=0", "group_tokens"),
        ("deepconf_online:eta=9", "got 'eta=9', expected one of n_warmup, percent, group_tokens"),
    ):
        with pytest.raises(ValueError, match=told):
            prm_train.solve("?", SegmentPolicy([]), None, strategy)
    with pytest.raises(ValueError, match="a policy whose whole distributions cannot be read"):
        prm_train.solve("?", SegmentPolicy([]), None, "deepconf_online")


def test_a_real_policy_reads_what_it_wrote_with_the_model_that_wrote_it() -> None:
    policy = load_policy("base")
    assert isinstance(policy, TransformersPolicy)
    prompt, texts = policy.encode_prompt("Start with 3: plus 4."), [(5, 6, 7, 8, 9), (7, 6)]
    alone = load_confidence(("deepconf",), PolicyConfig("base"), 4)
    assert alone is not None
    together = ConfidenceModel(policy.model, 4).measure(prompt, texts)
    for measured, wanted in zip(together, alone.measure(prompt, texts), strict=True):
        assert measured == pytest.approx(wanted, rel=1e-4)

    def solved(percent: int) -> prm_train.Answer:
        strategy = f"deepconf_online:n_warmup=2:percent={percent}:group_tokens=6"
        settings: dict[str, Any] = {"max_new_tokens": 40, "window": 2, "budget_flops": 1e15}
        question = "Start with 3: plus 4, times 9, minus 8, fold 5."
        return prm_train.solve(question, policy, None, strategy, 6, grader="arithmetic", **settings)

    answer = solved(100)
    assert answer == solved(100)
    assert answer.spent is not None
    assert answer.spent.tokens == answer.cost.policy.n_generated
    assert answer.spent.flops is not None
    assert answer.spent.flops > 0
    # each sample was read at least once
    assert answer.cost.policy.n_prefilled > answer.cost.policy.n_generated
