"""What a sampled run says of itself: sample.json, forecasts, what label.json shares with them, and the part
of config.json others read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from data_gen.files.stored_record import StoredRecord
from data_gen.policies.metered import MeteredPolicy, ProcessFacts
from data_gen.records.sampling import Usage
from data_gen.sampling.forecast import Total
from data_gen.sampling.settings import SampleConfig


class RunFacts(TypedDict):
    """Who drew, and what this process did; `seconds` are its wall seconds."""

    policy_id: str
    is_simulated: bool
    seconds: float
    this_process: ProcessFacts


def run_facts(policy: MeteredPolicy, n_labels: int, config: SampleConfig) -> RunFacts:
    facts = policy.facts(n_labels)
    return {
        "policy_id": policy.policy_id,
        "is_simulated": config.dry_run,
        "seconds": facts.seconds,
        "this_process": facts,
    }


@dataclass(frozen=True, kw_only=True)
class _ByProcess(StoredRecord):
    """The `RunFacts` of the last process of a run."""

    policy_id: str = ""
    is_simulated: bool = False
    seconds: float
    this_process: ProcessFacts | None = None


@dataclass(frozen=True, kw_only=True)
class ForecastSummary(_ByProcess):
    """forecast-sample.json and forecast-label.json: totals for all problems by what is counted, from a pilot
    of them.
    """

    n_problems: int
    n_pilot: int
    totals: Mapping[str, Total]


@dataclass(frozen=True, kw_only=True)
class DrawnSummary(_ByProcess):
    """What sample.json and label.json share: beside the last process the tokens of all draws, whichever
    process made them.
    """

    n_generated: int
    n_prefilled: int
    n_cached: int
    tokens_per_label: float | None = None

    @property
    def usage(self) -> Usage:
        return Usage(self.n_generated, self.n_prefilled, self.n_cached)

    @property
    def cpu_seconds(self) -> float:
        """Of the last process."""
        return self.this_process.cpu_seconds if self.this_process else 0.0


@dataclass(frozen=True, kw_only=True)
class SampleSummary(DrawnSummary):
    """sample.json. `verdicts` and `finish_reasons` count solutions; `problems_without_room` do not fit into
    the policy's context.
    """

    WRITTEN_BY = "`prm-train sample`"

    n_problems: int | None = None
    n_solutions: int
    verdicts: dict[str, int]
    pass_at_1: float
    finish_reasons: dict[str, int] = field(default_factory=dict)
    problems_without_room: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Problems:
    source: str = ""


@dataclass(frozen=True)
class RunSettings(StoredRecord):
    """The part of a sampled run's config.json that is read of runs of any version, and of folders that no
    `sample` made.
    """

    grader: str = ""
    problems: _Problems = field(default_factory=_Problems)
    ledger: str | None = None

    @classmethod
    def of(cls, run: Path) -> "RunSettings | None":
        """None where the folder has no settings."""
        path = run / "config.json"
        return cls.read(path) if path.is_file() else None
