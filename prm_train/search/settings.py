"""The settings of `prm-train search`. Loads without torch."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from data_gen.grading.graders import GraderName
from data_gen.policies.config import PolicyConfig
from data_gen.problems.sources import ProblemSource
from data_gen.records.chats import QUESTION
from data_gen.records.sampling import check_temperature
from data_gen.sampling.draw_settings import DrawSettings
from prm_train.encoding.aggregation import Aggregation
from prm_train.scoring.foreign.settings import AUTO, PrmFormat
from prm_train.search.scorer_config import ScorerConfig
from prm_train.strategies.baselines import Baseline, check_baselines
from prm_train.strategies.revisions import Verifier
from prm_train.strategies.tree_searches import StrategySpec, parse_strategy


@dataclass(frozen=True)
class SearchConfig(DrawSettings):
    """Sample, score and search problems with a policy and trained scorers.

    Draws go into a ledger and a finished problem into results.jsonl at once, so an interrupted search goes on
    where it stopped.
    """

    output: Path = field(metadata={"help": "run folder for the results", "is_execution": True})
    problems: ProblemSource = field(default_factory=ProblemSource)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    scorer: ScorerConfig = field(default_factory=ScorerConfig)
    prm: str | None = field(default=None, metadata={"is_model": True, "help": "folder or Hub name of a PRM"})
    prm_format: PrmFormat = field(
        default=AUTO,
        metadata={"help": "how to read a PRM of another project whose config.json does not say it"},
    )
    orm: str | None = field(default=None, metadata={"is_model": True, "help": "folder or Hub name of an ORM"})
    revision_model: str | None = field(
        default=None,
        metadata={
            "is_model": True,
            "help": "folder or Hub name of the model that writes revisions, with the other settings of "
            "policy; null: the policy itself",
        },
    )
    revision_prompt: str = field(
        default=QUESTION,
        metadata={
            "help": "text before each attempt of a chain but the first, as chain.again of the rows that the "
            "revision model was trained on; may hold {question}"
        },
    )
    n_samples: int = field(
        default=64, metadata={"help": "number of candidates for each problem at each temperature"}
    )
    temperature: float = field(
        default=1.0,
        kw_only=True,
        metadata={
            "help": "temperature of the scored candidates, of searches in a tree and of the difficulty "
            "draws; 0 is greedy"
        },
    )
    other_temperatures: tuple[float, ...] = field(
        default=(),
        metadata={
            "help": "further temperatures to draw candidates at, which are not scored: for majority vote and "
            "log-prob baselines"
        },
    )
    n_difficulty_draws: int = field(
        default=32,
        metadata={
            "help": "number of draws beyond n_samples that are used only to sort problems by difficulty"
        },
    )
    strategies: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "searches in a tree to run with the PRM, for example particle_filter,beam, and "
            "revisions; settings of one follow its name, as in dvts:width=8, revisions:n_chains=1 or "
            "particle_filter:exponent=0.5:temperature=0.7"
        },
    )
    sizes: tuple[int, ...] = field(
        default=(4, 16, 64), metadata={"help": "N of each of the strategies, for example 4,16,64"}
    )
    allocation: Path | None = field(
        default=None,
        metadata={
            "is_input": True,
            "help": "allocation.json of `prm-train allocate`: each problem is answered by what its estimated "
            "difficulty chooses, too",
        },
    )
    allocation_budget: float | None = field(
        default=None,
        metadata={"help": "which of the allocation's budgets: the largest within this; null: its largest"},
    )
    max_steps: int = field(
        default=40,
        metadata={"help": "a path of a search in a tree with more steps is cut there and cannot vote"},
    )
    aggregation: Aggregation | None = field(
        default=None,
        metadata={
            "help": "how the step scores of a path become one, to rank it and weigh its vote in searches in "
            "a tree; null: the PRM's own way"
        },
    )
    baselines: tuple[Baseline, ...] = field(
        default=(),
        metadata={
            "help": "selections without a verifier to store measures for: self_certainty and deepconf (the "
            "policy reads each distinct sample once more), chunk_likelihood (costs nothing)"
        },
    )
    confidence_window: int = field(
        default=2048, metadata={"help": "tokens of a group, and of the tail, for deepconf"}
    )
    chunk_tokens: int = field(default=32, metadata={"help": "tokens of a chunk, for chunk_likelihood"})
    grader: GraderName = field(
        default="auto", metadata={"help": "what compares answers, as for `prm-train sample`"}
    )
    forecast: bool = field(
        default=False,
        metadata={
            "help": "search 20 problems spread over the source, which are part of the run, print what all of "
            "them will cost, and stop",
            "is_execution": True,
        },
    )
    trace: bool = field(
        default=False,
        metadata={
            "help": "keep every step that the searches in a tree draw in traces.jsonl, for `prm-train "
            "show-tree`",
            "is_execution": True,
        },
    )
    ledger: Path | None = field(
        default=None,
        metadata={
            "help": "file of the ledger of draws, which several runs may share one after the other; null: "
            "ledger.sqlite in output",
            "is_execution": True,
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for temperature in self.other_temperatures:
            check_temperature(temperature, "other_temperatures")
        self._check_trees()
        self.scorer.check_one(self.prm, self.orm)
        check_baselines(self.baselines, self.policy)
        for name, number in (
            ("confidence_window", self.confidence_window),
            ("chunk_tokens", self.chunk_tokens),
        ):
            if number < 1:
                raise ValueError(f"{name}: got {number}, expected 1 or more")
        object.__setattr__(self, "policy", self.policy.named_for(self.problems.source))

    def _check_trees(self) -> None:
        if len({str(spec) for spec in self.specs}) < len(self.strategies):
            raise ValueError(f"strategies: got {', '.join(self.strategies)}, expected each once")
        trees = [str(spec) for spec in self.specs if not spec.is_revisions]
        if trees and self.prm is None:
            raise ValueError(f"strategies: got {', '.join(trees)} without a PRM, expected prm to name one")
        self._check_revisions()
        if min(self.sizes, default=1) < 1:
            raise ValueError(f"sizes: got {list(self.sizes)}, expected each to be 1 or more")
        if self.max_steps < 1:
            raise ValueError(f"max_steps: got {self.max_steps}, expected 1 or more")
        if self.allocation_budget is not None and self.allocation is None:
            raise ValueError("allocation_budget: has no effect without allocation; expected none")

    def _check_revisions(self) -> None:
        chains = [spec for spec in self.specs if spec.is_revisions]
        if self.revision_model is not None and not any(spec.has_reviser for spec in self.specs):
            raise ValueError(
                f"revision_model: got {self.revision_model}, but no revisions among strategies, expected some"
            )
        for spec in chains:
            given = dict(spec.given)
            verifier = given.get("verifier", "none")
            if verifier != "none" and {"orm": self.orm, "prm": self.prm}[verifier] is None:
                raise ValueError(f"strategies: got {spec}, expected {verifier} to name one")
            if given.get("base_first") and self.revision_model is None:
                raise ValueError(
                    f"strategies: got {spec}, expected revision_model to name another model than the policy"
                )

    @property
    def specs(self) -> tuple[StrategySpec, ...]:
        """The strategies with their settings."""
        return tuple(map(parse_strategy, self.strategies))

    @property
    def tree_sizes(self) -> dict[str, tuple[int, ...]]:
        """The N of the strategies, by spec."""
        return {str(spec): self.sizes for spec in self.specs}

    @property
    def verifier(self) -> Verifier:
        """Of revisions that name none: the ORM, or else the PRM."""
        return "orm" if self.orm is not None else "prm" if self.prm is not None else "none"

    @property
    def revision_policy(self) -> PolicyConfig:
        """What writes revisions."""
        return replace(self.policy, model=self.revision_model or self.policy.model)

    @property
    def ledger_path(self) -> Path:
        return self.output / "ledger.sqlite" if self.ledger is None else self.ledger
