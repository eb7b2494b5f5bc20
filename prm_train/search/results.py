"""What a search found out about a problem and what that cost: the lines of results.jsonl."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from data_gen.records.sampling import Usage
from data_gen.records.solutions import Problem
from data_gen.settings.errors import InputError
from prm_train.scoring.protocol import ScorerUsage
from prm_train.strategies.candidates import Candidate

GREEDY, SAMPLES = "greedy", "samples"  # strategies besides those in a tree
Setting = int | float | str | bool | None


@dataclass(frozen=True)
class Cost:
    """What one method costs on one problem that runs nothing else (`method_policy`): tokens of the policy and
    of the scorer. `n_pairs` are those of the policy's tokens (`prm_train.scoring.work`).
    """

    policy: Usage = Usage()
    scorer: ScorerUsage = ScorerUsage()
    n_pairs: int = field(default=0, compare=False)  # says nothing that the tokens and their places do not


@dataclass(frozen=True)
class StrategyRun:
    """The candidates that a strategy gave, and what it cost as if it ran alone.

    It is known by (`spec`, `n`): a spec is the strategy's name with the settings that were given for it
    (`particle_filter:exponent=0.5`). `settings` are all of them but the temperature, which is in force at
    every draw.
    """

    spec: str
    n: int
    temperature: float
    candidates: tuple[Candidate, ...]
    cost: Cost = Cost()
    settings: Mapping[str, Setting] = field(default_factory=dict)

    @property
    def strategy(self) -> str:
        """Its name without settings."""
        return self.spec.partition(":")[0]

    @property
    def scorer(self) -> str:
        """Whose scores its candidates have: of a search in a tree the PRM's."""
        return str(self.settings.get("verifier", "prm"))

    @property
    def writer(self) -> str:
        """The model that wrote them: `policy`, or of revisions the `revision_model`, if there is one; both
        where some are revised.
        """
        return str(self.settings.get("written_by", "policy"))


@dataclass(frozen=True)
class Scoring:
    """What scoring the `n` samples of a temperature cost."""

    scorer: str
    temperature: float
    n: int
    usage: ScorerUsage


@dataclass(frozen=True)
class Difficulty:
    """How many of `n` draws beyond all candidates are right, and what they cost."""

    n: int
    n_correct: int
    cost: Cost = Cost()


@dataclass(frozen=True)
class AllocatedAnswer:
    """What an allocation (`prm_train.search.allocation`) answered, and by which strategy; `bin` is that of
    the estimated pass@1, and `cost` holds the estimate's.
    """

    strategy: str
    n: int
    pass_at_1: float
    bin: int
    answer: str | None
    is_correct: bool
    is_unknown: bool
    cost: Cost

    @property
    def n_tokens(self) -> int:
        """Of policy and scorer."""
        return self.cost.policy.n_generated + self.cost.policy.n_prefilled + self.cost.scorer.n_new


@dataclass(frozen=True)
class ProblemResult:
    """What every strategy gave on one problem. The samples of `temperature` are those that scorers scored.

    `usage` is that of all draws together, each once, as the policy booked it when it made them (for this
    search or, in a ledger that is shared, for another one), and of reading samples for baselines.
    `scorer_usage` is what the scorers computed: a step that several methods want is computed once, and
    charged to each of them.

    `too_long_for` names who cannot read the question, since it fills their context: the policy, whose
    candidates are all empty and truncated, or scorers, whose scores are missing.

    `failure` says why a problem that failed by a fault of its own (`ProblemFaultError`) has no runs.
    """

    problem: Problem
    temperature: float
    runs: tuple[StrategyRun, ...]
    scorings: tuple[Scoring, ...]
    difficulty: Difficulty
    usage: Usage
    scorer_usage: ScorerUsage = ScorerUsage()
    too_long_for: tuple[str, ...] = ()
    failure: str = ""
    allocated: AllocatedAnswer | None = None  # where the search was given an allocation

    @cached_property
    def greedy(self) -> Candidate:
        ((candidate,),) = (run.candidates for run in self.runs if run.strategy == GREEDY)
        return candidate

    @cached_property
    def samples(self) -> dict[float, tuple[Candidate, ...]]:
        """By temperature."""
        return {run.temperature: run.candidates for run in self.runs if run.strategy == SAMPLES}

    @cached_property
    def trees(self) -> dict[str, dict[int, StrategyRun]]:
        """The runs of searches in a tree and of revisions, by spec and N."""
        by_spec: dict[str, dict[int, StrategyRun]] = {}
        for run in self.runs:
            if run.strategy not in (GREEDY, SAMPLES):
                by_spec.setdefault(run.spec, {})[run.n] = run
        return by_spec

    @property
    def scored(self) -> tuple[Candidate, ...]:
        """The samples that scorers scored."""
        return self.samples[self.temperature]

    def cost_of_samples(self, temperature: float) -> Cost:
        (cost,) = (
            run.cost for run in self.runs if run.strategy == SAMPLES and run.temperature == temperature
        )
        return cost

    def cost_of_scores(self, scorer: str) -> ScorerUsage:
        (usage,) = (scoring.usage for scoring in self.scorings if scoring.scorer == scorer)
        return usage

    def with_scored(self, candidates: Iterable[Candidate]) -> "ProblemResult":
        """The same with other candidates in the place of the scored samples, with scores of another scorer
        for instance.
        """
        scored = tuple(candidates)

        def put(run: StrategyRun) -> StrategyRun:
            is_scored = run.strategy == SAMPLES and run.temperature == self.temperature
            return replace(run, candidates=scored) if is_scored else run

        return replace(self, runs=tuple(map(put, self.runs)))


def read_results(path: Path) -> list[ProblemResult]:
    """The finished problems of a search; a last line that a killed process cut short is left out.

    Raises InputError for a line that is no result, and for those of earlier versions.
    """
    adapter, results = TypeAdapter(ProblemResult), []
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for number, line in enumerate(lines, 1):
        if number == len(lines) and not line.endswith(b"\n"):
            break
        try:
            results.append(adapter.validate_json(line))
        except ValidationError as error:
            faults = error.errors()
            if any(fault["type"] == "missing" and fault["loc"] == ("runs",) for fault in faults):
                raise InputError(
                    f"{path}:{number}: an earlier version began this search, whose results had another form; "
                    "search again into another "
                    "folder (with ledger naming that of this one, nothing is drawn again)"
                ) from None
            raise InputError(f"{path}:{number}: not a search result: {faults[0]['msg']}") from error
    return results


def read_begun_results(path: Path, problems: Sequence[Problem]) -> list[ProblemResult]:
    """The finished problems of a search that goes on.

    Raises InputError where one of them is not among `problems` any more, since the source has changed, or an
    earlier version wrote it.
    """
    done = read_results(path)
    wanted = {problem.problem_id: problem for problem in problems}
    for number, result in enumerate(done, 1):
        if wanted.get(result.problem.problem_id) != result.problem:
            raise InputError(
                f"{path}:{number}: the problems have changed since this search began: "
                f"{result.problem.question[:60]!r} with answer "
                f"{result.problem.gold_answer[:40]!r} is not among them; put back the old source, or choose "
                "another output folder"
            )
    return done
