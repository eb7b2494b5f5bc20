"""`prm-train consensus`: keep the labeled solutions of a run whose first error a judge confirms.

    prm-train consensus --run runs/math --output runs/agreed --judge.base_url http://localhost:8000/v1
    --judge.model Qwen2.5-72B-Instruct prm-train consensus --run runs/math --output runs/agreed --judgements
    judged.jsonl

The output is a run folder that `build` reads: problems and solutions as they were, labels.jsonl with those
that are kept; consensus.json has the agreement matrix and what was left out by reason. Judgements of a model
are stored there as they come, in judgements.jsonl; the same command again, after whatever ended it, asks only
for those that are missing. `judgements` may also be a ProcessBench file (.json), for a run on its solutions.
"""

import asyncio
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from data_gen.files.progress_bar import Progress
from data_gen.files.run_folder import read_records, write_records
from data_gen.judging.agreement import Agreement
from data_gen.judging.judge import ChatJudge, JudgeSettings
from data_gen.judging.stored_judgements import (
    Judgement,
    JudgementLog,
    Key,
    open_judgements,
    read_judgements,
    read_processbench_errors,
    solution_hash,
)
from data_gen.labeling.views import cleared
from data_gen.records.first_error import first_error
from data_gen.records.solutions import LabeledSolution, Problem
from data_gen.settings.errors import InputError
from data_gen.settings.parse import dump_config, parse_config, run_command

logger = logging.getLogger(__name__)
NOT_JUDGED = Judgement("", 0, None, "not_judged")
FindJudgement = Callable[[Problem, LabeledSolution], Judgement]


@dataclass(frozen=True)
class ConsensusConfig:
    """Which solutions, which judge."""

    run: Path = field(metadata={"help": "run folder of `prm-train label`"})
    output: Path = field(metadata={"help": "run folder for the solutions that are kept"})
    judge: JudgeSettings | None = field(
        default=None, metadata={"help": "a language model that is asked for the first error of each solution"}
    )
    judgements: Path | None = field(
        default=None,
        metadata={
            "help": "file of judgements that were made elsewhere: JSON lines, or a ProcessBench file (.json)"
        },
    )

    def __post_init__(self) -> None:
        if (self.judge is None) == (self.judgements is None):
            raise ValueError("judge, judgements: got both or neither, expected one of them")
        if self.run.resolve() == self.output.resolve():
            raise ValueError(f"output: {self.output} is the run itself; expected another folder")


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(ConsensusConfig, argv)
    problems = {
        problem.problem_id: problem for problem in read_records(config.run / "problems.jsonl", Problem)
    }
    if config.judge is not None:
        agreement = _agree_with_model(config, config.judge, problems)
    else:
        assert config.judgements is not None
        agreement = _write_kept(config, problems, _stored_judgements(config.judgements))
    summary = agreement.summary(dump_config(config))
    summary.write(config.output / "consensus.json")
    shown = {
        name: value
        for name, value in asdict(summary).items()
        if name in ("n_solutions", "n_kept", "left_out", "matrix", "f1")
    }
    logger.info("%s: %s", config.output, json.dumps(shown))


def _agree_with_model(
    config: ConsensusConfig, settings: JudgeSettings, problems: dict[str, Problem]
) -> Agreement:
    with open_judgements(config.output / "judgements.jsonl") as log:
        judge, refused = asyncio.run(ask_for_missing(config.run, problems, settings, log))

        def find(problem: Problem, labeled: LabeledSolution) -> Judgement:
            key = _key(labeled)
            found = log.find(key, judge.asked(problem.question, labeled.steps))
            return found or Judgement(*key, None, refused[key])

        return _write_kept(config, problems, find)


async def ask_for_missing(
    run: Path, problems: dict[str, Problem], settings: JudgeSettings, log: JudgementLog
) -> tuple[ChatJudge, dict[Key, str]]:
    """Judge the run's labeled solutions that the log does not hold. Returns the judge and, by solution, why
    it refused to answer.

    The first failure ends all and is raised as it is; what was answered is in the log.
    """
    refused: dict[Key, str] = {}
    async with ChatJudge(settings) as judge:
        labeled = _labeled_solutions(run, problems)
        with Progress("judge", None, unit="solutions") as progress:

            async def worker() -> None:
                for each in labeled:  # one iterator for all workers: a slow answer holds up nobody else
                    key, question = _key(each), problems[each.graded.solution.problem_id].question
                    asked = judge.asked(question, each.steps)
                    if log.find(key, asked) is None:
                        answer = await judge.judge(question, each.steps)
                        if answer.is_final:
                            log.append(Judgement(*key, answer.first_error, answer.reason, asked, answer.text))
                        else:
                            refused[key] = answer.reason
                    progress.update()

            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(settings.at_once):
                        group.create_task(worker())
            except BaseExceptionGroup as failures:
                raise failures.exceptions[0] from None
    return judge, refused


def _stored_judgements(path: Path) -> FindJudgement:
    if path.suffix == ".json":
        errors = read_processbench_errors(path)

        def find_by_text(problem: Problem, labeled: LabeledSolution) -> Judgement:
            error = errors.get(solution_hash(problem.question, labeled.steps))
            return NOT_JUDGED if error is None else Judgement(*_key(labeled), error)

        return find_by_text
    stored = {each.key: each for each in read_judgements(path)}
    return lambda problem, labeled: stored.get(_key(labeled), NOT_JUDGED)


def _write_kept(config: ConsensusConfig, problems: dict[str, Problem], find: FindJudgement) -> Agreement:
    """Write labels.jsonl with the solutions that are kept, and beside it whatever else a run folder holds
    that `build` reads.
    """
    agreement = Agreement()

    def kept() -> Iterator[LabeledSolution]:
        for labeled in _labeled_solutions(config.run, problems):
            judgement = find(problems[labeled.graded.solution.problem_id], labeled)
            if judgement.first_error is not None and judgement.first_error >= len(labeled.steps):
                raise InputError(
                    f"solution {_key(labeled)}: judged wrong at step {judgement.first_error}, but it has "
                    f"{len(labeled.steps)} steps"
                )
            reason, verdict = judgement.reason or "no_reason", labeled.graded.verdict.kind.value
            labels = cleared(labeled.labels, labeled.estimates)
            if agreement.add(first_error(labels), judgement.first_error, reason, verdict):
                yield replace(labeled, labels=labels)

    write_records(config.output / "labels.jsonl", LabeledSolution, kept())
    for name in ("problems.jsonl", "solutions.jsonl", "config.json", "sample.json", "label.json"):
        if (config.run / name).exists():
            shutil.copyfile(config.run / name, config.output / name)
    return agreement


def _labeled_solutions(run: Path, problems: dict[str, Problem]) -> Iterator[LabeledSolution]:
    """Raises InputError for a solution of no problem of the run, and for one that comes twice."""
    seen: set[Key] = set()
    for labeled in read_records(run / "labels.jsonl", LabeledSolution):
        key = _key(labeled)
        if key[0] not in problems:
            raise InputError(
                f"{run / 'labels.jsonl'}: problem {key[0]}: not one of the {len(problems)} problems of the "
                "run"
            )
        if key in seen:
            raise InputError(
                f"{run / 'labels.jsonl'}: solution {key[1]} of problem {key[0]} comes twice; expected each "
                "once"
            )
        seen.add(key)
        yield labeled


def _key(labeled: LabeledSolution) -> Key:
    return labeled.graded.solution.problem_id, labeled.graded.solution.index


if __name__ == "__main__":
    run_command(main, "consensus")
