"""Where the keys and values of histories are kept: rows, in tiers of one capacity each."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from data_gen.policies.engine.draw import History
from data_gen.policies.engine.key_value_rows import CacheLayout, KeyValueRows
from data_gen.policies.engine.prefix_tree import Segment

# Positions that a row of the smallest tier holds.
SMALLEST_TIER = 64
# A tier with a greater share of idle rows is compacted before the next step.
MAX_IDLE_SHARE = 0.125


@dataclass(eq=False, slots=True)
class Row:
    """A place for the keys and values of one history, the last of `histories`. The others are parked:
    the row holds what they need, since their first `n_fed` ids are those of the history behind them.
    """

    histories: list[History]
    tier: "Tier"
    number: int = 0

    @property
    def history(self) -> History:
        return self.histories[-1]

    def read(self, start: int, end: int) -> Segment:
        """A copy of the keys and values of some positions."""
        return self.tier.cache.read(self.number, start, end)


@dataclass(eq=False, slots=True)
class Tier:
    """The rows of one capacity (None: an idle row, whose results nobody reads)."""

    cache: KeyValueRows
    rows: list[Row | None] = field(default_factory=list)
    idle: list[int] = field(default_factory=list)

    def put(self, row: Row) -> None:
        """Give the row an idle place, or a new one."""
        row.tier = self
        if self.idle:
            row.number = self.idle.pop()
            self.rows[row.number] = row
        else:
            row.number = len(self.rows)
            self.rows.append(row)
            self.cache.reserve(len(self.rows))

    def free(self, row: Row) -> None:
        """Make the row's place idle."""
        self.rows[row.number] = None
        self.idle.append(row.number)

    def compact(self) -> None:
        """Move the last rows into the idle places, so that none is idle."""
        n_rows = len(self.rows) - len(self.idle)
        last = [row for row in self.rows[n_rows:] if row is not None]
        del self.rows[n_rows:]
        targets = [number for number in self.idle if number < n_rows]
        self.idle = []

        for row, number in zip(last, targets, strict=True):
            self.cache.copy_row(self.cache, row.number, number, row.history.n_fed)
            self.rows[number], row.number = row, number


class RowTiers:
    """All rows, in tiers of 64, 128, 256, … positions."""

    def __init__(self, layout: CacheLayout) -> None:
        self._layout = layout
        self.tiers: list[Tier] = []

    def __iter__(self) -> Iterator[Row]:
        return (row for tier in self.tiers for row in tier.rows if row is not None)

    @property
    def n_rows(self) -> int:
        return sum([len(tier.rows) - len(tier.idle) for tier in self.tiers])

    def place(self, history: History, segments: list[Segment]) -> Row:
        """Give a history a row with the keys and values of all its ids but the newest."""
        row = self._new_row(history)
        row.tier.cache.fill(row.number, segments)
        return row

    def fork(self, source: Row, history: History) -> None:
        """Give a history that is parked in `source` a row of its own."""
        source.histories.remove(history)
        row = self._new_row(history)
        row.tier.cache.copy_row(source.tier.cache, source.number, row.number, history.n_fed)

    def tidy(self) -> None:
        """Move rows that are full to the next tier, and close up the tiers with many idle rows."""
        for tier in list(self.tiers):
            for row in tier.rows:
                if row is not None and row.histories[-1].n_fed == tier.cache.capacity:
                    number = row.number
                    tier.free(row)
                    self._tier(row.history.n_fed).put(row)
                    row.tier.cache.copy_row(tier.cache, number, row.number, row.history.n_fed)
            if len(tier.idle) > MAX_IDLE_SHARE * len(tier.rows):
                tier.compact()

    def _new_row(self, history: History) -> Row:
        tier = self._tier(history.n_fed)
        row = Row([history], tier)
        tier.put(row)
        return row

    def _tier(self, position: int) -> Tier:
        """The smallest tier that holds this position."""
        for tier in self.tiers:
            if position < tier.cache.capacity:
                return tier
        capacity = 2 * self.tiers[-1].cache.capacity if self.tiers else SMALLEST_TIER
        self.tiers.append(Tier(KeyValueRows(self._layout, capacity)))
        return self._tier(position)
