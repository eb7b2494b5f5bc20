"""`prm-train evaluate`: accuracies, differences and verifier quality from the results of `prm-train search`, as JSON, HTML and a table.

Whatever has to be chosen (temperatures of the baselines, the form of log-prob selection, the aggregation of step scores) is chosen on
validation problems. Accuracies at N come from the disjoint blocks of N among the candidates of a test problem, difficulty from draws beyond
them.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_gen.models.names import check_inputs
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command
from prm_train.encoding.aggregation import Aggregation
from prm_train.evaluation.choosing import (
    Chooser,
    Chosen,
    accuracies,
    anyone_right,
    best_by,
    by_logprob,
    choose_settings,
    sample_counts,
    scorer_scores,
    vote_by,
    within_problem_aurocs,
)
from prm_train.evaluation.facts import example_solutions, label_statistics, loss_curves, run_facts, step_quality
from prm_train.evaluation.report import summary_table, write_report
from prm_train.evaluation.results import PairedDifference, SearchReport, SingleSample, TokensPerProblem, VerifierQuality
from prm_train.evaluation.shards import check_chosen_for, read_search
from prm_train.metrics.estimators import N_QUINTILES, Interval, bootstrap_interval, difficulty_quintiles, paired_difference
from prm_train.search.results import ProblemResult
from prm_train.search.voting import is_right, logprob_scores, majority_vote


@dataclass(frozen=True)
class EvaluateConfig:
    """Make a report of one or more shards of a search on test problems, with settings chosen on validation problems."""

    validation: tuple[Path, ...] = field(metadata={"is_input": True, "help": "folders of `prm-train search` on validation problems"})
    test: tuple[Path, ...] = field(metadata={"is_input": True, "help": "folders of `prm-train search` on test problems"})
    output: Path = field(metadata={"help": "folder for report.html and report.json"})
    labeled: tuple[Path, ...] = field(default=(), metadata={"help": "folders of `prm-train label`, for the label section"})
    prm: Path | None = field(default=None, metadata={"is_input": True, "help": "the trained PRM, for its loss curve"})
    orm: Path | None = field(default=None, metadata={"is_input": True, "help": "the trained ORM, for its loss curve"})
    stages: Path | None = field(
        default=None, metadata={"is_input": True, "help": "folder of the quickstart's stage files, for the cost section"}
    )
    seed: int = field(default=0, metadata={"help": "of the bootstrap"})


class Selection(NamedTuple):
    """How a method answers: from samples of which temperature, by which choice among them, and with whose scores."""

    temperature: float
    choose: Chooser
    scorer: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """Test results and the settings they are read with; each property is one part of the report.

    `beam_aggregation` is what ranked the paths of beam searches, and so weighs their votes.
    """

    results: Sequence[ProblemResult]
    chosen: Chosen
    beam_aggregation: Aggregation | None
    seed: int

    @property
    def scored_temperature(self) -> float:
        return self.results[0].temperature

    def interval(self, values: Any) -> Interval:
        return bootstrap_interval(values, np.random.default_rng(self.seed))

    def methods(self) -> dict[str, Callable[[int], Selection]]:
        """Each method that selects among samples, by its name in `METHODS`: N → how it selects."""
        chosen = self.chosen

        def logprob(n: int) -> Selection:
            temperature, form = chosen.logprob[n]
            return Selection(temperature, by_logprob(form))

        def at_scored_temperature(choose: Chooser, scorer: str | None = None) -> Callable[[int], Selection]:
            return lambda n: Selection(self.scored_temperature, choose, scorer)

        methods = {
            "majority": lambda n: Selection(chosen.majority[n], majority_vote),
            "logprob": logprob,
            "pass_at_n": at_scored_temperature(anyone_right),
        }
        scorers: tuple[tuple[str, Aggregation, str, str], ...] = (
            ("prm", chosen.prm_aggregation, "prm_vanilla", "prm_weighted"),
            ("orm", "last", "orm_vanilla", "orm_weighted"),
        )
        for scorer, how, vanilla, weighted in scorers:
            if any(scorer in candidate.scores for result in self.results for candidate in result.scored):
                scores = scorer_scores(scorer, how)
                methods[vanilla] = at_scored_temperature(partial(best_by, scores), scorer)
                methods[weighted] = at_scored_temperature(partial(vote_by, scores), scorer)
        return methods

    def correct(self) -> dict[str, dict[int, NDArray[np.float64]]]:
        """Accuracy of each method at each N on each problem."""
        counts = sample_counts(self.results)
        table = {
            name: {n: accuracies(self.results, method(n).temperature, method(n).choose, n) for n in counts}
            for name, method in self.methods().items()
        }
        beams = sorted(self.results[0].beams)
        if beams:
            assert self.beam_aggregation is not None
            vote = partial(vote_by, scorer_scores("prm", self.beam_aggregation))
            table["beam"] = {n: np.array([float(is_right(vote(result.beams[n]))) for result in self.results]) for n in beams}
        return table

    def quintiles(self) -> NDArray[np.int64]:
        return difficulty_quintiles([result.difficulty.n_correct / max(result.difficulty.n, 1) for result in self.results])

    def single_samples(self) -> tuple[SingleSample, ...]:
        greedy = SingleSample(0.0, self.interval([result.greedy.is_correct for result in self.results]))
        temperatures = sorted({self.scored_temperature, self.chosen.pass_at_1_temperature})
        return (greedy, *(SingleSample(t, self.interval(accuracies(self.results, t, anyone_right, 1))) for t in temperatures))

    def tokens(self, methods: Sequence[str]) -> dict[str, dict[int, TokensPerProblem]]:
        """Mean tokens a problem: of N of the samples in proportion to N, of each beam search its own."""

        n_samples = len(self.results[0].scored)

        def mean(tokens: Callable[[ProblemResult], int]) -> float:
            return sum(map(tokens, self.results)) / len(self.results)

        def of_beam(n: int) -> TokensPerProblem:
            drawn = mean(lambda result: result.cost_of_beam(n).policy.n_generated)
            return TokensPerProblem(drawn, mean(lambda result: result.cost_of_beam(n).scorer.n_new))

        def of_samples(n: int, method: Selection) -> TokensPerProblem:
            drawn = mean(lambda result: result.cost_of_samples(method.temperature).policy.n_generated)
            scorer = method.scorer
            scored = 0.0 if scorer is None else mean(lambda result: result.cost_of_scores(scorer).n_new)
            return TokensPerProblem(drawn * n / n_samples, scored * n / n_samples)

        selecting = self.methods()
        return {
            name: {n: of_beam(n) for n in self.results[0].beams}
            if name == "beam"
            else {n: of_samples(n, selecting[name](n)) for n in sample_counts(self.results)}
            for name in methods
        }

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
    validation, test = read_search(config.validation), read_search(config.test)
    check_chosen_for(validation, test)
    results, how = test.results, test.beam_aggregation
    shared = {each.problem.question for each in validation.results} & {each.problem.question for each in results}
    if shared:
        raise InputError(f"{len(shared)} of {len(results)} test questions are validation questions too; expected none: {min(shared)!r:.80}")
    evaluation = Evaluation(results, choose_settings(validation.results), how, config.seed)
    missing = [t for t in evaluation.chosen.temperatures if t not in results[0].samples]
    if missing:
        raise InputError(f"test: no samples at T = {missing}, which validation chose; expected them among other_temperatures of the search")
    if len(results) < N_QUINTILES:
        raise InputError(f"test: {len(results)} problems, expected at least {N_QUINTILES} for the difficulty quintiles")
    correct, quintiles = evaluation.correct(), evaluation.quintiles()

    def by_quintile(values: NDArray[np.float64]) -> tuple[Interval, ...]:
        return tuple(evaluation.interval(values[quintiles == q]) for q in range(N_QUINTILES))

    n_samples = len(results[0].scored)
    pass_at_1 = accuracies(results, evaluation.scored_temperature, anyone_right, 1)
    chosen = evaluation.chosen
    return SearchReport(
        run=run_facts(
            config.stages,
            {"validation": validation, "test": test},
            config.labeled,
            {"PRM": config.prm, "ORM": config.orm},
        ),
        accuracy={name: {n: evaluation.interval(values) for n, values in curve.items()} for name, curve in correct.items()},
        accuracy_by_quintile={name: {n: by_quintile(values) for n, values in curve.items()} for name, curve in correct.items()},
        tokens=evaluation.tokens(list(correct)),
        settings={
            "majority": f"T chosen on validation for each N ({spell(chosen.majority)})",
            "logprob": f"T and form chosen on validation for each N ({spell(chosen.logprob)})",
            "prm_weighted": f"T = {evaluation.scored_temperature:g}, {chosen.prm_aggregation} of the step scores",
            **({"beam": f"M = {test.config.beam_width}, {how} of the step scores ranks paths and weighs their votes"} if how else {}),
        },
        single_samples=evaluation.single_samples(),
        pass_at_1_by_quintile=by_quintile(pass_at_1),
        paired=evaluation.paired(correct),
        verifiers=evaluation.verifiers(),
        reliability=step_quality(results).bins if "prm_weighted" in correct else (),
        losses=loss_curves(config.prm, config.orm),
        labels=label_statistics(config.labeled),
        examples=example_solutions(results, test.config.step_separator),
        notes=(
            "The answer of the built-in task lists every intermediate value, so a wrong step cannot end in a right answer. "
            "Grading gives one verdict for the whole answer; no step label comes from it.",
            "Difficulty quintiles are made from draws that no accuracy is computed from.",
            f"Scorer tokens of N samples are counted as N / {n_samples} of those of {n_samples}, whose common prefixes are computed once.",
        )
        if results[0].problem.problem_id.startswith("arithmetic-")
        else (),
    )


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(EvaluateConfig, argv)
    check_inputs(config)
    report = evaluate(config)
    write_report(report, config.output / "report.html")
    sys.stdout.write(summary_table(report) + f"\n\nreport: {config.output / 'report.html'}\n")


if __name__ == "__main__":
    run_command(main, "evaluate")
