"""What the students of `benchmarks.distill` are worth: its figures, and the tables that show them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.distill import AGAIN, AGGREGATION, ARMS, BASE, COLD, FILTER, DistillConfig
from benchmarks.reproduce.jobs import read_jobs
from benchmarks.reproduce.measured import check_answered
from data_gen.process.machine import machine_name
from data_gen.rows.build_record import BuildRecord
from data_gen.settings.errors import InputError
from prm_train.evaluation.choosers import scorer_scores
from prm_train.evaluation.choosing import expected_accuracy
from prm_train.evaluation.costs import Costs
from prm_train.evaluation.results import TokensPerProblem
from prm_train.evaluation.run_costs import training_flops
from prm_train.evaluation.shards import FinishedSearch, read_search
from prm_train.evaluation.tree_methods import TreeMethod, votes_of
from prm_train.evaluation.tree_methods import accuracies as tree_accuracies
from prm_train.metrics.estimators import Interval
from prm_train.metrics.training_report import TrainingReport
from prm_train.metrics.training_seeds import interval_over_seeds
from prm_train.search.model_flops import models_flops

Values = np.ndarray  # one a held-out problem
MEASURES = {
    "greedy": "greedy",
    "sample": "one sample, T = 1",
    "cold": f"one sample, T = {COLD}",
    "vote": "PRM-weighted best-of-N",
    "search": "particle filter of N",
    "pass": "pass@N",
}
COMPARED = (  # what, against what
    *((arm, BASE) for arm in ARMS),
    ("vote", "majority"),
    ("vote", "best"),
    ("star", "vote"),
    ("search", "vote"),
    *((f"{arm}-again", f"{arm}-more") for arm in AGAIN),
    *((f"{arm}-again", arm) for arm in AGAIN),
)

ALONE = ("greedy", "sample", "cold")  # what a student answers by itself
TAUGHT_BY = {
    "star": "pass",
    "vote": "vote",
    "search": "search",
}  # how the base policy found what an arm learns


@dataclass(frozen=True)
class Making:
    """What the rows of an arm are, and what making them and training on them took: FLOPs, and tokens."""

    n_rows: float
    n_questions: float
    share_right: float
    left_out: Mapping[str, int]
    teacher: TokensPerProblem  # a training problem
    training_tokens: float
    flops: float | None


def measured(search: FinishedSearch) -> dict[str, Values]:
    """By measure the expected accuracy on each held-out problem."""
    check_answered(search.results, ",".join(map(str, search.folders)))
    n, results = search.config.n_samples, search.results
    score = scorer_scores("prm", AGGREGATION)

    def of_samples(k: int, selection: Any, temperature: float = 1.0) -> Values:
        drawn = (result.samples[temperature] for result in results)
        return np.array([expected_accuracy(each, k, selection, score).value for each in drawn])

    return {
        "greedy": np.array([float(result.greedy.is_correct) for result in results]),
        "sample": of_samples(1, "pass"),
        "cold": of_samples(1, "pass", COLD),
        "vote": of_samples(n, "vote"),
        "search": tree_accuracies(results, FILTER, n, votes_of(results[0], FILTER, ())[0]),
        "pass": of_samples(n, "pass"),
    }


def costs_of(search: FinishedSearch) -> dict[str, TokensPerProblem]:
    """Of an answer: by one sample, by all samples without and with the PRM, by the particle filter."""
    costs = Costs(search.results, search.config.step_separator, models_flops(search.config))
    n = search.config.n_samples
    found = {
        "sample": costs.of_samples(1, 1.0, None),
        "majority": costs.of_samples(n, 1.0, None),
        "vote": costs.of_samples(n, 1.0, "prm"),
    }
    if FILTER in search.results[0].trees:
        vote = votes_of(search.results[0], FILTER, ())[0]
        found["search"] = costs.of_tree(TreeMethod(FILTER, {n: (FILTER, vote)}, {}))[n]
    return found


def teaching_cost(costs: Mapping[str, TokensPerProblem], arm: str) -> TokensPerProblem:
    choose, method = ARMS[arm]
    if method == FILTER:
        return costs["search"]
    return costs["vote"] if choose in ("best", "vote") else costs["majority"]


class Students:
    """What the run of a config left, by arm: `vote`, `vote-again`, `vote-more`."""

    def __init__(self, config: DistillConfig) -> None:
        self.config = config
        self.arms = tuple(ARMS)
        if config.n_rounds > 1:
            self.arms += tuple(f"{arm}-{which}" for arm in AGAIN for which in ("again", "more"))
        self.costs: dict[str, dict[str, TokensPerProblem]] = {}
        base = read_search([config.folder("tests", BASE)])
        self.problems = [result.problem for result in base.results]
        self.costs[BASE] = costs_of(base)
        self.values: dict[str, list[dict[str, Values]]] = {BASE: [measured(base)] * config.n_seeds}
        for arm in self.arms:
            self.values[arm] = [self._measured(name) for name in self.names(arm)]

    def names(self, arm: str) -> list[str]:
        return [f"{arm}-{seed}" for seed in range(self.config.n_seeds)]

    def _measured(self, name: str) -> dict[str, Values]:
        search = read_search([self.config.folder("tests", name)])
        if [result.problem for result in search.results] != self.problems:
            raise InputError(f"{search.folders[0]}: other problems than those of the base policy")
        return measured(search)

    def teacher(self, name: str) -> dict[str, TokensPerProblem]:
        """What the searches of a teacher cost a problem, by its folder's name."""
        if name not in self.costs:
            self.costs[name] = costs_of(read_search([self.config.folder("teachers", name)]))
        return self.costs[name]

    def making(self, arm: str) -> Making:
        """A round two pays for the first, too."""
        config, names = self.config, self.names(arm)
        summaries = [BuildRecord.read(config.folder("rows", name) / "build.json") for name in names]
        built = [each.distill for each in summaries if each.distill is not None]
        tokens = [report_of(config.folder("students", name)).n_tokens_seen for name in names]
        first = arm.partition("-")[0]
        costs = [teaching_cost(self.teacher(run.run), first) for summary in summaries for run in summary.runs]
        policy = models_flops(read_search([config.folder("tests", BASE)]).config)["policy"]
        paid = fmean(tokens)
        if arm.endswith("-again"):
            paid += fmean(report_of(config.folder("students", n)).n_tokens_seen for n in self.names(first))
        n_taught = config.n_problems * len(costs) / len(names)
        mean = mean_tokens(costs)
        flops = None if mean.flops is None else n_taught * mean.flops + training_flops(paid, policy)
        verdicts = [each.verdicts or {} for each in built]
        left_out: dict[str, int] = {}
        for each in built:
            for reason, n in each.left_out.items():
                left_out[reason] = left_out.get(reason, 0) + n
        return Making(
            fmean(each.n_rows for each in built),
            fmean(each.n_problems or 0 for each in built),
            sum(each.get("correct", 0) for each in verdicts) / max(sum(each.n_rows for each in built), 1),
            {reason: round(n / len(built)) for reason, n in sorted(left_out.items())},
            mean,
            paid,
            flops,
        )


def report_of(student: Path) -> TrainingReport:
    return TrainingReport.read(student / "training" / "report.json")


def mean_tokens(costs: Sequence[TokensPerProblem]) -> TokensPerProblem:
    flops = [cost.flops for cost in costs if cost.flops is not None]
    return TokensPerProblem(
        fmean(cost.n_generated for cost in costs),
        fmean(cost.n_scorer for cost in costs),
        fmean(cost.n_prefilled for cost in costs),
        fmean(flops) if len(flops) == len(costs) else None,
    )


def figures(config: DistillConfig) -> dict[str, Any]:
    students, rng = Students(config), np.random.default_rng(0)
    answers = students.costs[BASE]
    makings = {arm: students.making(arm) for arm in students.arms}
    return {
        "command": "python -m benchmarks.distill",
        "machine": machine_name(),
        "seed": config.made_of.seed,
        "n_seeds": config.n_seeds,
        "n_rounds": config.n_rounds,
        "n_problems_of_a_round": config.n_problems,
        "n_held_out": len(students.problems),
        "n_samples": config.n_samples,
        "n_problems_like_held_out": like_held_out(config),
        "training": {"n_epochs": config.n_epochs, "learning_rate": config.learning_rate},
        "accuracy": {
            arm: {name: shown(over_seeds(each, name, rng)) for name in MEASURES}
            for arm, each in students.values.items()
        },
        "differences": {
            f"{one} - {other}": {
                name: shown(difference(students.values[one], students.values[other], name, rng))
                for name in MEASURES
            }
            for one, other in COMPARED
            if one in students.values
        },
        "student_minus_teacher": {
            arm: {
                name: shown(against_teacher(students.values[arm], students.values[BASE], name, measure, rng))
                for name in ALONE
            }
            for arm, measure in TAUGHT_BY.items()
        },
        "making": {arm: making_figures(each, arm, answers) for arm, each in makings.items()},
        "tokens_of_an_answer": {name: rounded(asdict(each)) for name, each in answers.items()},
        "cpu_seconds": by_kind(config),
    }


def over_seeds(values: Iterable[Mapping[str, Values]], name: str, rng: np.random.Generator) -> Interval:
    return interval_over_seeds([each[name] for each in values], rng, "shared")


def difference(
    one: Sequence[Mapping[str, Values]],
    other: Sequence[Mapping[str, Values]],
    name: str,
    rng: np.random.Generator,
) -> Interval:
    """Seed by seed on the same problems."""
    pairs = [a[name] - b[name] for a, b in zip(one, other, strict=True)]
    return interval_over_seeds(pairs, rng, "shared", bounds=(-1.0, 1.0))


def against_teacher(
    students: Sequence[Mapping[str, Values]],
    base: Sequence[Mapping[str, Values]],
    name: str,
    measure: str,
    rng: np.random.Generator,
) -> Interval:
    """A student by itself less what its teacher finds with all its samples, on the same problems."""
    pairs = [a[name] - b[measure] for a, b in zip(students, base, strict=True)]
    return interval_over_seeds(pairs, rng, "shared", bounds=(-1.0, 1.0))


def making_figures(making: Making, arm: str, answers: Mapping[str, TokensPerProblem]) -> dict[str, Any]:
    """`repaid_after`: questions whose answers by the teacher cost as much as making the student and its
    single samples; None where the teacher needs gold answers.
    """
    first = arm.partition("-")[0]
    found = rounded(asdict(making))
    taught, single = teaching_cost(answers, first).flops, answers["sample"].flops
    is_known = first != "star" and making.flops is not None and taught is not None and single is not None
    found["repaid_after"] = round(making.flops / (taught - single)) if is_known else None  # type: ignore[operator]
    return found


def like_held_out(config: DistillConfig) -> int:
    """Training problems of a round that are like a held-out one, and are left out."""
    record = BuildRecord.read(config.folder("rows", f"{next(iter(ARMS))}-0") / "build.json")
    return 0 if record.contamination is None else record.contamination.n_matching_problems


def by_kind(config: DistillConfig) -> dict[str, int]:
    """CPU seconds of all jobs by what they are: teacher, build, train, test."""
    found: dict[str, float] = {}
    for job in read_jobs(config.output / "stages"):
        kind = job.name.partition("-")[0]
        found[kind] = found.get(kind, 0.0) + job.cpu_seconds
    return {kind: round(seconds) for kind, seconds in found.items()}


def shown(interval: Interval) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(interval).items()}


def rounded(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Four digits are enough of what is a mean."""
    return {
        name: rounded(value)
        if isinstance(value, Mapping)
        else float(f"{value:.4g}")
        if isinstance(value, float)
        else value
        for name, value in fields.items()
    }


def table(found: Mapping[str, Any]) -> str:
    """Accuracies, then differences in percentage points; an interval that does not hold 0 is marked."""
    n = str(found["n_samples"])
    head = [
        words.replace("-N", f"-{n}").replace("@N", f"@{n}").replace("of N", f"of {n}")
        for words in MEASURES.values()
    ]
    lines = ["| per cent | " + " | ".join(head) + " |", "|---|" + "---|" * len(head)]
    for arm, of_measure in found["accuracy"].items():
        lines.append(f"| {arm} | " + " | ".join(cell(each) for each in of_measure.values()) + " |")
    for pair, of_measure in found["differences"].items():
        lines.append(f"| {pair} | " + " | ".join(cell(each, "+") for each in of_measure.values()) + " |")
    return "\n".join(lines)


def cell(interval: Mapping[str, float], sign: str = "") -> str:
    mean, low, high = (100 * interval[name] for name in ("mean", "low", "high"))
    mark = "*" if sign and low * high > 0 else ""
    return f"{mean:{sign}.1f}{mark} ({low:{sign}.1f} to {high:{sign}.1f})"
