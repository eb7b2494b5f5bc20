"""A policy that counts what it draws, for the line of a progress bar and for the facts of a run."""

import time
from dataclasses import asdict, dataclass

from data_gen.policies.protocol import Policy
from data_gen.records.sampling import Completion, SamplingParams, Usage


@dataclass(frozen=True)
class ProcessFacts:
    """What one process of a run drew, and how fast. `labels_per_second`: labels that the ledger held already
    count, too.
    """

    n_draws: int
    n_generated: int
    seconds: float
    cpu_seconds: float
    n_generated_and_cancelled: int = 0
    n_prefilled: int = 0
    tokens_per_second: float = 0.0
    draws_per_second: float = 0.0
    labels_per_second: float = 0.0
    # With servers: how many the process was given, and how many of them have ever answered it
    n_servers: int | None = None
    n_servers_answered: int | None = None


def server_counts(asked: object) -> dict[str, int]:
    """n_servers and n_servers_answered of a policy or a scorer behind servers; nothing of another one."""
    counts = getattr(asked, "server_counts", None)
    return {} if counts is None else asdict(counts)


class MeteredPolicy:
    """A policy that counts the draws it makes, from its creation on; draws that a ledger in front of it knows
    already do not reach it.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy_id, self.base_seed, self.context_length = (
            policy.policy_id,
            policy.base_seed,
            policy.context_length,
        )
        self.n_draws = self.n_generated = self.n_prefilled = 0
        self._policy = policy
        self._wall_start, self._cpu_start = time.perf_counter(), time.process_time()

    def encode_prompt(self, question: str) -> tuple[int, ...]:
        return self._policy.encode_prompt(question)

    def token_bytes(self) -> list[bytes]:
        return self._policy.token_bytes()

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        draw = await self._policy.sample(prefix_ids, params, index)
        self.n_draws += 1
        self.n_generated += draw.usage.n_generated
        self.n_prefilled += draw.usage.n_prefilled
        return draw

    @property
    def n_cacheable_tokens(self) -> int | None:
        """Tokens of prefixes that the policy keeps between draws; None where it does not say."""
        n_tokens: int | None = getattr(self._policy, "n_cacheable_tokens", None)
        return n_tokens

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._wall_start

    def rates(self, n_labels: int) -> dict[str, float]:
        """Tokens, draws and labels a second; what the ledger held already counts as labels alone."""
        seconds = max(self.seconds, 1e-9)
        return {
            "tokens_per_second": round(self.n_generated / seconds, 1),
            "draws_per_second": round(self.n_draws / seconds, 2),
            "labels_per_second": round(n_labels / seconds, 2),
        }

    @property
    def server_counts(self) -> dict[str, int]:
        return server_counts(self._policy)

    def counts(self, usage: Usage) -> dict[str, float]:
        """For a progress file: draws and tokens of this process, and those of `usage`, whichever process drew
        them.
        """
        return {
            "n_draws_now": self.n_draws,
            "n_generated_now": self.n_generated,
            "n_generated": usage.n_generated,
            **self.server_counts,
        }

    @property
    def n_cancelled(self) -> int:
        """Tokens generated for draws that nobody needed any more, by engines that can cancel a draw under
        way.
        """
        usage: Usage = getattr(self._policy, "cancelled_usage", Usage())
        return usage.n_generated

    def facts(self, n_labels: int) -> ProcessFacts:
        """What this process did, `n_labels` being how many labels it handed out."""
        return ProcessFacts(
            n_draws=self.n_draws,
            n_generated=self.n_generated,
            n_generated_and_cancelled=self.n_cancelled,
            n_prefilled=self.n_prefilled,
            seconds=round(self.seconds, 2),
            cpu_seconds=round(time.process_time() - self._cpu_start, 2),
            **self.rates(n_labels),
            n_servers=self.server_counts.get("n_servers"),
            n_servers_answered=self.server_counts.get("n_servers_answered"),
        )

    def line(self, n_labels: int, usage: Usage) -> str:
        """Rates of this process, and the price of the `n_labels` labels that took `usage`, whichever process
        drew it.
        """
        tokens, draws, labels = self.rates(n_labels).values()
        price = f"{usage.n_generated / n_labels:,.1f} tokens a label" if n_labels else "no label yet"
        wasted = f", {self.n_cancelled:,} tokens cancelled" if self.n_cancelled else ""
        share = self.n_prefilled / max(self.n_generated, 1)
        prefilled = f"{self.n_prefilled:,} tokens prefilled ({share:.2f} a generated one)"
        return (
            f"{tokens:,.0f} tokens/s, {draws:,.4g} draws/s, {labels:,.4g} labels/s, {price}, {prefilled}"
            f"{wasted}"
        )
