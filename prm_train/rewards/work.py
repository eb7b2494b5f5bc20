"""What rewards cost and what they could not tell: counted with every call, so that no reward holds up a step
unseen.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Log = Callable[[str, float], Any]  # TRL's log_metric: it averages over processes and over a logging step


@dataclass
class RewardWork:
    """Totals of one reward. `unknown` counts, by reason, the completions that got none."""

    n_calls: int = 0
    n_completions: int = 0
    seconds: float = 0.0
    n_tokens: int = 0  # that a scorer computed
    unknown: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def counted(self, n_completions: int) -> Iterator[None]:
        """Around one call; one that fails has cost its seconds, too."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.n_calls += 1
            self.n_completions += n_completions
            self.seconds += time.perf_counter() - start


@contextmanager
def logged(work: RewardWork, name: str, n_completions: int, log: Log | None) -> Iterator[None]:
    """Counts a call and logs its seconds, its completions and the share that got no reward."""
    seconds, n_unknown = work.seconds, work.unknown.total()
    with work.counted(n_completions):
        yield
    if log is not None:
        log(f"{name}/seconds", work.seconds - seconds)
        log(f"{name}/calls", 1.0)
        log(f"{name}/completions", float(n_completions))
        log(f"{name}/unknown_share", (work.unknown.total() - n_unknown) / max(n_completions, 1))
