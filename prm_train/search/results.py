"""What a search found out about a problem and what that cost: the lines of results.jsonl."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from data_gen.records.sampling import Usage
from data_gen.records.solutions import Problem
from data_gen.settings.errors import InputError
from prm_train.scoring.protocol import ScorerUsage
from prm_train.search.candidates import Candidate


@dataclass(frozen=True)
class Cost:
    """What one method costs on one problem that runs nothing else (`method_policy`): tokens of the policy and of the scorer."""

    policy: Usage = Usage()
    scorer: ScorerUsage = ScorerUsage()


@dataclass(frozen=True)
class ProblemResult:
    """All candidates of one problem. `samples` by temperature (the scored ones under `temperature`), `beams` by N.

    `costs` by method, each as if it ran alone. `usage` is that of all draws together, each once, as the policy booked it when it made
    them (for this search or, in a ledger that is shared, for another one); None in the results of versions that did not count it.

    `too_long_for` names who cannot read the question, since it fills their context: the policy, whose candidates are all empty and
    truncated, or scorers, whose scores are missing.
    """

    problem: Problem
    temperature: float
    greedy: Candidate
    samples: dict[float, tuple[Candidate, ...]]
    beams: dict[int, tuple[Candidate, ...]]
    n_difficulty_correct: int
    n_difficulty_draws: int
    costs: dict[str, Cost]
    too_long_for: tuple[str, ...] = ()
    usage: Usage | None = None


def read_results(path: Path) -> list[ProblemResult]:
    """The finished problems of a search; a last line that a killed process cut short is left out."""
    adapter, results = TypeAdapter(ProblemResult), []
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for number, line in enumerate(lines, 1):
        if number == len(lines) and not line.endswith(b"\n"):
            break
        try:
            results.append(adapter.validate_json(line))
        except ValidationError as error:
            raise InputError(f"{path}:{number}: not a search result: {error.errors()[0]['msg']}") from error
    return results


def read_begun_results(path: Path, problems: Sequence[Problem]) -> list[ProblemResult]:
    """The finished problems of a search that goes on.

    Raises InputError where one of them is not among `problems` any more, since the source has changed, or is of an older version.
    """
    done = read_results(path)
    wanted = {problem.problem_id: problem for problem in problems}
    for number, result in enumerate(done, 1):
        if wanted.get(result.problem.problem_id) != result.problem:
            raise InputError(
                f"{path}:{number}: the problems have changed since this search began: {result.problem.question[:60]!r} with answer "
                f"{result.problem.gold_answer[:40]!r} is not among them; put back the old source, or choose another output folder"
            )
        if result.usage is None:
            raise InputError(
                f"{path}:{number}: an earlier version began this search, with another beam search and other costs; choose another folder"
            )
    return done
