"""What a question may cost: tokens, floating point operations, seconds or money, and what was spent of them.

Samples are drawn window by window while nothing is spent, and vote in the order of their indices as far as
the budget goes: an answer depends on the budget, and not on how many were drawn at a time. So those of the
last window that cost more than what was left are paid for in vain. The nearer the end, the smaller the
windows: as many samples as the rest would pay for at the mean price so far, at least one. A search in a tree
begins no round once something is spent, and all paths that were finished by then vote.

Tokens, operations and money are functions of what was drawn, and so the same each time. Seconds are not: with
`budget_seconds` another run may give another answer, and draws that a ledger holds take next to none. All
samples of the window in which the time runs out vote: those that were ready first would be the short ones.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from data_gen.records.sampling import Usage
from prm_train.scoring.flops import ForwardFlops
from prm_train.scoring.work import Work
from prm_train.search.method_policy import DrawsCost
from prm_train.search.model_flops import flops_of

POLICY, SCORER = "policy", "scorer"  # names of models
PRICES = ("price_per_million_generated", "price_per_million_prompt")
ALL_PRICES = (*PRICES, "price_per_million_scored")  # the last one need not be known
MILLION = 1e6


@dataclass(frozen=True)
class Spent:
    """On one question. FLOPs where a budget of them is set, money where prices are; seconds are wall-clock
    time.
    """

    tokens: int = 0
    flops: float | None = None
    money: float | None = None
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The most that a question may cost; None is no limit."""

    budget_tokens: int | None = field(
        default=None,
        metadata={
            "help": "draw no more once so many tokens are generated; exceeded by one window of samples or "
            "one round of a tree at most. Samples vote as far as the budget goes; what was drawn beyond is "
            "counted as spent"
        },
    )
    budget_flops: float | None = field(
        default=None,
        metadata={
            "help": "the same for floating point operations of policy and scorer, attention included; both "
            "must be known by their weights"
        },
    )
    budget_seconds: float | None = field(
        default=None,
        metadata={
            "help": "the same for wall-clock seconds of a question, those that it waits for others included; "
            "all that was drawn votes. Not reproducible, unlike the other budgets"
        },
    )
    budget_money: float | None = field(
        default=None,
        metadata={"help": "the same for the price of its tokens, in the currency of the prices"},
    )
    price_per_million_generated: float | None = field(
        default=None, metadata={"help": "price of a million generated tokens, for budget_money"}
    )
    price_per_million_prompt: float | None = field(
        default=None,
        metadata={
            "help": "price of a million tokens of prompts, for budget_money; every draw pays for its whole "
            "prompt, as servers bill it"
        },
    )
    price_per_million_scored: float | None = field(
        default=None,
        metadata={"help": "price of a million tokens that the scorer computes, for budget_money; null: 0"},
    )

    def check_budget(self) -> None:
        """Raises ValueError for a limit that nothing could keep to, and for money without prices."""
        for name, limit in self.limits.items():
            if not limit > 0:
                raise ValueError(f"{name}: got {limit}, expected more than 0")
        for name, price in self.prices.items():
            if price is not None and self.budget_money is None and not self.reports_money:
                raise ValueError(f"{name}: has no effect without budget_money; expected it to be left out")
            if price is None and self.budget_money is not None and name in PRICES:
                raise ValueError(f"budget_money: got no {name}, expected a price of 0 or more")
            if price is not None and not price >= 0:
                raise ValueError(f"{name}: got {price}, expected 0 or more")

    @property
    def reports_money(self) -> bool:
        """Whether prices mean something without budget_money."""
        return False

    @property
    def prices(self) -> dict[str, float | None]:
        """By name."""
        return {name: getattr(self, name) for name in ALL_PRICES}

    def price_of(self, usage: Usage, n_scored: int, n_read: int = 0) -> float:
        """See `money_of`."""
        return money_of(self.prices, usage, n_scored, n_read)

    @property
    def limits(self) -> dict[str, float]:
        """Those that are set, by name."""
        names = (each.name for each in fields(Budget) if each.name.startswith("budget_"))
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def is_set(self) -> bool:
        return bool(self.limits)

    def reached(self, spent: Spent) -> str | None:
        """The first limit of which nothing is left."""
        return next((name for name, limit in self.limits.items() if amount(spent, name) >= limit), None)

    def holds(self, spent: Spent) -> bool:
        """Whether nothing is exceeded, but for seconds."""
        return all(amount(spent, name) <= limit for name, limit in self._exact.items())

    def n_affordable(self, spent: Spent, n_drawn: int) -> float:
        """How many samples more the rest would pay for, at the mean price of those drawn. Seconds say
        nothing: samples are drawn side by side.
        """
        rest = {name: limit - amount(spent, name) for name, limit in self._exact.items()}
        prices = {name: amount(spent, name) / n_drawn for name in rest}
        return min((rest[name] // price for name, price in prices.items() if price), default=math.inf)

    @property
    def _exact(self) -> dict[str, float]:
        return {name: limit for name, limit in self.limits.items() if name != "budget_seconds"}


def money_of(prices: Mapping[str, float | None], usage: Usage, n_scored: int, n_read: int = 0) -> float:
    """By prices as `Budget.prices` has them: of what was drawn, of so many tokens that the scorer computed,
    and of those that the policy read where it reads what it wrote. What has no price costs nothing.
    """
    generated, prompt, scored = (prices[name] or 0.0 for name in ALL_PRICES)
    n_prompt = usage.n_prefilled + usage.n_cached + n_read
    return (generated * usage.n_generated + prompt * n_prompt + scored * n_scored) / MILLION


def amount(spent: Spent, name: str) -> float:
    """What was spent of a limit."""
    found = getattr(spent, name.removeprefix("budget_"))
    assert found is not None
    return float(found)


@dataclass(frozen=True)
class Meter:
    """Makes what was drawn and scored for a question into what was spent. `flops` are those of the models by
    name, as far as known; the seconds begin with it.
    """

    budget: Budget
    flops: Mapping[str, ForwardFlops]
    begun: float = field(default_factory=time.monotonic)

    def spent(self, drawn: DrawsCost, scored: Work | None = None, read: Work | None = None) -> Spent:
        """`scored` is the scorer's work (None: there is no scorer), `read` that of the policy where it reads
        what it wrote.
        """
        usage, budget, n_read = drawn.usage, self.budget, read.n_tokens if read else 0
        money = flops = None
        if budget.budget_money is not None:
            money = budget.price_of(usage, 0 if scored is None else scored.n_tokens, n_read)
        if budget.budget_flops is not None:
            written = drawn.work + (read or Work())
            scorer = None if scored is None else SCORER
            n_outputs = usage.n_generated + n_read
            flops = flops_of(self.flops, POLICY, written, n_outputs, scorer, scored or Work())
        return Spent(usage.n_generated, flops, money, time.monotonic() - self.begun)
