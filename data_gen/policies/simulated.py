"""A policy whose behaviour is known exactly: it writes as the pretraining text of the built-in task does.

For dry runs and for tests that need true step values (`success_probability`). Its tokens are the bytes of the text, EOS is 256.
"""

import random

from data_gen import arithmetic
from data_gen.ledger import prefix_hash
from data_gen.policies.protocol import Policy
from data_gen.records import Completion, FinishReason, SamplingParams, Usage, derive_seed

EOS_ID = 256


class SimulatedPolicy(Policy):
    """Continues any prefix of a solution line by line; `temperature` and log-probs are those of the process itself (log-probs are 0)."""

    def __init__(self, base_seed: int = 0, context_length: int = 4096) -> None:
        self.policy_id = "simulated-arithmetic-1"
        self.base_seed = base_seed
        self.context_length = context_length

    def encode_prompt(self, question: str) -> tuple[int, ...]:
        return tuple(f"{question}\n".encode())

    def token_bytes(self) -> list[bytes]:
        return [*(bytes([i]) for i in range(256)), b""]

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        if len(prefix_ids) >= self.context_length:
            raise ValueError(f"a prefix of {len(prefix_ids)} tokens leaves no room in a context of {self.context_length}")
        rng = random.Random(derive_seed(self.base_seed, self.policy_id, prefix_hash(prefix_ids).hex(), index))
        question, _, written = bytes(prefix_ids).decode().partition("\n")
        text, finish_reason = _continuation(arithmetic.parse_question(question), written, rng), FinishReason.EOS
        if params.stop is not None and params.stop in text:
            text, finish_reason = text[: text.index(params.stop) + len(params.stop)], FinishReason.STOP
        ids = [*text.encode(), *([EOS_ID] if finish_reason is FinishReason.EOS else [])]
        if len(ids) > params.max_new_tokens:
            ids, finish_reason = ids[: params.max_new_tokens], FinishReason.LENGTH
            text = bytes(token for token in ids if token != EOS_ID).decode()
        return Completion(tuple(ids), text, (0.0,) * len(ids), finish_reason, Usage(n_generated=len(ids), n_prefilled=len(prefix_ids)))


def _continuation(chain: arithmetic.Chain, written: str, rng: random.Random) -> str:
    kept = arithmetic.parse_totals(written)
    whole = arithmetic.solution_text(chain, arithmetic.draw_attempt(chain, rng, kept))
    return whole[len(written) :]


def success_probability(chain: arithmetic.Chain, n_steps_done: int) -> float:
    """The exact value of a right prefix of `n_steps_done` steps (a wrong prefix has value 0)."""
    probability, values = 1.0, [chain.start, *chain.values()]
    for i, (name, operands) in enumerate(chain.operations):
        if i >= n_steps_done:
            probability *= 1 - arithmetic.error_rate(name, values[i], operands)
    return probability
