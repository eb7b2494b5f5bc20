"""Settings of the labelling methods: one flat record, and which method reads which."""

from dataclasses import dataclass, field, fields
from typing import Literal

Method = Literal["first_error", "every_step", "sequential", "posterior", "omega"]


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """How step labels are made. A setting that the chosen method does not read must keep its default."""

    method: Method = "first_error"
    n_rollouts: int = field(default=8, metadata={"help": "rollouts from a prefix: first_error at most, every_step and omega always"})
    n_check: int = field(default=0, metadata={"help": "rollouts at and after the located error, to see whether the policy recovers"})
    stopping: Literal["fixed", "interval"] = field(
        default="fixed", metadata={"help": "every_step: n_rollouts, or draw until the value's interval is no wider than interval_width"}
    )
    interval_width: float = 0.4
    max_rollouts: int = field(default=64, metadata={"help": "from one prefix: sequential, and every_step with stopping interval"})
    low_share: float = field(default=0.2, metadata={"help": "sequential: a step is wrong if it leaves at most this share of the value"})
    high_share: float = field(default=0.8, metadata={"help": "sequential: and right if it leaves at least this share"})
    false_positive_rate: float = field(default=0.05, metadata={"help": "sequential: how often a wrong step may pass"})
    false_negative_rate: float = field(default=0.05, metadata={"help": "sequential: how often a right step may fail"})
    error_rate: float = field(default=0.04, metadata={"help": "posterior: stop at a first error this likely to be another one"})
    max_solution_rollouts: int = field(default=400, metadata={"help": "posterior: on one solution"})
    omega_alpha: float = field(default=0.5, metadata={"help": "omega: Q = alpha^(1 - MC) * beta^(length / omega_length)"})
    omega_beta: float = 0.9
    omega_length: int = 500
    omega_c_puct: float = 0.125
    omega_searches: int = field(default=100, metadata={"help": "omega: rollouts searched for their first error, a problem"})
    omega_pieces: int = field(default=16, metadata={"help": "omega: token spans that a solution of mean length is cut into"})
    omega_cuts: Literal["steps", "tokens"] = field(
        default="steps",
        metadata={"help": "omega: cut at the ends of steps, where a search scores, or at equal token spans, as in the paper"},
    )

    def __post_init__(self) -> None:
        read = settings_read(self)
        for setting in fields(LabelSettings):
            value = getattr(self, setting.name)
            if value != setting.default and setting.name not in read:
                by = f"method {self.method}" + (f" with stopping {self.stopping}" if self.method == "every_step" else "")
                raise ValueError(f"{setting.name}: got {value!r}, but {by} does not read it (it reads {', '.join(sorted(read))})")
            if isinstance(value, (int, float)) and (value < 0 or (value == 0 and setting.name not in ("n_check", "omega_c_puct"))):
                raise ValueError(f"{setting.name}: got {value!r}, expected more than 0")
        for name in ("interval_width", "low_share", "high_share", "false_positive_rate", "false_negative_rate", "error_rate"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, expected less than 1")
        if self.low_share >= self.high_share:
            raise ValueError(f"low_share: got {self.low_share!r}, expected less than high_share ({self.high_share!r})")


def settings_read(settings: LabelSettings) -> set[str]:
    """The names of the settings that the chosen method reads."""
    names = {
        "first_error": {"n_rollouts", "n_check"},
        "every_step": {"stopping", *(("n_rollouts",) if settings.stopping == "fixed" else ("interval_width", "max_rollouts"))},
        "sequential": {"max_rollouts", "low_share", "high_share", "false_positive_rate", "false_negative_rate", "n_check"},
        "posterior": {"error_rate", "max_solution_rollouts", "n_check"},
        "omega": {"n_rollouts", *(setting.name for setting in fields(LabelSettings) if setting.name.startswith("omega_"))},
    }
    return {"method", *names[settings.method]}
