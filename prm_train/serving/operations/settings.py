"""Settings of how a server is run. Loads without torch."""

from dataclasses import dataclass, field, fields

from prm_train.search.solve_settings import SolveSettings


@dataclass(frozen=True)
class CacheSettings:
    """Which answers are kept in memory, to be given again, and which draws, to be drawn from again."""

    max_answers: int = field(
        default=0,
        metadata={"help": "answers that are kept; the one that was asked for longest ago goes; 0: none"},
    )
    max_bytes: int = field(
        default=64 * 2**20, metadata={"help": "bytes of memory of all kept answers together"}
    )
    max_questions: int = field(
        default=0,
        metadata={
            "help": "questions whose draws are kept where there is no ledger, so that the same question and "
            "seed with a larger n draws only what is missing; 0: none"
        },
    )
    max_draw_bytes: int = field(
        default=256 * 2**20,
        metadata={
            "help": "bytes of memory of the draws of all these questions; no question takes less than 90 kB"
        },
    )
    max_age_seconds: float = field(
        default=3600.0, metadata={"help": "an answer that is older is found anew, and draws are made anew"}
    )
    without_seed: bool = field(
        default=False,
        metadata={
            "help": "keep answers to requests without seed, too, which then have the same answer for "
            "max_age_seconds, as if all of them named the seed of the first"
        },
    )

    def __post_init__(self) -> None:
        for name in ("max_answers", "max_questions"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected 0 or more")
        for name in ("max_bytes", "max_draw_bytes", "max_age_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected more than 0")

    def keeps(self, settings: SolveSettings, seed: int | None) -> bool:
        """A budget in seconds gives another answer on a busier day."""
        is_known = seed is not None or self.without_seed
        return self.max_answers > 0 and is_known and settings.budget_seconds is None


@dataclass(frozen=True)
class Quota:
    """What each key may use (without keys: all clients together); null is no limit."""

    requests_per_minute: int | None = field(
        default=None, metadata={"help": "requests in a minute of the clock"}
    )
    requests_per_day: int | None = field(default=None, metadata={"help": "requests in a day (UTC)"})
    tokens_per_minute: int | None = field(
        default=None,
        metadata={"help": "tokens, generated or computed by the scorer, in a minute of the clock"},
    )
    tokens_per_day: int | None = field(default=None, metadata={"help": "such tokens in a day (UTC)"})

    def __post_init__(self) -> None:
        for each in fields(self):
            limit = getattr(self, each.name)
            if limit is not None and limit < 1:
                raise ValueError(f"{each.name}: got {limit}, expected 1 or more")


@dataclass(frozen=True)
class LogSettings:
    """What a server writes to its log."""

    json: bool = field(
        default=False, metadata={"help": "each line a JSON object, with a line for each request"}
    )
    prompts: bool = field(
        default=False,
        metadata={"help": "with json, the lines of answers hold what was asked and what was answered"},
    )

    def __post_init__(self) -> None:
        if self.prompts and not self.json:
            raise ValueError("prompts: has no effect without json; expected it to be left out")
