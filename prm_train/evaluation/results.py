"""What a search run measured: the frozen records that `report` shows, and their JSON.

Accuracies, AUROCs and scores are fractions in [0, 1]; costs are totals of a stage, tokens of a method are
means a problem. Every accuracy is an `Interval` over test problems. What was not measured is left out (an
absent method or N, an empty tuple, None), never filled with 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from data_gen.files.stored_record import StoredRecord
from prm_train.metrics.estimators import N_QUINTILES, Interval, ReliabilityBin
from prm_train.strategies.voting import TreeVote


@dataclass(frozen=True)
class Method:
    """How a method is called in a plot and in a sentence, and what it does."""

    label: str
    phrase: str
    description: str


TREES: Mapping[str, Method] = MappingProxyType(
    {
        "particle_filter": Method(
            "particle filter",
            "the particle filter",
            "N particles grow step by step, are copied in proportion to their PRM scores, and vote with "
            "their weights.",
        ),
        "rebase": Method(
            "REBASE",
            "REBASE",
            "After each step the next ones are divided among all open paths by their PRM scores; N "
            "paths end in all.",
        ),
        "mcts": Method(
            "MCTS",
            "Monte Carlo tree search with the PRM",
            "N paths are found by going down the tree to where value and curiosity are highest (PUCT).",
        ),
        "best_first": Method(
            "best-first",
            "best-first search with the PRM",
            "N paths are found by going on from the best of all open paths, old ones too.",
        ),
        "lookahead": Method(
            "lookahead",
            "beam search with lookahead",
            "Beam search that ranks each path by the PRM score of its greedy continuation.",
        ),
        "dvts": Method(
            "DVTS",
            "diverse verifier tree search",
            "N paths in trees that know nothing of each other; after each step the PRM decides which path "
            "of a tree goes on.",
        ),
        "beam": Method(
            "beam search",
            "beam search with the PRM",
            "N beams grow step by step; after each step the PRM decides which go on, and the finished ones "
            "vote with their scores.",
        ),
    }
)
VOTES: Mapping[TreeVote, tuple[str, str]] = MappingProxyType(
    {
        "score": ("score-weighted", "Each path votes with its score."),
        "weight": (
            "weighted",
            "Each path votes with its weight: how often the policy wrote it, and its score.",
        ),
        "prior": (
            "prior-weighted",
            "Each distinct path votes with its score times its probability under the policy.",
        ),
        "prior_mean": (
            "prior-weighted, by token,",
            "Each distinct path votes with its score times the geometric mean of its tokens' probabilities.",
        ),
        "majority": ("majority", "Each path has one vote."),
    }
)


STOPS = "At most N samples: the vote stops when the rest will hardly change it."


def by_vote(name: str, method: Method) -> dict[str, Method]:
    """A search in a tree under its own name with its own vote; with that of another one, or tuned, behind
    it.
    """
    search = method.phrase.removesuffix(" with the PRM")
    others = {
        f"{name}_{vote}": Method(f"{method.label}, {vote}", f"{search}, {how} vote", words)
        for vote, (how, words) in VOTES.items()
    }
    tuned = Method(
        f"{method.label}, tuned",
        f"{search}, tuned on validation",
        "Settings and vote are those that solve most validation problems, for each N.",
    )
    return {name: method, f"{name}_tuned": tuned, **others}


REVISIONS: Mapping[str, Method] = MappingProxyType(
    {
        "revisions": Method(
            "revisions",
            "sequential revisions",
            "N attempts in chains, each shown those before it; the verifier chooses in each chain, then "
            "among the chains.",
        ),
        "revisions_hierarchical_best": Method(
            "revisions, best of each chain",
            "sequential revisions, best of each chain",
            "The best attempt of each chain votes with its score.",
        ),
        "revisions_score": Method(
            "revisions, score",
            "sequential revisions, score-weighted vote",
            "Every attempt votes with its score.",
        ),
        "revisions_majority": Method(
            "revisions, majority",
            "sequential revisions, majority vote",
            "No verifier: every attempt has one vote.",
        ),
        "revisions_tuned": Method(
            "revisions, tuned",
            "sequential revisions, tuned on validation",
            "Chains and vote are those that solve most validation problems, for each N.",
        ),
    }
)


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "prm_weighted": Method(
            "PRM weighted",
            "PRM-weighted best-of-N",
            "Samples vote for their answers, each with the weight of its PRM score.",
        ),
        "prm_vanilla": Method(
            "PRM vanilla", "plain best-of-N with the PRM", "The one sample with the highest PRM score."
        ),
        **{key: row for name, method in TREES.items() for key, row in by_vote(name, method).items()},
        **REVISIONS,
        "orm_weighted": Method(
            "ORM weighted",
            "ORM-weighted best-of-N",
            "Samples vote for their answers, each with the weight of its ORM score.",
        ),
        "orm_vanilla": Method(
            "ORM vanilla", "plain best-of-N with the ORM", "The one sample with the highest ORM score."
        ),
        "logprob": Method(
            "log-prob",
            "log-prob selection",
            "No verifier: selection by the log-probability that the policy itself gives to a sample.",
        ),
        "self_certainty": Method(
            "self-certainty",
            "selection by self-certainty",
            "No verifier: selection by how far the policy's distributions are from uniform along a sample.",
        ),
        "deepconf": Method(
            "DeepConf",
            "DeepConf voting",
            "No verifier: the samples that the policy is most confident of vote with that confidence.",
        ),
        "chunk_likelihood": Method(
            "chunk likelihood",
            "selection by chunk likelihood",
            "No verifier: selection by the policy's mean log-probability of chunks of a sample.",
        ),
        "majority": Method(
            "majority", "majority voting", "No verifier: the most frequent answer of N samples."
        ),
        **{
            f"{name}_early": Method(f"{label}, early stop", f"{phrase} that stops early", STOPS)
            for name, label, phrase in (
                ("prm_weighted", "PRM weighted", "PRM-weighted best-of-N"),
                ("orm_weighted", "ORM weighted", "ORM-weighted best-of-N"),
                ("majority", "majority", "majority voting"),
            )
        },
        "pass_at_n": Method(
            "pass@N",
            "pass@N",
            "At least one of N samples is right: the ceiling of every selection among them.",
        ),
    }
)
ALL_PROBLEMS = "all test problems"
CEILING = "pass_at_n"  # not a method that anybody could use: it needs to know the answer


def method_label(name: str) -> str:
    """The name in plots and tables; a method that the catalogue does not know keeps its own."""
    return METHODS[name].label if name in METHODS else name


def method_phrase(name: str) -> str:
    """The name in a sentence."""
    return METHODS[name].phrase if name in METHODS else {"greedy": "greedy decoding"}.get(name, name)


@dataclass(frozen=True)
class StageCost:
    """What one stage of the run cost: seconds, tokens of the policy, tokens of the scorers, estimated
    floating point operations.
    """

    stage: str
    wall_seconds: float
    cpu_seconds: float
    n_generated: int = 0
    n_prefilled: int = 0
    n_cached: int = 0
    n_scorer_new: int = 0
    n_scorer_reused: int = 0
    flops: float = 0.0


@dataclass(frozen=True)
class RunFacts:
    """What ran, where and at what cost. `n_problems` counts problems by split; `command` and `config_text`
    reproduce the run.
    """

    task: str
    seed: int
    n_problems: Mapping[str, int]
    command: str
    config_text: str
    machine: str
    stages: tuple[StageCost, ...]


@dataclass(frozen=True)
class TokensPerProblem:
    """Mean tokens that a method spends on a problem: generated by the policy, computed anew by the scorer
    (or by the policy as a reader of its samples), and computed of the policy's prompts; the floating point
    operations of all of them (None: not known).
    """

    n_generated: float
    n_scorer: float = 0.0
    n_prefilled: float = 0.0
    flops: float | None = None

    @property
    def total(self) -> float:
        return self.n_generated + self.n_prefilled + self.n_scorer


@dataclass(frozen=True)
class SingleSample:
    """Accuracy of one sample a problem at a temperature: greedy (0), or pass@1 at the best temperature."""

    temperature: float
    accuracy: Interval

    @property
    def label(self) -> str:
        return "greedy" if self.temperature == 0 else f"pass@1, T={self.temperature:g}"


@dataclass(frozen=True)
class PairedDifference:
    """Accuracy of `method` minus that of `baseline` (method names, or "greedy") at `n` samples, paired over
    `problems`.
    """

    method: str
    baseline: str
    n: int
    difference: Interval
    problems: str = ALL_PROBLEMS


@dataclass(frozen=True)
class VerifierQuality:
    """How well a verifier tells right from wrong.

    `within_problem_auroc`: chance that it puts a right solution above a wrong one of the same problem, mean
    over the problems that have both. `aggregation`: how step scores become one score, and how that was
    chosen. `step_auroc` and `brier`: None where not measured.
    """

    name: str
    within_problem_auroc: Interval
    aggregation: str = ""
    step_auroc: float | None = None
    brier: float | None = None
    note: str = ""


@dataclass(frozen=True)
class LossCurve:
    """Loss of a model after so many updates; `split` is train or validation."""

    model: str
    split: str
    updates: tuple[int, ...]
    losses: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.updates) != len(self.losses) or not self.updates:
            raise ValueError(
                f"{self.model}/{self.split}: {len(self.updates)} updates and {len(self.losses)} losses, "
                "expected one of each a point"
            )


@dataclass(frozen=True)
class LabelStatistics:
    """What the labeling stage made: solutions by verdict, steps by label, rows dropped by reason, and the
    price in rollouts and tokens.
    """

    n_solutions: int
    verdicts: Mapping[str, int]
    step_labels: Mapping[str, int]
    dropped: Mapping[str, int]
    n_rollouts: int
    tokens_per_labeled_solution: float


@dataclass(frozen=True)
class ScoredStep:
    """A step, the PRM's score after it, and whether it is truly right (None: not known)."""

    text: str
    score: float
    is_correct: bool | None


@dataclass(frozen=True)
class ScoredSolution:
    """An example for the reader: a question, one solution with its step scores, the verdict on it and what to
    see in it.
    """

    question: str
    steps: tuple[ScoredStep, ...]
    verdict: str
    comment: str = ""


@dataclass(frozen=True)
class SearchReport(StoredRecord):
    """Every number of a report. Methods are keys of `METHODS` (others are shown under their own name), then
    N, the number of samples.

    `settings` says in a few words how a method was run, such as "T = 0.7, chosen on validation". Raises
    ValueError if there is no accuracy, a curve is empty, or a difficulty entry does not hold five intervals
    (easiest first).
    """

    WRITTEN_BY = "`prm-train evaluate`"

    run: RunFacts
    accuracy: Mapping[str, Mapping[int, Interval]]
    accuracy_by_quintile: Mapping[str, Mapping[int, tuple[Interval, ...]]] = field(default_factory=dict)
    tokens: Mapping[str, Mapping[int, TokensPerProblem]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    single_samples: tuple[SingleSample, ...] = ()
    pass_at_1_by_quintile: tuple[Interval, ...] = ()
    paired: tuple[PairedDifference, ...] = ()
    verifiers: tuple[VerifierQuality, ...] = ()
    reliability: tuple[ReliabilityBin, ...] = ()
    losses: tuple[LossCurve, ...] = ()
    labels: LabelStatistics | None = None
    examples: tuple[ScoredSolution, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.accuracy or not all(self.accuracy.values()):
            raise ValueError(
                f"accuracy: got {dict(self.accuracy)}, expected at least one method and one N for each"
            )
        rows = [
            (f"accuracy_by_quintile[{m!r}][{n}]", row)
            for m, curve in self.accuracy_by_quintile.items()
            for n, row in curve.items()
        ]
        if self.pass_at_1_by_quintile:
            rows.append(("pass_at_1_by_quintile", self.pass_at_1_by_quintile))
        for name, row in rows:
            if len(row) != N_QUINTILES:
                raise ValueError(f"{name}: got {len(row)} intervals, expected {N_QUINTILES}, easiest first")

    @property
    def methods(self) -> list[str]:
        """The methods measured, in the order of the catalogue, then any others."""
        return [name for name in METHODS if name in self.accuracy] + [
            name for name in self.accuracy if name not in METHODS
        ]

    @property
    def sample_counts(self) -> list[int]:
        """Every N at which some method was measured, ascending."""
        return sorted({n for curve in self.accuracy.values() for n in curve})
