"""How a question is answered: the settings that `prm_train.solve` and `prm-train solve` share; and by whom,
which commands are told. Loads without torch.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path

from data_gen.grading.graders import GraderName
from data_gen.models.names import check_inputs
from data_gen.policies.config import PolicyConfig
from data_gen.policies.protocol import Policy
from data_gen.problems.tasks import model_path
from data_gen.sampling.draw_settings import DrawSettings
from prm_train.encoding.aggregation import Aggregation
from prm_train.scoring.flops import ForwardFlops, known_flops, read_forward_flops
from prm_train.scoring.foreign.settings import AUTO, PrmFormat
from prm_train.scoring.protocol import Scorer
from prm_train.search.budget import ALL_PRICES, Budget
from prm_train.search.scorer_config import ScorerConfig
from prm_train.strategies.deepconf_online import DEEPCONF_ONLINE, parse_deepconf
from prm_train.strategies.stopping import StopRule
from prm_train.strategies.tree_searches import TREE_SEARCHES, parse_strategy
from prm_train.strategies.voting import TreeVote

# Strategies that choose among whole samples: `best_of_n` is vanilla, in `weighted` all vote with their scores
MAJORITY, WEIGHTED, BEST_OF_N = "majority", "weighted", "best_of_n"
OF_SAMPLES = (MAJORITY, WEIGHTED, BEST_OF_N)


@dataclass(frozen=True)
class SolveSettings(Budget, DrawSettings):
    """How a question is answered."""

    strategy: str = field(
        default="particle_filter",
        metadata={
            "help": "how answers are found: majority, weighted, best_of_n or deepconf_online among samples, "
            "or a search in a tree, with settings behind its name as in particle_filter:exponent=0.5 or "
            "deepconf_online:n_warmup=8:percent=90:group_tokens=256"
        },
    )
    n: int = field(default=16, metadata={"help": "number of samples, or of paths of a search in a tree"})
    max_steps: int = field(
        default=40, metadata={"help": "maximum number of steps of a path of a search in a tree"}
    )
    aggregation: Aggregation | None = field(
        default=None,
        metadata={"help": "how the step scores of a path become one; null: the scorer's own way"},
    )

    vote: TreeVote | None = field(
        default=None,
        metadata={"help": "what counts in the vote of a search in a tree; null: the strategy's own way"},
    )
    allocation: Path | None = field(
        default=None,
        metadata={
            "is_input": True,
            "help": "allocation.json of `prm-train allocate`: the difficulty of a question decides its "
            "strategy, n, temperature, aggregation, vote and stop_early",
        },
    )
    allocation_budget: float | None = field(
        default=None,
        metadata={"help": "which of the allocation's budgets: the largest within this; null: its largest"},
    )
    router: Path | None = field(
        default=None,
        metadata={
            "is_input": True,
            "help": "router.json of `prm-train route fit`: a question gets one sample first, and the "
            "strategy and n that the router names where the question is hard or the sample scores too low",
        },
    )
    stop_early: StopRule | None = field(
        default=None,
        metadata={
            "help": "majority and weighted: draw no more when the vote will hardly change. beta: the leader "
            "of the first two answers is the likelier one; sprt: a probability ratio test; certain: when the "
            "rest cannot overtake. margin (weighted and best_of_n): the leader's best score is at least "
            "confidence and all other answers' are margin below it"
        },
    )
    confidence: float = field(
        default=0.95,
        metadata={
            "help": "how sure beta and sprt are when they stop; the score that margin asks for; the share of "
            "the vote at which deepconf_online stops"
        },
    )
    margin: float = field(
        default=0.5,
        metadata={"help": "how far below the leader's best score those of all other answers have to be"},
    )
    window: int = field(
        default=8, metadata={"help": "samples that are drawn at a time, before it is asked whether to stop"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_budget()
        self._check_allocation()
        stoppable = (WEIGHTED, BEST_OF_N) if self.stop_early == "margin" else (MAJORITY, WEIGHTED)
        if self.stop_early is not None and self.strategy not in stoppable:
            expected = " or ".join(stoppable)
            raise ValueError(f"stop_early: got {self.stop_early} with {self.strategy}, expected {expected}")
        if not 0 <= self.margin <= 1:
            raise ValueError(f"margin: got {self.margin}, expected 0 to 1")
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence: got {self.confidence}, expected 0.5 to less than 1")
        if self.window < 1:
            raise ValueError(f"window: got {self.window}, expected 1 or more")
        if self.n < 1:
            raise ValueError(f"n: got {self.n}, expected 1 or more")
        if self.max_steps < 1:
            raise ValueError(f"max_steps: got {self.max_steps}, expected 1 or more")
        if self.is_deepconf:
            parse_deepconf(self.strategy)
        elif self.strategy not in OF_SAMPLES:
            if self.strategy.partition(":")[0] not in TREE_SEARCHES:
                names = ", ".join((*OF_SAMPLES, DEEPCONF_ONLINE, *TREE_SEARCHES))
                raise ValueError(f"strategy: got {self.strategy!r}, expected one of {names}")
            parse_strategy(self.strategy)

    def _check_allocation(self) -> None:
        if self.allocation is None and self.allocation_budget is not None:
            raise ValueError(
                "allocation_budget: has no effect without allocation; expected it to be left out"
            )
        if self.allocation is not None and (self.is_set or self.stop_early is not None):
            name = next(iter(self.limits), "stop_early")
            raise ValueError(f"allocation: got {name}, too; expected allocation_budget and no other limit")
        if self.router is not None and (self.allocation is not None or self.is_set or self.stop_early):
            name = "allocation" if self.allocation is not None else next(iter(self.limits), "stop_early")
            raise ValueError(f"router: got {name}, too; expected no other limit")
        if self.vote is not None and self.is_of_samples:
            raise ValueError(f"vote: got {self.vote} with {self.strategy}, expected a search in a tree")

    @property
    def is_deepconf(self) -> bool:
        return self.strategy.partition(":")[0] == DEEPCONF_ONLINE

    @property
    def needs_scorer(self) -> bool:
        """Whether the strategy does; those of an allocation are known once it is read. A router's simple path
        does.
        """
        if self.router is not None:
            return True
        return self.allocation is None and self.strategy != MAJORITY and not self.is_deepconf

    @property
    def is_of_samples(self) -> bool:
        return self.strategy in OF_SAMPLES or self.is_deepconf


def base_settings(config: SolveSettings) -> SolveSettings:
    """Those that a command's config inherits, without prices where there is no budget of money."""
    given = {each.name: getattr(config, each.name) for each in fields(SolveSettings)}
    return SolveSettings(**given | ({} if config.budget_money is not None else dict.fromkeys(ALL_PRICES)))


@dataclass(frozen=True)
class SolverConfig(SolveSettings):
    """What answers questions; the configs of `prm-train solve` and `prm-train serve` inherit it."""

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    scorer: ScorerConfig = field(default_factory=ScorerConfig)
    prm: str | None = field(default=None, metadata={"is_model": True, "help": "folder or Hub name of a PRM"})
    prm_format: PrmFormat = field(
        default=AUTO,
        metadata={"help": "how to read a PRM of another project whose config.json does not say it"},
    )
    orm: str | None = field(
        default=None,
        metadata={"is_model": True, "help": "folder or Hub name of an ORM, for weighted and best_of_n"},
    )
    grader: GraderName = field(
        default="math", metadata={"help": "what reads and compares answers, as for `prm-train sample`"}
    )
    large_policy: PolicyConfig | None = None  # a larger policy, the last step of a router that was fitted so

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prm is not None and self.orm is not None:
            raise ValueError("prm, orm: got both, expected one of them")
        self.scorer.check_one(self.prm, self.orm)
        if self.prm is None and self.orm is None and self.needs_scorer:  # of an allocation: once it is read
            what = "router: got one" if self.router is not None else f"strategy: got {self.strategy}"
            raise ValueError(f"{what} without a scorer, expected prm or orm ({MAJORITY} needs none)")
        if self.policy.model is None:
            raise ValueError("policy.model: got null, expected the model that answers")
        if self.large_policy is not None and (self.router is None or self.large_policy.model is None):
            wanted = "policy.model" if self.router else "a router"
            raise ValueError(f"large_policy: got one without {wanted}, expected it")

    def check(self) -> None:
        """Raises InputError for files and models that are not there, without loading anything."""
        check_inputs(self)
        check_inputs(self.scorer, "scorer.")
        self.policy.check()
        if self.large_policy is not None:
            self.large_policy.check()

    def load_large_policy(self) -> Policy | None:
        return None if self.large_policy is None else self.large_policy.load()

    def load_scorer(self) -> Scorer | None:
        path = self.prm or self.orm
        return None if path is None else self.scorer.load(path, self.policy, self.prm_format)

    def flops_of(self, policy: Policy, scorer: Scorer | None) -> dict[str, ForwardFlops]:
        """Of policy and scorer, as far as known; of one behind servers by the folder that it has here. An
        ensemble has none.
        """
        folders = {"policy": model_path(self.policy.name), "scorer": self.prm or self.orm}
        if self.scorer.ensemble:
            del folders["scorer"]
        read = {name: read_forward_flops(Path(folder)) for name, folder in folders.items() if folder}
        return {name: each for name, each in read.items() if each} | known_flops(policy, scorer)
