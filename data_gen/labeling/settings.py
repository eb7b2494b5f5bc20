"""Settings of the labeling methods: one flat record, and which method reads which."""

from dataclasses import dataclass, field, fields
from typing import Literal

Method = Literal["first_error", "every_step", "sequential", "posterior", "omega"]
MAY_BE_ZERO = ("n_check", "n_branches", "omega_c_puct", "min_root_share", "min_doubt", "scorer_trust")


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """How step labels are made. A setting that the chosen method does not read must keep its default."""

    method: Method = field(
        default="first_error",
        metadata={
            "help": "how labels are made: first_error (binary search for the first error), every_step "
            "(rollouts after each "
            "step), sequential (binary search with sequential tests), posterior (rollouts where they tell "
            "most about the "
            "first error), omega (the tree search of OmegaPRM)"
        },
    )
    n_rollouts: int = field(
        default=8,
        metadata={
            "help": "rollouts from each prefix: at most so many for first_error, always so many for "
            "every_step and omega"
        },
    )
    min_root_share: float = field(
        default=0.0,
        metadata={
            "help": "least share of a problem's samples that must be right for its wrong solutions to get "
            "labels; the rarer a rollout succeeds, the more it takes to see where none does any more"
        },
    )
    min_doubt: float = field(
        default=0.0,
        metadata={
            "help": "with scores: least chance, by the mean of the scorers' beliefs, that the first error is "
            "not where they say it is for a wrong solution to get labels; 0: all get labels"
        },
    )
    scorer_trust: float = field(
        default=0.7,
        metadata={
            "help": "for posterior with scores: the share of wrong solutions in which the scorers are taken "
            "to know the first error; the rollouts decide the others"
        },
    )
    n_check: int = field(
        default=0,
        metadata={
            "help": "rollouts at and after the located error, to see whether the policy recovers from it; 0: "
            "none"
        },
    )
    stopping: Literal["fixed", "interval"] = field(
        default="fixed",
        metadata={
            "help": "for every_step: draw n_rollouts, or draw until the interval of the value is no wider "
            "than interval_width"
        },
    )
    interval_width: float = field(
        default=0.4,
        metadata={
            "help": "for every_step with stopping interval: width of the 95 % interval at which drawing stops"
        },
    )
    max_rollouts: int = field(
        default=64,
        metadata={
            "help": "maximum number of rollouts from one prefix, for sequential and for every_step with "
            "stopping interval"
        },
    )
    low_share: float = field(
        default=0.2,
        metadata={
            "help": "for sequential: a step is wrong if it leaves at most this share of the value before it"
        },
    )
    high_share: float = field(
        default=0.8,
        metadata={
            "help": "for sequential: a step is right if it leaves at least this share of the value before it"
        },
    )
    false_positive_rate: float = field(
        default=0.05, metadata={"help": "for sequential: how often a wrong step may pass as right"}
    )
    false_negative_rate: float = field(
        default=0.05, metadata={"help": "for sequential: how often a right step may be called wrong"}
    )
    error_rate: float = field(
        default=0.04,
        metadata={
            "help": "for posterior: stop when the probability that the located error is another step is "
            "below this"
        },
    )
    max_solution_rollouts: int = field(
        default=400, metadata={"help": "for posterior: maximum number of rollouts on one solution"}
    )
    when_open: Literal["none", "likeliest"] = field(
        default="none",
        metadata={
            "help": "for posterior: what a solution gets that max_solution_rollouts leave open: no first "
            "error, or the likeliest one (a guess, which is as good as the scores that the search began with)"
        },
    )
    n_branches: int = field(
        default=0,
        metadata={
            "help": "for posterior: of each solution at most so many of the wrong rollouts behind its last "
            "good step are labeled, too: they begin with its good steps, so their errors cost less; 0: none"
        },
    )
    omega_alpha: float = field(
        default=0.5,
        metadata={
            "help": "for omega: alpha in the priority Q = alpha^(1 - MC) * beta^(length / omega_length) of a "
            "rollout"
        },
    )
    omega_beta: float = field(
        default=0.9, metadata={"help": "for omega: beta in that priority, which prefers short rollouts"}
    )
    omega_length: int = field(
        default=500, metadata={"help": "for omega: the length in tokens that counts as 1 in that priority"}
    )
    omega_c_puct: float = field(
        default=0.125,
        metadata={"help": "for omega: weight of nodes that were searched seldom; 0: Q alone decides"},
    )
    omega_searches: int = field(
        default=100,
        metadata={
            "help": "for omega: maximum number of rollouts of a problem that are searched for their first "
            "error"
        },
    )
    omega_pieces: int = field(
        default=16,
        metadata={
            "help": "for omega with omega_cuts tokens: into how many token spans a solution of mean length "
            "is cut"
        },
    )
    omega_cuts: Literal["steps", "tokens"] = field(
        default="steps",
        metadata={
            "help": "for omega: cut at the ends of steps, where a search scores, or at equal token spans, as "
            "in the paper"
        },
    )

    def __post_init__(self) -> None:
        read = settings_read(self)
        for setting in fields(LabelSettings):
            value = getattr(self, setting.name)
            if value != setting.default and setting.name not in read:
                by = f"method {self.method}" + (
                    f" with stopping {self.stopping}" if self.method == "every_step" else ""
                )
                raise ValueError(
                    f"{setting.name}: got {value!r}, but {by} does not read it (it reads "
                    f"{', '.join(sorted(read))})"
                )
            if isinstance(value, (int, float)) and (
                value < 0 or (value == 0 and setting.name not in MAY_BE_ZERO)
            ):
                raise ValueError(f"{setting.name}: got {value!r}, expected more than 0")
        for name in (
            "min_root_share",
            "min_doubt",
            "scorer_trust",
            "interval_width",
            "low_share",
            "high_share",
            "false_positive_rate",
            "false_negative_rate",
            "error_rate",
        ):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, expected less than 1")
        if self.low_share >= self.high_share:
            raise ValueError(
                f"low_share: got {self.low_share!r}, expected less than high_share ({self.high_share!r})"
            )


def check_scored(settings: LabelSettings, *, is_scored: bool) -> None:
    """Raises ValueError for scores of solutions that nothing reads, and for their doubt without scores."""
    if is_scored and settings.method != "posterior" and not settings.min_doubt:
        raise ValueError(
            f"scores: method {settings.method} reads them with min_doubt above 0 only; expected that, or "
            "method posterior"
        )
    if settings.min_doubt and not is_scored:
        raise ValueError(f"min_doubt: got {settings.min_doubt!r} without scores; expected both or neither")


def settings_read(settings: LabelSettings) -> set[str]:
    """The names of the settings that the chosen method reads."""
    choice = {"min_root_share", "min_doubt"}
    names = {
        "first_error": {"n_rollouts", "n_check", *choice},
        "every_step": {
            "stopping",
            *choice,
            *(("n_rollouts",) if settings.stopping == "fixed" else ("interval_width", "max_rollouts")),
        },
        "sequential": {
            "max_rollouts",
            "low_share",
            "high_share",
            "false_positive_rate",
            "false_negative_rate",
            "n_check",
            *choice,
        },
        "posterior": {
            "error_rate",
            "max_solution_rollouts",
            "scorer_trust",
            "when_open",
            "n_check",
            "n_branches",
            *choice,
        },
        "omega": {
            "n_rollouts",
            *(setting.name for setting in fields(LabelSettings) if setting.name.startswith("omega_")),
        },
    }
    return {"method", *names[settings.method]}
