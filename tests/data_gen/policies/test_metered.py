import asyncio
from types import SimpleNamespace
from typing import Any

from data_gen.policies.metered import MeteredPolicy
from data_gen.records.sampling import Completion, FinishReason, SamplingParams, Usage


class TenTokens:
    """Prefills 7 tokens for the first draw of a prefix, and one for each further one."""

    policy_id, base_seed, context_length, n_cacheable_tokens = "ten", 0, 64, 93_206

    async def sample(self, prefix_ids, params, index):
        usage = Usage(10, 7, 0) if index == 0 else Usage(10, 1, 6)
        return Completion((1,) * 10, "x", (0.0,) * 10, FinishReason.LENGTH, usage)


def test_the_line_says_how_much_was_prefilled_for_what_was_generated():
    ten: Any = TenTokens()
    policy = MeteredPolicy(ten)
    for index in range(4):
        asyncio.run(policy.sample((1, 2), SamplingParams(10), index))
    assert "20.0 tokens a label, 10 tokens prefilled (0.25 a generated one)" in policy.line(
        2, Usage(40, 10, 18)
    )
    assert (policy.facts(2).n_prefilled, policy.n_cacheable_tokens) == (10, 93_206)
    assert (
        MeteredPolicy(SimpleNamespace(policy_id="p", base_seed=0, context_length=1)).n_cacheable_tokens
        is None
    )
