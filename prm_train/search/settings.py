"""The settings of `prm-train search`. Loads without torch."""

from dataclasses import dataclass, field
from pathlib import Path

from data_gen.grading.graders import GraderName
from data_gen.policies.config import PolicyConfig
from data_gen.problems.sources import ProblemSource
from data_gen.records.sampling import SamplingParams, check_temperature
from data_gen.records.steps import check_separator
from data_gen.records.stop_strings import check_stop_strings
from prm_train.encoding.aggregation import Aggregation
from prm_train.scoring.foreign.settings import AUTO, PrmFormat
from prm_train.search.scorer_config import ScorerConfig


@dataclass(frozen=True)
class SearchConfig:
    """Sample, score and search problems with a policy and trained scorers.

    Draws go into a ledger and a finished problem into results.jsonl at once, so an interrupted search goes on where it stopped.
    """

    output: Path = field(metadata={"help": "run folder", "is_execution": True})
    problems: ProblemSource = field(default_factory=ProblemSource)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    scorer: ScorerConfig = field(default_factory=ScorerConfig)
    prm: str | None = field(default=None, metadata={"is_model": True, "help": "folder or Hub name of a PRM"})
    prm_format: PrmFormat = field(default=AUTO, metadata={"help": "of a PRM of others whose config.json does not say it"})
    orm: str | None = field(default=None, metadata={"is_model": True, "help": "folder or Hub name of an ORM"})
    n_samples: int = field(default=64, metadata={"help": "candidates a problem and temperature"})
    temperature: float = field(
        default=1.0, metadata={"help": "temperature of the scored candidates, of beam search and of the difficulty draws"}
    )
    other_temperatures: tuple[float, ...] = field(
        default=(), metadata={"help": "further candidates, not scored, for voting and log-prob baselines"}
    )
    top_p: float = field(default=1.0, metadata={"help": "draw from the fewest tokens with this share of the probability; 1: from all"})
    top_k: int = field(default=0, metadata={"help": "draw from so many of the most likely tokens; 0: from all"})
    min_p: float = field(default=0.0, metadata={"help": "draw no token below this share of the most likely one's probability"})
    stop: tuple[str, ...] = field(default=(), metadata={"help": "texts that end a solution, in which they are left out"})
    n_difficulty_draws: int = field(default=32, metadata={"help": "draws beyond n_samples that only sort problems by difficulty"})
    beams: tuple[int, ...] = field(default=(), metadata={"help": "N of the beam searches to run, for example 4,16,64"})
    beam_width: int = field(default=4, metadata={"help": "next steps drawn from each kept path (M)"})
    beam_max_steps: int = field(default=40, metadata={"help": "a path with more steps is cut there and cannot vote"})
    beam_aggregation: Aggregation | None = field(
        default=None, metadata={"help": "of step scores: ranks paths and weighs their votes; null: the PRM's own"}
    )
    max_new_tokens: int = 256
    step_separator: str = "\n"
    grader: GraderName = "auto"
    ledger: Path | None = field(
        default=None,
        metadata={"help": "of the draws, one that runs may share, one at a time; null: ledger.sqlite in output", "is_execution": True},
    )

    def __post_init__(self) -> None:
        check_separator(self.step_separator)
        check_stop_strings(self.stop)
        self.params(self.temperature)  # refused here, before a model is loaded
        for temperature in self.other_temperatures:
            check_temperature(temperature, "other_temperatures")
        if self.beams and self.prm is None:
            raise ValueError(f"beams: got {list(self.beams)} without a PRM, expected prm to name one")
        object.__setattr__(self, "policy", self.policy.named_for(self.problems.source))

    @property
    def ledger_path(self) -> Path:
        return self.output / "ledger.sqlite" if self.ledger is None else self.ledger

    def params(self, temperature: float, separator: str | None = None) -> SamplingParams:
        """Of whole solutions, or of single steps that end with `separator`."""
        return SamplingParams(self.max_new_tokens, temperature, separator, self.top_p, self.top_k, self.min_p, self.stop)
