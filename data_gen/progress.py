"""What a run makes and how fast: a policy that counts its draws, the rates made of the counts, and the line that shows them.

On a terminal the line is a bar that is drawn again and again, elsewhere an entry in the log every ten seconds::

    label: 1200 of 7000 problems, 8,412 tokens/s, 143 draws/s, 96.1 labels/s, 87.5 tokens a label, 24:10 left
"""

import logging
import sys
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

from tqdm import tqdm

from data_gen.policies.protocol import Policy
from data_gen.records import Completion, SamplingParams, Usage

logger = logging.getLogger(__name__)
BAR_SECONDS = 0.2
LOG_SECONDS = 10.0
FEW = 20  # items done, from which on there is a guess of the time left
N_MARKS = 6  # the time left is that of the rate over the last minute of a log


class MeteredPolicy:
    """A policy that counts the draws it makes, from its creation on; draws that a ledger in front of it knows already do not reach it."""

    def __init__(self, policy: Policy) -> None:
        self.policy_id, self.base_seed, self.context_length = policy.policy_id, policy.base_seed, policy.context_length
        self.n_draws = self.n_generated = 0
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
        return draw

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
    def n_cancelled(self) -> int:
        """Tokens generated for draws that nobody needed any more, by engines that can cancel a draw under way."""
        usage: Usage = getattr(self._policy, "cancelled_usage", Usage())
        return usage.n_generated

    def facts(self, n_labels: int) -> dict[str, object]:
        """What this process did, `n_labels` being how many labels it handed out."""
        return {
            "n_draws": self.n_draws,
            "n_generated": self.n_generated,
            "n_generated_and_cancelled": self.n_cancelled,
            "seconds": round(self.seconds, 2),
            "cpu_seconds": round(time.process_time() - self._cpu_start, 2),
            **self.rates(n_labels),
        }

    def line(self, n_labels: int, usage: Usage) -> str:
        """Rates of this process, and the price of the `n_labels` labels that took `usage`, whichever process drew it."""
        tokens, draws, labels = self.rates(n_labels).values()
        price = f"{usage.n_generated / n_labels:,.1f} tokens a label" if n_labels else "no label yet"
        wasted = f", {self.n_cancelled:,} tokens cancelled" if self.n_cancelled else ""
        return f"{tokens:,.0f} tokens/s, {draws:,.4g} draws/s, {labels:,.4g} labels/s, {price}{wasted}"


class Progress:
    """`with Progress("label", n_items) as progress:` and `progress.update()` when another item is done; `words` say what came of them."""

    def __init__(self, what: str, n_items: int, words: Callable[[], str] = str, unit: str = "problems") -> None:
        self._what, self._n_items, self._words, self._unit = what, n_items, words, unit
        is_log = not sys.stderr.isatty()
        self._bar = tqdm(total=n_items, desc=what, unit=f" {unit}", dynamic_ncols=True, disable=is_log)
        self._interval = LOG_SECONDS if is_log else BAR_SECONDS
        self._n_done = 0
        self._marks = deque([(time.monotonic(), 0)], maxlen=N_MARKS)

    def update(self) -> None:
        self._n_done += 1
        self._bar.update()
        now = time.monotonic()
        if now - self._marks[-1][0] >= self._interval:
            self._show(now)

    def _show(self, now: float) -> None:
        if not self._bar.disable:
            self._bar.set_postfix_str(self._words(), refresh=False)
        else:
            then, n_then = self._marks[0]
            left = (self._n_items - self._n_done) * (now - then) / (self._n_done - n_then)
            words = ", ".join(filter(None, (self._words(), f"{tqdm.format_interval(left)} left" * (self._n_done >= FEW))))
            logger.info("%s: %d of %d %s, %s", self._what, self._n_done, self._n_items, self._unit, words)
        self._marks.append((now, self._n_done))

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.close()
