"""What a report shows besides accuracies, from the files that the stages left: costs, labels, losses, step
scores against the truth.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from data_gen.files.run_folder import count_lines
from data_gen.files.stored_record import StoredRecord, read_object
from data_gen.labeling.summary import LabelSummary
from data_gen.problems.tasks import step_truth, task_of
from data_gen.process.machine import code_version, machine_name
from data_gen.records.steps import split_steps
from data_gen.sampling.summary import SampleSummary
from data_gen.settings.parse import dump_config
from prm_train.evaluation.results import (
    LabelStatistics,
    LossCurve,
    RunFacts,
    ScoredSolution,
    ScoredStep,
    StageCost,
)
from prm_train.evaluation.run_costs import costs_of_runs, forward_flops, token_cost, training_flops
from prm_train.evaluation.shards import FinishedSearch
from prm_train.evaluation.stages import read_stages
from prm_train.metrics.estimators import ReliabilityBin, reliability_bins
from prm_train.metrics.ranking import auroc, brier
from prm_train.metrics.training_report import TrainingReport
from prm_train.scoring.flops import ForwardFlops
from prm_train.search.results import ProblemResult
from prm_train.search.summary import SearchSummary
from prm_train.strategies.candidates import Candidate


@dataclass(frozen=True)
class StepQuality:
    """PRM step scores against the truth, on steps up to the first wrong one; None and empty where the truth
    is not known.
    """

    auroc: float | None = None
    brier: float | None = None
    bins: tuple[ReliabilityBin, ...] = ()


def step_quality(results: Sequence[ProblemResult], n_candidates: int = 16) -> StepQuality:
    """Over the first candidates of each problem."""
    scores, truths = [], []
    for result in results:
        for candidate in result.scored[:n_candidates]:
            truth = step_truth(result.problem, candidate.text)
            step_scores = candidate.scores.get("prm")
            if truth is None or step_scores is None:
                continue
            for score, is_right in zip(step_scores, truth, strict=True):
                if is_right is not None:
                    scores.append(score)
                    truths.append(is_right)
    if not scores:
        return StepQuality()
    return StepQuality(auroc(scores, truths), brier(scores, truths), reliability_bins(scores, truths))


def example_solutions(results: Sequence[ProblemResult], step_separator: str) -> tuple[ScoredSolution, ...]:
    """Three examples: a right solution, a wrong one whose error the PRM sees, and a wrong one that it takes
    for right.
    """

    def lowest(candidate: Candidate) -> float:
        return min(candidate.scores["prm"])

    pool = [(r.problem, c) for r in results for c in r.scored[:4] if c.scores.get("prm") and c.is_finished]
    wanted = (
        ("A right solution.", [pair for pair in pool if pair[1].is_correct], max),
        (
            "A wrong solution: the score drops where it goes wrong.",
            [pair for pair in pool if not pair[1].is_correct],
            min,
        ),
        (
            "The PRM's worst mistake among these: a wrong solution that it rates highest.",
            [p for p in pool if not p[1].is_correct],
            max,
        ),
    )
    examples = []
    for comment, pairs, pick in wanted:
        if not pairs:
            continue
        problem, candidate = pick(pairs, key=lambda pair: lowest(pair[1]))
        steps = split_steps(candidate.text, step_separator)
        truth = step_truth(problem, candidate.text) or [None] * len(steps)
        scored = tuple(ScoredStep(*row) for row in zip(steps, candidate.scores["prm"], truth, strict=True))
        examples.append(
            ScoredSolution(
                problem.question, scored, "correct" if candidate.is_correct else "incorrect", comment
            )
        )
    return tuple(examples)


def loss_curves(prm: Path | None, orm: Path | None) -> tuple[LossCurve, ...]:
    curves = []
    for name, folder in (("PRM", prm), ("ORM", orm)):
        if folder is None:
            continue
        report = TrainingReport.read(folder / "training" / "report.json")
        training = [(point.step, point.loss) for point in report.loss_curve]
        validation = [(int(entry["step"]), entry["loss"]) for entry in report.validation]
        for split, points in (("train", training), ("validation", validation)):
            if points:
                updates, losses = zip(*points, strict=True)
                curves.append(LossCurve(name, split, updates, losses))
    return tuple(curves)


def label_statistics(folders: Sequence[Path]) -> LabelStatistics | None:
    """Sums over the shards of a labeled run."""
    if not folders:
        return None
    samples = [SampleSummary.read(folder / "sample.json") for folder in folders]
    labels = [LabelSummary.read(folder / "label.json") for folder in folders]
    names = {"True": "right", "False": "wrong (first error)", "None": "after the first error"}
    n_labeled = sum(each.n_labeled_solutions for each in labels)
    return LabelStatistics(
        n_solutions=sum(each.n_solutions for each in samples),
        verdicts=_total(each.verdicts for each in samples),
        step_labels={names[name]: count for name, count in _total(each.labels for each in labels).items()},
        dropped=_total(each.unlabeled for each in labels),
        n_rollouts=sum(each.n_rollouts for each in labels),
        tokens_per_labeled_solution=sum(each.n_generated for each in labels) / max(n_labeled, 1),
    )


def run_facts(
    stages: Path | None,
    searches: Mapping[str, FinishedSearch],
    labeled: Sequence[Path],
    checkpoints: Mapping[str, Path | None],
    flops: Mapping[str, ForwardFlops],
    command: str,
    output: Path,
) -> RunFacts:
    """What ran and what it cost: by the quickstart's stage files, or by the folders of the runs. `searches`
    by split, `flops` those of `models_flops`; `command` makes the report in the folder `output`.
    """
    test = searches["test"].config
    sizes = tuple(flops.get(name) or ForwardFlops() for name in ("policy", "prm"))
    folders = {split: search.folders for split, search in searches.items()}
    if stages is not None:
        costs = tuple(stage_costs(stages, folders, labeled, checkpoints, *sizes))
        settings = stages.parent / "config.json"
        command, config = (
            f"prm-train quickstart --seed {QuickstartSeed.read(settings).seed}",
            read_object(settings),
        )
    else:
        costs, config = costs_of_runs(labeled, checkpoints, folders, *sizes), dump_config(test)
    n_problems = {split: len(search.results) for split, search in searches.items()}
    if labeled:
        n_problems = {
            "training": sum(count_lines(folder / "problems.jsonl") for folder in labeled),
            **n_problems,
        }
    source = test.problems.source
    task = task_of(source)
    return RunFacts(
        task=f"{task.title} (built in)" if task else source,
        seed=test.policy.base_seed,
        n_problems=n_problems,
        command=command,
        config_text=json.dumps(config, indent=1),
        machine=machine_name(),
        stages=costs,
        models=searches["test"].models,
        code=code_version(),
        date=datetime.now(UTC).date().isoformat(),
        searches={
            split: tuple(os.path.relpath(folder, output) for folder in some)
            for split, some in folders.items()
        },
    )


@dataclass(frozen=True)
class QuickstartSeed(StoredRecord):
    """What is read of a quickstart's config.json, whose class is the command's own."""

    WRITTEN_BY = "`prm-train quickstart`"

    seed: int


def stage_costs(
    stages: Path,
    searches: Mapping[str, Sequence[Path]],
    labeled: Sequence[Path],
    checkpoints: Mapping[str, Path | None],
    policy: ForwardFlops,
    scorer: ForwardFlops,
) -> Iterator[StageCost]:
    """One entry a stage, in the order in which they ended; FLOPs as in `run_costs`."""
    for stage in read_stages(stages):
        spent: list[SampleSummary | LabelSummary | SearchSummary] = []
        if stage.command == "sample":
            spent += [SampleSummary.read(folder / "sample.json") for folder in labeled]
        elif stage.command == "label":
            spent += [LabelSummary.read(folder / "label.json") for folder in labeled]
        elif stage.command == "search" and stage.split is not None:
            spent += [SearchSummary.read(folder / "search.json") for folder in searches[stage.split]]
        flops = forward_flops(spent, policy, scorer)
        if stage.command == "train":
            reports = [
                TrainingReport.read(folder / "training" / "report.json")
                for folder in checkpoints.values()
                if folder is not None
            ]
            flops = training_flops(sum(report.n_tokens_seen for report in reports), scorer)
        yield token_cost(stage.words, stage.wall_seconds, stage.cpu_seconds, spent, flops)


def _total(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return total
