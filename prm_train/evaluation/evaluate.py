"""`prm-train evaluate`: accuracies, differences and verifier quality from the results of `prm-train search`, as JSON, HTML and a table.

Whatever has to be chosen (temperatures of the baselines, the form of log-prob selection, the aggregation of step scores) is chosen on
validation problems. Accuracies at N come from the disjoint blocks of N among the candidates of a test problem, difficulty from draws beyond
them.
"""

import json
import logging
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from data_gen.config import InputError, parse_config, run_command
from prm_train.aggregation import Aggregation
from prm_train.evaluation.estimators import (
    N_QUINTILES,
    Interval,
    block_accuracy,
    bootstrap_interval,
    difficulty_quintiles,
    paired_difference,
)
from prm_train.evaluation.facts import example_solutions, label_statistics, loss_curves, run_facts, step_quality
from prm_train.evaluation.report import summary_table, write_report
from prm_train.evaluation.results import PairedDifference, SearchReport, SingleSample, TokensPerProblem, VerifierQuality
from prm_train.metrics import auroc
from prm_train.search.candidates import Candidate
from prm_train.search.run import ProblemResult, read_results
from prm_train.search.voting import best_of, is_right, logprob_scores, majority_vote, path_scores, weighted_vote

logger = logging.getLogger(__name__)
T = TypeVar("T")

Scores = Callable[[Sequence[Candidate]], list[float | None]]
Chooser = Callable[[Sequence[Candidate]], Candidate | None]
LogprobKind = Literal["sum", "mean"]
LogprobForm = Literal["sum, best", "mean, best", "sum, weighted", "mean, weighted"]


@dataclass(frozen=True)
class EvaluateConfig:
    """Make a report of one or more shards of a search on test problems, with settings chosen on validation problems."""

    validation: tuple[Path, ...] = field(metadata={"help": "folders of `prm-train search` on validation problems"})
    test: tuple[Path, ...] = field(metadata={"help": "folders of `prm-train search` on test problems"})
    output: Path = field(metadata={"help": "folder for report.html and report.json"})
    labeled: tuple[Path, ...] = field(default=(), metadata={"help": "folders of `prm-train label`, for the label section"})
    prm: Path | None = field(default=None, metadata={"help": "the trained PRM, for its loss curve"})
    orm: Path | None = field(default=None, metadata={"help": "the trained ORM, for its loss curve"})
    stages: Path | None = field(default=None, metadata={"help": "folder of the quickstart's stage files, for the cost section"})
    seed: int = field(default=0, metadata={"help": "of the bootstrap"})


@dataclass(frozen=True)
class Chosen:
    """What validation problems decide."""

    pass_at_1_temperature: float
    majority: dict[int, float]  # N → temperature
    logprob: dict[int, tuple[float, LogprobForm]]  # N → temperature and form
    logprob_auroc: LogprobKind
    prm_aggregation: Aggregation

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Every temperature that a method of the test needs."""
        return tuple(sorted({self.pass_at_1_temperature, *self.majority.values(), *(t for t, _ in self.logprob.values())}))


def best_by(score: Scores, candidates: Sequence[Candidate]) -> Candidate | None:
    """Vanilla best-of-N under a score."""
    return best_of(candidates, score(candidates))


def vote_by(score: Scores, candidates: Sequence[Candidate]) -> Candidate | None:
    """Weighted best-of-N under a score."""
    return weighted_vote(candidates, score(candidates))


def probabilities(form: LogprobKind, candidates: Sequence[Candidate]) -> list[float | None]:
    """`logprob_scores` exponentiated, as the weights of a vote; relative to the highest, so that those of long texts do not vanish."""
    scores = logprob_scores(candidates, form)
    highest = max((score for score in scores if score is not None), default=0.0)
    return [None if score is None else math.exp(score - highest) for score in scores]


def by_logprob(form: LogprobForm) -> Chooser:
    kind: LogprobKind = "sum" if form.startswith("sum") else "mean"
    if form.endswith("weighted"):
        return partial(vote_by, partial(probabilities, kind))
    return partial(best_by, partial(logprob_scores, form=kind))


def scorer_scores(name: str, how: Aggregation) -> Scores:
    return partial(path_scores, scorer=name, how=how)


def anyone_right(candidates: Sequence[Candidate]) -> Candidate | None:
    """The choice of somebody who knows the answer: pass@N, and of one candidate pass@1."""
    return next((candidate for candidate in candidates if candidate.is_correct), None)


def accuracies(results: Sequence[ProblemResult], temperature: float, choose: Chooser, n: int) -> NDArray[np.float64]:
    """One accuracy a problem: the mean over blocks of `n` candidates of whether the chosen one is right (none chosen: wrong)."""

    return np.array([block_accuracy(result.samples[temperature], n, lambda block: is_right(choose(block))) for result in results])


def within_problem_aurocs(results: Sequence[ProblemResult], temperature: float, scores: Scores) -> NDArray[np.float64]:
    """AUROC inside each problem that has both right and wrong candidates; without a score a candidate ranks last, without a verdict it is
    left out."""
    areas = []
    for result in results:
        candidates = [candidate for candidate in result.samples[temperature] if not candidate.is_unknown]
        ranks = [-math.inf if score is None else score for score in scores(candidates)]
        area = auroc(ranks, [candidate.is_correct for candidate in candidates])
        if area is not None:
            areas.append(area)
    return np.array(areas)


def read_shards(folders: Sequence[Path]) -> list[ProblemResult]:
    """The results of all shards, by problem id. Raises InputError if there are none, or a shard is unfinished."""
    for folder in folders:
        if not (folder / "search.json").exists():
            raise InputError(f"{folder}: no finished search there; expected the output folder of `prm-train search`")
    results = [result for folder in folders for result in read_results(folder / "results.jsonl")]
    results.sort(key=lambda result: result.problem.problem_id)
    for one, other in pairwise(results):
        if one.problem.problem_id == other.problem.problem_id:
            raise InputError(f"problem {one.problem.problem_id} is in {', '.join(map(str, folders))} more than once; expected shards")
    return results


def sample_counts(results: Sequence[ProblemResult]) -> list[int]:
    """The N at which methods are compared: powers of 2 up to the number of candidates."""
    n_samples = len(results[0].samples[results[0].temperature])
    return [2**i for i in range(n_samples.bit_length()) if 2**i <= n_samples]


def choose_settings(folders: Sequence[Path]) -> Chosen:
    """The settings that are best on validation problems: for the baselines at each N, so that no N is compared with a weak baseline."""
    results = read_shards(folders)
    scored, temperatures = results[0].temperature, sorted(results[0].samples)

    def best(candidates: Iterable[T], accuracy: Callable[[T], NDArray[np.float64]]) -> T:
        return max(candidates, key=lambda candidate: float(accuracy(candidate).mean()))

    def best_majority(n: int) -> float:
        return best(temperatures, lambda t: accuracies(results, t, majority_vote, n))

    def best_logprob(n: int) -> tuple[float, LogprobForm]:
        forms = [(t, form) for t in temperatures for form in get_args(LogprobForm)]
        return best(forms, lambda form: accuracies(results, form[0], by_logprob(form[1]), n))

    return Chosen(
        pass_at_1_temperature=best(temperatures, lambda t: accuracies(results, t, anyone_right, 1)),
        majority={n: best_majority(n) for n in sample_counts(results)},
        logprob={n: best_logprob(n) for n in sample_counts(results)},
        logprob_auroc=best(get_args(LogprobKind), lambda kind: within_problem_aurocs(results, scored, partial(logprob_scores, form=kind))),
        prm_aggregation=best(get_args(Aggregation), lambda how: within_problem_aurocs(results, scored, scorer_scores("prm", how))),
    )


@dataclass(frozen=True)
class Evaluation:
    """Test results and the settings they are read with; each property is one part of the report."""

    results: list[ProblemResult]
    chosen: Chosen
    seed: int

    @property
    def scored_temperature(self) -> float:
        return self.results[0].temperature

    def interval(self, values: Any) -> Interval:
        return bootstrap_interval(values, np.random.default_rng(self.seed))

    def methods(self) -> dict[str, Callable[[int], tuple[float, Chooser]]]:
        """Each method that selects among samples: N → the temperature of the samples and the chooser."""
        chosen, t = self.chosen, self.scored_temperature

        def logprob(n: int) -> tuple[float, Chooser]:
            temperature, form = chosen.logprob[n]
            return temperature, by_logprob(form)

        def at_scored_temperature(choose: Chooser) -> Callable[[int], tuple[float, Chooser]]:
            return lambda n: (t, choose)

        methods = {
            "majority": lambda n: (chosen.majority[n], majority_vote),
            "logprob": logprob,
            "pass_at_n": at_scored_temperature(anyone_right),
        }
        scorers: tuple[tuple[str, Aggregation], ...] = (("prm", chosen.prm_aggregation), ("orm", "last"))
        for name, how in scorers:
            if any(name in candidate.scores for candidate in self.results[0].samples[t]):
                scores = scorer_scores(name, how)
                methods[f"{name}_vanilla"] = at_scored_temperature(partial(best_by, scores))
                methods[f"{name}_weighted"] = at_scored_temperature(partial(vote_by, scores))
        return methods

    def correct(self) -> dict[str, dict[int, NDArray[np.float64]]]:
        """Accuracy of each method at each N on each problem."""
        counts = sample_counts(self.results)
        table = {name: {n: accuracies(self.results, *method(n), n) for n in counts} for name, method in self.methods().items()}
        beams = sorted(self.results[0].beams)
        vote = partial(vote_by, scorer_scores("prm", self.chosen.prm_aggregation))
        if beams:
            table["beam"] = {n: np.array([float(is_right(vote(result.beams[n]))) for result in self.results]) for n in beams}
        return table

    def quintiles(self) -> NDArray[np.int64]:
        return difficulty_quintiles([result.n_difficulty_correct / max(result.n_difficulty_draws, 1) for result in self.results])

    def single_samples(self) -> tuple[SingleSample, ...]:
        greedy = SingleSample(0.0, self.interval([result.greedy.is_correct for result in self.results]))
        temperatures = sorted({self.scored_temperature, self.chosen.pass_at_1_temperature})
        return (greedy, *(SingleSample(t, self.interval(accuracies(self.results, t, anyone_right, 1))) for t in temperatures))

    def tokens(self, methods: Sequence[str]) -> dict[str, dict[int, TokensPerProblem]]:
        """Mean tokens a problem: of N of the samples in proportion to N, of each beam search its own."""

        def mean(cost: str, n: int | None, scorer: bool) -> float:
            entries = [result.costs[cost] for result in self.results]
            total = sum(each.scorer.n_new if scorer else each.policy.n_generated for each in entries) / len(entries)
            return total if n is None else total * n / len(self.results[0].samples[self.scored_temperature])

        table: dict[str, dict[int, TokensPerProblem]] = {}
        for name in methods:
            if name == "beam":
                table[name] = {
                    n: TokensPerProblem(mean(f"beam {n}", None, False), mean(f"beam {n}", None, True)) for n in self.results[0].beams
                }
                continue
            method, scorer = self.methods()[name], name.split("_")[0]
            table[name] = {
                n: TokensPerProblem(
                    mean(f"samples T={method(n)[0]:g}", n, False), mean(f"score {scorer}", n, True) if scorer in ("prm", "orm") else 0.0
                )
                for n in sample_counts(self.results)
            }
        return table

    def verifiers(self) -> tuple[VerifierQuality, ...]:
        chosen, t = self.chosen, self.scored_temperature
        rows = []
        names = self.methods()
        if "prm_weighted" in names:
            areas = within_problem_aurocs(self.results, t, scorer_scores("prm", chosen.prm_aggregation))
            note = f"{len(areas)} of {len(self.results)} problems have right and wrong samples"
            quality = step_quality(self.results)
            rows.append(
                VerifierQuality(
                    "PRM", self.interval(areas), f"{chosen.prm_aggregation}, chosen on validation", quality.auroc, quality.brier, note
                )
            )
        if "orm_weighted" in names:
            rows.append(VerifierQuality("ORM", self.interval(within_problem_aurocs(self.results, t, scorer_scores("orm", "last")))))
        areas = within_problem_aurocs(self.results, t, partial(logprob_scores, form=chosen.logprob_auroc))
        rows.append(
            VerifierQuality("policy's log-prob", self.interval(areas), note=f"{chosen.logprob_auroc} over tokens, chosen on validation")
        )
        return tuple(rows)

    def paired(self, correct: dict[str, dict[int, NDArray[np.float64]]]) -> tuple[PairedDifference, ...]:
        if "prm_weighted" not in correct:
            return ()
        weighted, rng = correct["prm_weighted"], partial(np.random.default_rng, self.seed)
        greedy = np.array([result.greedy.is_correct for result in self.results], dtype=float)
        ns = [n for n in (4, 16, 64) if n in weighted]
        pairs = [
            PairedDifference("prm_weighted", baseline, n, paired_difference(weighted[n], correct[baseline][n], rng()))
            for baseline in ("majority", "logprob", "orm_weighted")
            if baseline in correct
            for n in ns
        ]
        pairs += [PairedDifference("prm_weighted", "greedy", n, paired_difference(weighted[n], greedy, rng())) for n in ns]
        hard = self.quintiles() >= N_QUINTILES - 2
        for n, beam in correct.get("beam", {}).items():
            if n in weighted:
                pairs.append(PairedDifference("beam", "prm_weighted", n, paired_difference(beam, weighted[n], rng())))
                on_hard = paired_difference(beam[hard], weighted[n][hard], rng())
                pairs.append(PairedDifference("beam", "prm_weighted", n, on_hard, problems="two hardest quintiles"))
        return tuple(pairs)


def spell(chosen: Mapping[int, float | tuple[float, str]]) -> str:
    """`N=4: 0.7, N=16: 1`; runs of N with the same choice are one entry."""
    entries: list[str] = []
    last: object = None
    for n, choice in chosen.items():
        if choice != last:
            entries.append(f"from N={n}: {choice:g}" if isinstance(choice, float) else f"from N={n}: {choice[0]:g} {choice[1]}")
        last = choice
    return "; ".join(entries)


def evaluate(config: EvaluateConfig) -> SearchReport:
    validation, results = read_shards(config.validation), read_shards(config.test)
    shared = {each.problem.question for each in validation} & {each.problem.question for each in results}
    if shared:
        raise InputError(f"{len(shared)} of {len(results)} test questions are validation questions too; expected none: {min(shared)!r:.80}")
    step_separator = json.loads((config.test[0] / "config.json").read_text())["step_separator"]
    evaluation = Evaluation(results, choose_settings(config.validation), config.seed)
    missing = [t for t in evaluation.chosen.temperatures if t not in results[0].samples]
    if missing:
        raise InputError(f"test: no samples at T = {missing}, which validation chose; expected them among other_temperatures of the search")
    if len(results) < N_QUINTILES:
        raise InputError(f"test: {len(results)} problems, expected at least {N_QUINTILES} for the difficulty quintiles")
    correct, quintiles = evaluation.correct(), evaluation.quintiles()

    def by_quintile(values: NDArray[np.float64]) -> tuple[Interval, ...]:
        return tuple(evaluation.interval(values[quintiles == q]) for q in range(N_QUINTILES))

    pass_at_1 = accuracies(results, evaluation.scored_temperature, anyone_right, 1)
    chosen = evaluation.chosen
    return SearchReport(
        run=run_facts(config.stages, config.test, {"validation": len(validation), "test": len(results)}, config.labeled),
        accuracy={name: {n: evaluation.interval(values) for n, values in curve.items()} for name, curve in correct.items()},
        accuracy_by_quintile={name: {n: by_quintile(values) for n, values in curve.items()} for name, curve in correct.items()},
        tokens=evaluation.tokens(list(correct)),
        settings={
            "majority": f"T chosen on validation for each N ({spell(chosen.majority)})",
            "logprob": f"T and form chosen on validation for each N ({spell(chosen.logprob)})",
            "prm_weighted": f"T = {evaluation.scored_temperature:g}, {chosen.prm_aggregation} of the step scores",
        },
        single_samples=evaluation.single_samples(),
        pass_at_1_by_quintile=by_quintile(pass_at_1),
        paired=evaluation.paired(correct),
        verifiers=evaluation.verifiers(),
        reliability=step_quality(results).bins if "prm_weighted" in correct else (),
        losses=loss_curves(config.prm, config.orm),
        labels=label_statistics(config.labeled),
        examples=example_solutions(results, step_separator),
        notes=(
            "The answer of the built-in task lists every intermediate value, so a wrong step cannot end in a right answer. "
            "Grading gives one verdict for the whole answer; no step label comes from it.",
            "Difficulty quintiles are made from draws that no accuracy is computed from.",
            "Scorer tokens of N samples are counted as N / 64 of those of 64, whose common prefixes are computed once.",
        )
        if results[0].problem.problem_id.startswith("arithmetic-")
        else (),
    )


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(EvaluateConfig, argv)
    report = evaluate(config)
    write_report(report, config.output / "report.html")
    sys.stdout.write(summary_table(report) + f"\n\nreport: {config.output / 'report.html'}\n")


if __name__ == "__main__":
    run_command(main, "evaluate")
