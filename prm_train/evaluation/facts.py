"""What a report shows besides accuracies, from the files that the stages left: costs, labels, losses, step scores against the truth."""

import json
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_gen.files.run_folder import count_lines
from data_gen.problems.tasks import DEFAULT_TASK, model_path, step_truth, task_of
from data_gen.process.machine import machine_name
from data_gen.records.steps import split_steps
from prm_train.evaluation.results import LabelStatistics, LossCurve, RunFacts, ScoredSolution, ScoredStep, StageCost
from prm_train.evaluation.run_costs import costs_of_runs, read_summary
from prm_train.metrics.estimators import ReliabilityBin, reliability_bins
from prm_train.metrics.ranking import auroc, brier
from prm_train.search.candidates import Candidate
from prm_train.search.results import ProblemResult


def n_parameters(folder: Path) -> int:
    """Parameters of a checkpoint, from the headers of its safetensors files (no weight is read)."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        for name, tensor in header.items():
            if name != "__metadata__":
                size = 1
                for dimension in tensor["shape"]:
                    size *= dimension
                total += size
    return total


@dataclass(frozen=True)
class StepQuality:
    """PRM step scores against the truth, on steps up to the first wrong one; None and empty where the truth is not known."""

    auroc: float | None = None
    brier: float | None = None
    bins: tuple[ReliabilityBin, ...] = ()


def step_quality(results: Sequence[ProblemResult], n_candidates: int = 16) -> StepQuality:
    """Over the first candidates of each problem."""
    scores, truths = [], []
    for result in results:
        for candidate in result.samples[result.temperature][:n_candidates]:
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
    """Three examples: a right solution, a wrong one whose error the PRM sees, and a wrong one that it takes for right."""

    def lowest(candidate: Candidate) -> float:
        return min(candidate.scores["prm"])

    pool = [(r.problem, c) for r in results for c in r.samples[r.temperature][:4] if c.scores.get("prm") and c.is_finished]
    wanted = (
        ("A right solution.", [pair for pair in pool if pair[1].is_correct], max),
        ("A wrong solution: the score drops where it goes wrong.", [pair for pair in pool if not pair[1].is_correct], min),
        ("The PRM's worst mistake among these: a wrong solution that it rates highest.", [p for p in pool if not p[1].is_correct], max),
    )
    examples = []
    for comment, pairs, pick in wanted:
        if not pairs:
            continue
        problem, candidate = pick(pairs, key=lambda pair: lowest(pair[1]))
        steps = split_steps(candidate.text, step_separator)
        truth = step_truth(problem, candidate.text) or [None] * len(steps)
        scored = tuple(ScoredStep(*row) for row in zip(steps, candidate.scores["prm"], truth, strict=True))
        examples.append(ScoredSolution(problem.question, scored, "correct" if candidate.is_correct else "incorrect", comment))
    return tuple(examples)


def loss_curves(prm: Path | None, orm: Path | None) -> tuple[LossCurve, ...]:
    curves = []
    for name, folder in (("PRM", prm), ("ORM", orm)):
        if folder is None:
            continue
        report = read_summary(folder / "training" / "report.json", "loss_curve", "validation")
        for split, entries in (("train", report["loss_curve"]), ("validation", report["validation"])):
            if entries:
                updates, losses = zip(*((entry["step"], entry["loss"]) for entry in entries), strict=True)
                curves.append(LossCurve(name, split, updates, losses))
    return tuple(curves)


def label_statistics(folders: Sequence[Path]) -> LabelStatistics | None:
    """Sums over the shards of a labeled run."""
    if not folders:
        return None
    samples = [read_summary(folder / "sample.json", "n_solutions", "verdicts") for folder in folders]
    wanted = ("n_labeled_solutions", "labels", "unlabeled", "n_rollouts", "n_generated")
    labels = [read_summary(folder / "label.json", *wanted) for folder in folders]
    names = {"True": "right", "False": "wrong (first error)", "None": "after the first error"}
    n_labeled = sum(each["n_labeled_solutions"] for each in labels)
    return LabelStatistics(
        n_solutions=sum(each["n_solutions"] for each in samples),
        verdicts=_total(each["verdicts"] for each in samples),
        step_labels={names[name]: count for name, count in _total(each["labels"] for each in labels).items()},
        dropped=_total(each["unlabeled"] for each in labels),
        n_rollouts=sum(each["n_rollouts"] for each in labels),
        tokens_per_labeled_solution=sum(each["n_generated"] for each in labels) / max(n_labeled, 1),
    )


def run_facts(
    stages: Path | None,
    searches: Mapping[str, Sequence[Path]],
    n_problems: Mapping[str, int],
    labeled: Sequence[Path],
    checkpoints: Mapping[str, Path | None],
) -> RunFacts:
    """What ran and what it cost: by the quickstart's stage files, or by the folders of the runs. `searches` by split."""
    test = searches["test"]
    search = read_summary(test[0] / "config.json", "policy", "prm", "problems")
    if stages is not None:
        costs = tuple(stage_costs(stages, test, labeled, search))
        quickstart = read_summary(stages.parent / "config.json", "seed")
        command, config = f"prm-train quickstart --seed {quickstart['seed']}", quickstart
    else:
        sizes = n_parameters(policy_folder(search)), n_parameters(Path(search["prm"])) if search["prm"] else 0
        costs = costs_of_runs(labeled, checkpoints, searches, *sizes)
        command, config = "prm-train search, then prm-train evaluate", search
    if labeled:
        n_problems = {"training": sum(count_lines(folder / "problems.jsonl") for folder in labeled), **n_problems}
    source = search["problems"]["source"]
    task = task_of(source)
    return RunFacts(
        task=f"{task.title} (built in)" if task else source,
        seed=search["policy"]["base_seed"],
        n_problems=n_problems,
        command=command,
        config_text=json.dumps(config, indent=1),
        machine=machine_name(),
        stages=costs,
    )


def policy_folder(search: Mapping[str, Any]) -> Path:
    """Of a search's config; for a Hub name a path that is not there."""
    return Path(model_path(search["policy"]["model"] or DEFAULT_TASK.policy))


def stage_costs(stages: Path, searches: Sequence[Path], labeled: Sequence[Path], search: Mapping[str, Any]) -> Iterator[StageCost]:
    """One entry a stage, in the order in which they ended. FLOPs are 2 a parameter and token, 6 in training (Kaplan et al. 2020)."""
    n_policy = n_parameters(policy_folder(search))
    n_scorer = n_parameters(Path(search["prm"])) if search["prm"] else 0
    tokens = {
        "sample": _total(read_summary(folder / "sample.json") for folder in labeled),
        "label": _total(read_summary(folder / "label.json") for folder in labeled),
    }
    for path in sorted(stages.glob("*.json"), key=lambda path: path.stat().st_mtime):
        facts = read_summary(path, "stage", "wall_seconds", "cpu_seconds")
        name = facts["stage"]
        spent = tokens.get(name, Counter())
        if name.startswith("search "):
            folders = searches[0].parent.glob(f"{name.removeprefix('search ')}-*")
            spent = _total(read_summary(folder / "search.json") for folder in folders)
        if name == "train":
            reports = [read_summary(report, "n_training_tokens", "config") for report in stages.parent.glob("*/training/report.json")]
            n_trained = sum(report["n_training_tokens"] * report["config"]["n_epochs"] for report in reports)
            yield StageCost(name, facts["wall_seconds"], facts["cpu_seconds"], flops=6 * n_scorer * n_trained)
            continue
        forward = 2 * n_policy * (spent["n_generated"] + spent["n_prefilled"]) + 2 * n_scorer * spent["n_scorer_new"]
        yield StageCost(
            name,
            facts["wall_seconds"],
            facts["cpu_seconds"],
            spent["n_generated"],
            spent["n_prefilled"],
            spent["n_cached"],
            spent["n_scorer_new"],
            spent["n_scorer_reused"],
            float(forward),
        )


def _total(counts: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Sum of the whole numbers of several summaries; other entries are left out."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update({name: value for name, value in each.items() if isinstance(value, int)})
    return total
