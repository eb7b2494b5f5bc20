"""`prm-train evaluate`: accuracies, differences and verifier quality from the results of `prm-train search`,
as JSON, HTML and a table.

Everything that has to be chosen (temperatures of the baselines, the form of log-prob selection, the
aggregation of step scores) is chosen on validation problems, by `choosing`. Accuracies at N come from
disjoint blocks of N among the candidates of a test problem, difficulty from further draws that no accuracy
uses.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_gen.models.names import check_inputs
from data_gen.problems.tasks import task_of_problem
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command
from prm_train.encoding.aggregation import Aggregation
from prm_train.evaluation.choosing import (
    Chooser,
    Chosen,
    Scores,
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
from prm_train.evaluation.facts import (
    example_solutions,
    label_statistics,
    loss_curves,
    run_facts,
    step_quality,
)
from prm_train.evaluation.report import summary_table, write_report
from prm_train.evaluation.results import (
    PairedDifference,
    SearchReport,
    SingleSample,
    TokensPerProblem,
    VerifierQuality,
)
from prm_train.evaluation.shards import check_chosen_for, read_search
from prm_train.evaluation.tree_methods import TreeMethod, tree_methods
from prm_train.metrics.estimators import (
    N_QUINTILES,
    Interval,
    bootstrap_interval,
    difficulty_quintiles,
    paired_difference,
)
from prm_train.search.results import ProblemResult
from prm_train.search.voting import Vote, logprob_scores, majority_vote


@dataclass(frozen=True)
class EvaluateConfig:
    """Make a report of one or more shards of a search on test problems, with settings chosen on validation
    problems.
    """

    validation: tuple[Path, ...] = field(
        metadata={"is_input": True, "help": "folders of `prm-train search` on validation problems"}
    )
    test: tuple[Path, ...] = field(
        metadata={"is_input": True, "help": "folders of `prm-train search` on test problems"}
    )
    output: Path = field(metadata={"help": "folder for report.html and report.json"})
    labeled: tuple[Path, ...] = field(
        default=(), metadata={"help": "folders of `prm-train label`, for the report's section on labels"}
    )
    prm: Path | None = field(
        default=None, metadata={"is_input": True, "help": "the trained PRM, for its loss curve"}
    )
    orm: Path | None = field(
        default=None, metadata={"is_input": True, "help": "the trained ORM, for its loss curve"}
    )
    stages: Path | None = field(
        default=None,
        metadata={
            "is_input": True,
            "help": "folder of the quickstart's stage files, for the report's section on costs",
        },
    )
    more_votes: tuple[Vote, ...] = field(
        default=(),
        metadata={
            "help": "votes to report of every beam, tree and particle search beside its own: score (of the "
            "path), weight (how often the "
            "policy wrote the path, and its score), prior (distinct paths: score times probability under the "
            "policy)"
        },
    )
    seed: int = field(default=0, metadata={"help": "seed of the bootstrap that makes the intervals"})


@dataclass(frozen=True)
class Method:
    """A way of selecting one of N samples. `at` gives for each N the temperature of the samples and what
    chooses among them.

    `scorer` names the one whose scores it needs, and whose tokens it therefore costs; None for methods that
    use the policy alone.
    """

    name: str
    scorer: str | None
    at: Mapping[int, tuple[float, Chooser]]


@dataclass(frozen=True)
class Evaluation:
    """Test results and the settings they are read with. Each public method computes one part of the report.

    `beam_aggregation` is what ranked the paths of searches in a tree, and so weighs their votes; `trees` are
    those searches.
    """

    results: Sequence[ProblemResult]
    chosen: Chosen
    beam_aggregation: Aggregation | None
    seed: int
    more_votes: tuple[Vote, ...] = ()

    @cached_property
    def trees(self) -> tuple[TreeMethod, ...]:
        return tuple(tree_methods(self.results[0], self.more_votes))

    @property
    def scored_temperature(self) -> float:
        return self.results[0].temperature

    @property
    def n_samples(self) -> int:
        return len(self.results[0].scored)

    def interval(self, values: Any) -> Interval:
        return bootstrap_interval(values, np.random.default_rng(self.seed))

    def methods(self) -> list[Method]:
        """The methods that select among samples. Searches in a tree are none of them: they draw their own
        candidates.
        """
        chosen, t = self.chosen, self.scored_temperature
        counts = sample_counts(self.results)

        methods = [
            Method("majority", None, {n: (chosen.majority[n], majority_vote) for n in counts}),
            Method(
                "logprob", None, {n: (chosen.logprob[n][0], by_logprob(chosen.logprob[n][1])) for n in counts}
            ),
            Method("pass_at_n", None, dict.fromkeys(counts, (t, anyone_right))),
        ]

        # Scorers have scored only the samples of one temperature, so there is none to choose.
        scorers: tuple[tuple[str, Aggregation, str, str], ...] = (
            ("prm", chosen.prm_aggregation, "prm_vanilla", "prm_weighted"),
            ("orm", "last", "orm_vanilla", "orm_weighted"),
        )
        for scorer, how, vanilla, weighted in scorers:
            if any(scorer in candidate.scores for result in self.results for candidate in result.scored):
                scores = scorer_scores(scorer, how)
                methods.append(Method(vanilla, scorer, dict.fromkeys(counts, (t, partial(best_by, scores)))))
                methods.append(Method(weighted, scorer, dict.fromkeys(counts, (t, partial(vote_by, scores)))))
        return methods

    def correct(self) -> dict[str, dict[int, NDArray[np.float64]]]:
        """Accuracy of each method at each N on each problem."""
        table = {
            method.name: {
                n: accuracies(self.results, temperature, choose, n)
                for n, (temperature, choose) in method.at.items()
            }
            for method in self.methods()
        }
        for tree in self.trees:
            assert self.beam_aggregation is not None
            table[tree.name] = tree.accuracies(self.results, self.beam_aggregation)
        return table

    def quintiles(self) -> NDArray[np.int64]:
        return difficulty_quintiles(
            [result.difficulty.n_correct / max(result.difficulty.n, 1) for result in self.results]
        )

    def single_samples(self) -> tuple[SingleSample, ...]:
        greedy = SingleSample(0.0, self.interval([result.greedy.is_correct for result in self.results]))
        temperatures = sorted({self.scored_temperature, self.chosen.pass_at_1_temperature})
        return (
            greedy,
            *(
                SingleSample(t, self.interval(accuracies(self.results, t, anyone_right, 1)))
                for t in temperatures
            ),
        )

    def tokens(self) -> dict[str, dict[int, TokensPerProblem]]:
        """Mean tokens a problem of each method at each N.

        Costs are recorded for all samples of a problem together, so N of them cost their share. Each search
        in a tree has costs of its own.
        """

        def mean(tokens: Callable[[ProblemResult], int]) -> float:
            return sum(map(tokens, self.results)) / len(self.results)

        def of_samples(n: int, temperature: float, scorer: str | None) -> TokensPerProblem:
            drawn = mean(lambda result: result.cost_of_samples(temperature).policy.n_generated)
            scored = mean(lambda result: result.cost_of_scores(scorer).n_new) if scorer else 0.0
            return TokensPerProblem(drawn * n / self.n_samples, scored * n / self.n_samples)

        table = {
            method.name: {
                n: of_samples(n, temperature, method.scorer) for n, (temperature, _) in method.at.items()
            }
            for method in self.methods()
        }
        return table | {tree.name: tree.tokens(self.results) for tree in self.trees}

    def verifiers(self) -> tuple[VerifierQuality, ...]:
        """How well each score tells right from wrong samples of the same problem."""
        chosen = self.chosen
        names = {method.name for method in self.methods()}
        rows = []

        if "prm_weighted" in names:
            areas = self._aurocs(scorer_scores("prm", chosen.prm_aggregation))
            note = f"{len(areas)} of {len(self.results)} problems have right and wrong samples"
            quality = step_quality(self.results)
            rows.append(
                VerifierQuality(
                    "PRM",
                    self.interval(areas),
                    f"{chosen.prm_aggregation}, chosen on validation",
                    quality.auroc,
                    quality.brier,
                    note,
                )
            )

        if "orm_weighted" in names:
            rows.append(VerifierQuality("ORM", self.interval(self._aurocs(scorer_scores("orm", "last")))))

        areas = self._aurocs(partial(logprob_scores, form=chosen.logprob_auroc))
        note = f"{chosen.logprob_auroc} over tokens, chosen on validation"
        rows.append(VerifierQuality("policy's log-prob", self.interval(areas), note=note))
        return tuple(rows)

    def _aurocs(self, scores: Scores) -> NDArray[np.float64]:
        return within_problem_aurocs(self.results, self.scored_temperature, scores)

    def paired(self, correct: dict[str, dict[int, NDArray[np.float64]]]) -> tuple[PairedDifference, ...]:
        """Differences between methods on the same problems. `correct` is the table of that method."""
        if "prm_weighted" not in correct:
            return ()
        weighted = correct["prm_weighted"]
        greedy = np.array([result.greedy.is_correct for result in self.results], dtype=float)
        ns = [n for n in (4, 16, 64) if n in weighted]

        pairs = [
            PairedDifference("prm_weighted", baseline, n, self._difference(weighted[n], correct[baseline][n]))
            for baseline in ("majority", "logprob", "orm_weighted")
            if baseline in correct
            for n in ns
        ]
        pairs += [
            PairedDifference("prm_weighted", "greedy", n, self._difference(weighted[n], greedy)) for n in ns
        ]

        hard = self.quintiles() >= N_QUINTILES - 2
        for name in (tree.name for tree in self.trees):
            for n, found in correct[name].items():
                if n in weighted:
                    pairs.append(
                        PairedDifference(name, "prm_weighted", n, self._difference(found, weighted[n]))
                    )
                    on_hard = self._difference(found[hard], weighted[n][hard])
                    pairs.append(
                        PairedDifference(name, "prm_weighted", n, on_hard, problems="two hardest quintiles")
                    )
        return tuple(pairs)

    def _difference(self, values: NDArray[np.float64], baseline: NDArray[np.float64]) -> Interval:
        # A generator of the same seed each time: what one pair gets does not depend on which others are
        # compared.
        return paired_difference(values, baseline, np.random.default_rng(self.seed))


def spelled(chosen: Mapping[int, float | tuple[float, str]]) -> str:
    """What was chosen for each N, in words: `from N=1: 0.7; from N=16: 1`. Neighbouring N with the same
    choice are one entry.
    """
    entries: list[str] = []
    last: object = None
    for n, choice in chosen.items():
        if choice != last:
            entries.append(
                f"from N={n}: {choice:g}"
                if isinstance(choice, float)
                else f"from N={n}: {choice[0]:g} {choice[1]}"
            )
        last = choice
    return "; ".join(entries)


def check_results(validation: Sequence[ProblemResult], test: Sequence[ProblemResult], chosen: Chosen) -> None:
    """Raises InputError if the test problems are too few, were seen in validation, or lack samples that the
    chosen settings need.
    """
    shared = {result.problem.question for result in validation} & {result.problem.question for result in test}
    if shared:
        raise InputError(
            f"{len(shared)} of {len(test)} test questions are validation questions too; expected none: "
            f"{min(shared)!r:.80}"
        )
    missing = [t for t in chosen.temperatures if t not in test[0].samples]
    if missing:
        raise InputError(
            f"test: no samples at T = {missing}, which validation chose; expected them among "
            "other_temperatures of the search"
        )
    if len(test) < N_QUINTILES:
        raise InputError(
            f"test: {len(test)} problems, expected at least {N_QUINTILES} for the difficulty quintiles"
        )


def settings_in_words(evaluation: Evaluation) -> dict[str, str]:
    """For each method that has settings, which they are and where they come from."""
    chosen = evaluation.chosen
    return {
        "majority": f"T chosen on validation for each N ({spelled(chosen.majority)})",
        "logprob": f"T and form chosen on validation for each N ({spelled(chosen.logprob)})",
        "prm_weighted": f"T = {evaluation.scored_temperature:g}, {chosen.prm_aggregation} of the step scores",
        **{tree.name: tree.words for tree in evaluation.trees},
    }


def evaluate(config: EvaluateConfig) -> SearchReport:
    validation, test = read_search(config.validation), read_search(config.test)
    check_chosen_for(validation, test)
    chosen = choose_settings(validation.results)
    check_results(validation.results, test.results, chosen)

    results = test.results
    evaluation = Evaluation(results, chosen, test.beam_aggregation, config.seed, config.more_votes)
    correct, quintiles, n_samples = evaluation.correct(), evaluation.quintiles(), evaluation.n_samples

    def by_quintile(values: NDArray[np.float64]) -> tuple[Interval, ...]:
        return tuple(evaluation.interval(values[quintiles == q]) for q in range(N_QUINTILES))

    task = task_of_problem(results[0].problem)
    return SearchReport(
        run=run_facts(
            config.stages,
            {"validation": validation, "test": test},
            config.labeled,
            {"PRM": config.prm, "ORM": config.orm},
        ),
        accuracy={
            name: {n: evaluation.interval(values) for n, values in curve.items()}
            for name, curve in correct.items()
        },
        accuracy_by_quintile={
            name: {n: by_quintile(values) for n, values in curve.items()} for name, curve in correct.items()
        },
        tokens=evaluation.tokens(),
        settings=settings_in_words(evaluation),
        single_samples=evaluation.single_samples(),
        pass_at_1_by_quintile=by_quintile(
            accuracies(results, evaluation.scored_temperature, anyone_right, 1)
        ),
        paired=evaluation.paired(correct),
        verifiers=evaluation.verifiers(),
        reliability=step_quality(results).bins if "prm_weighted" in correct else (),
        losses=loss_curves(config.prm, config.orm),
        labels=label_statistics(config.labeled),
        examples=example_solutions(results, test.config.step_separator),
        notes=(
            *(task.report_notes if task else ()),
            "Difficulty quintiles are made from draws that no accuracy is computed from.",
            f"Scorer tokens of N samples are counted as N / {n_samples} of those of {n_samples}, whose "
            "common prefixes are computed once.",
        ),
    )


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(EvaluateConfig, argv)
    check_inputs(config)
    report = evaluate(config)
    write_report(report, config.output / "report.html")
    sys.stdout.write(summary_table(report) + f"\n\nreport: {config.output / 'report.html'}\n")


if __name__ == "__main__":
    run_command(main, "evaluate")
