"""How a policy is asked for solutions: the settings that `sample`, `search` and `solve` share, so that each
has one help text, one default and one check.
"""

from dataclasses import dataclass, field

from data_gen.records.sampling import SamplingParams
from data_gen.records.steps import check_separator
from data_gen.records.stop_strings import check_stop_strings


@dataclass(frozen=True, kw_only=True)
class DrawSettings:
    """A command's config or a record of settings inherits these, and calls `super().__post_init__()`."""

    temperature: float = field(default=1.0, metadata={"help": "sampling temperature; 0 is greedy"})
    top_p: float = field(
        default=1.0,
        metadata={"help": "draw from the fewest tokens that hold this share of the probability; 1: from all"},
    )
    top_k: int = field(
        default=0, metadata={"help": "draw from this many of the most likely tokens; 0: from all"}
    )
    min_p: float = field(
        default=0.0, metadata={"help": "draw no token below this share of the most likely one's probability"}
    )
    stop: tuple[str, ...] = field(
        default=(), metadata={"help": "texts that end a solution; they are not part of it"}
    )
    max_new_tokens: int = field(
        default=256,
        metadata={"help": "maximum number of tokens of a solution; longer ones are truncated and counted"},
    )
    step_separator: str = field(default="\n", metadata={"help": "text that ends a step"})

    def __post_init__(self) -> None:
        check_separator(self.step_separator)
        check_stop_strings(self.stop)
        self.params(self.temperature)  # which checks its values, before a model is loaded

    def params(self, temperature: float, separator: str | None = None) -> SamplingParams:
        """Of whole solutions, or of single steps that end with `separator`."""
        return SamplingParams(
            self.max_new_tokens, temperature, separator, self.top_p, self.top_k, self.min_p, self.stop
        )
