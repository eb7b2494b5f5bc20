"""The methods of a search compared on the same test problems: accuracies, costs, differences, and how well
verifiers tell right from wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prm_train.evaluation.choosers import Scores, anyone_right, scorer_scores
from prm_train.evaluation.choosing import Chosen, accuracies, within_problem_aurocs
from prm_train.evaluation.costs import Costs
from prm_train.evaluation.facts import step_quality
from prm_train.evaluation.results import (
    ALL_PROBLEMS,
    PairedDifference,
    SingleSample,
    TokensPerProblem,
    VerifierQuality,
)
from prm_train.evaluation.sample_methods import SampleMethod, sample_methods, spelled
from prm_train.evaluation.tree_methods import TreeMethod, tree_methods
from prm_train.metrics.estimators import (
    N_QUINTILES,
    Interval,
    bootstrap_interval,
    difficulty_quintiles,
    paired_difference,
    paired_values,
)
from prm_train.metrics.many_comparisons import holm_adjusted, sign_flip_p_value
from prm_train.scoring.flops import ForwardFlops
from prm_train.search.model_work import has_tokens
from prm_train.search.results import ProblemResult
from prm_train.strategies.voting import TreeVote, logprob_scores

STOPS_WHEN = {
    "_early": "stops when the leading answer is the likelier one of the first two with 95 % (Beta posterior)",
    "_margin": "stops when the leading answer's best score is at least 0.95 and all others' 0.5 below it",
}


@dataclass(frozen=True)
class Comparison:
    """Test results and the settings they are read with. Each public method computes one part of the report.

    `trees` are its searches in a tree. `separator` ends a step; `flops` are those of the models by name, as
    far as known.
    """

    results: Sequence[ProblemResult]
    chosen: Chosen
    seed: int
    more_votes: tuple[TreeVote, ...] = ()
    separator: str = "\n"
    flops: Mapping[str, ForwardFlops] = field(default_factory=dict)

    @cached_property
    def trees(self) -> tuple[TreeMethod, ...]:
        return tuple(tree_methods(self.results[0], self.chosen.trees, self.more_votes))

    @property
    def scored_temperature(self) -> float:
        return self.results[0].temperature

    @property
    def n_samples(self) -> int:
        return len(self.results[0].scored)

    def interval(self, values: Any) -> Interval:
        return bootstrap_interval(values, np.random.default_rng(self.seed))

    @cached_property
    def methods(self) -> list[SampleMethod]:
        return sample_methods(self.results, self.chosen)

    def correct(self) -> dict[str, dict[int, NDArray[np.float64]]]:
        """Accuracy of each method at each N on each problem."""
        table = {
            method.name: {
                n: accuracies(self.results, temperature, choose, n)
                for n, (temperature, choose) in method.at.items()
            }
            for method in self.methods
        }
        for tree in self.trees:
            table[tree.name] = tree.accuracies(self.results)
        return table

    def quintiles(self) -> NDArray[np.int64] | None:
        """None where the search made no draws for difficulty."""
        if not all(result.difficulty.n for result in self.results):
            return None
        return difficulty_quintiles(
            [result.difficulty.n_correct / result.difficulty.n for result in self.results]
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
        """Mean tokens a problem of each method at each N, as if it ran alone.

        A method with a scorer whose tokens the search did not store has none. Problems that failed are left
        out: nobody knows what they would have cost.
        """
        answered = [result for result in self.results if not result.failure]
        costs = Costs(answered, self.separator, self.flops)
        of_samples = cache(costs.of_samples)  # two methods share a scorer
        table = {
            method.name: {
                n: of_samples(n, temperature, method.scorer, method.n_drawn)
                for n, (temperature, _) in method.at.items()
            }
            for method in self.methods
            if method.name not in self.methods_without_tokens
        }
        return table | {tree.name: costs.of_tree(tree) for tree in self.trees}

    @property
    def methods_without_tokens(self) -> list[str]:
        """Those with a scorer whose tokens the search did not store."""
        scored = [candidate for result in self.results for candidate in result.scored]
        return [each.name for each in self.methods if each.scorer and not has_tokens(scored, each.scorer)]

    def verifiers(self) -> tuple[VerifierQuality, ...]:
        """How well each score tells right from wrong samples of the same problem."""
        chosen = self.chosen
        names = {method.name for method in self.methods}
        rows: list[VerifierQuality] = []

        if "prm_weighted" in names:
            areas = self._aurocs(scorer_scores("prm", chosen.prm_aggregation))
            note = f"{len(areas)} of {len(self.results)} problems have right and wrong samples"
            quality = step_quality(self.results)
            how = f"{chosen.prm_aggregation}, chosen on validation"
            rows += self._verifier("PRM", areas, how, quality.auroc, quality.brier, note)

        if "orm_weighted" in names:
            rows += self._verifier("ORM", self._aurocs(scorer_scores("orm", "last")))

        if "logprob" in names:
            areas = self._aurocs(partial(logprob_scores, form=chosen.logprob_auroc))
            note = f"{chosen.logprob_auroc} over tokens, chosen on validation"
            rows += self._verifier("policy's log-prob", areas, "", None, None, note)
        return tuple(rows)

    def _verifier(self, name: str, areas: NDArray[np.float64], *others: Any) -> list[VerifierQuality]:
        """None where no problem has both right and wrong samples."""
        return [VerifierQuality(name, self.interval(areas), *others)] if areas.size else []

    def _aurocs(self, scores: Scores) -> NDArray[np.float64]:
        return within_problem_aurocs(self.results, self.scored_temperature, scores)

    def paired(self, correct: dict[str, dict[int, NDArray[np.float64]]]) -> tuple[PairedDifference, ...]:
        """Differences between methods on the same problems, with Holm's correction for all of them. `correct`
        is the table of that method.
        """
        if "prm_weighted" not in correct:
            return ()
        weighted = correct["prm_weighted"]
        greedy = np.array([result.greedy.is_correct for result in self.results], dtype=float)
        ns = [n for n in (4, 16, 64) if n in weighted]

        pairs = [
            self._pair("prm_weighted", baseline, n, weighted[n], correct[baseline][n])
            for baseline in ("majority", "logprob", *self.chosen.baselines, "orm_weighted")
            if baseline in correct
            for n in ns
        ]
        pairs += [self._pair("prm_weighted", "greedy", n, weighted[n], greedy) for n in ns]

        quintiles = self.quintiles()
        hard = None if quintiles is None else quintiles >= N_QUINTILES - 2
        # Where settings were tuned, what was chosen is compared, and not each of those that were tried
        trees = [
            tree.name
            for tree in self.trees
            if tree.name.endswith("_tuned") or tree.strategy not in self.chosen.trees
        ]
        for name in trees:
            for n, found in correct[name].items():
                if n in weighted:
                    every = weighted[n]
                    pairs.append(self._pair(name, "prm_weighted", n, found, every))
                    if hard is not None:
                        on_hard = found[hard], every[hard]
                        pairs.append(self._pair(name, "prm_weighted", n, *on_hard, "two hardest quintiles"))
        p_values = holm_adjusted([pair.p_value for pair in pairs if pair.p_value is not None])
        return tuple(replace(pair, p_holm=p) for pair, p in zip(pairs, p_values, strict=True))

    def _pair(
        self,
        method: str,
        baseline: str,
        n: int,
        values: NDArray[np.float64],
        others: NDArray[np.float64],
        problems: str = ALL_PROBLEMS,
    ) -> PairedDifference:
        # Generators of the same seed each time: what one pair gets does not depend on which others are
        # compared.
        interval = paired_difference(values, others, np.random.default_rng(self.seed))
        p = sign_flip_p_value(paired_values(values, others), np.random.default_rng(self.seed))
        return PairedDifference(method, baseline, n, interval, problems, p)


def step_scores_in_words(chosen: Chosen, method: str) -> str:
    at = chosen.selections.get(method)
    if at is None:
        return f"{chosen.prm_aggregation} of the step scores"
    return f"what makes one score of a solution's steps chosen on validation for each N ({spelled(at)})"


def settings_in_words(comparison: Comparison) -> dict[str, str]:
    """For each method that has settings, which they are and where they come from."""
    chosen = comparison.chosen
    return {
        "majority": f"T chosen on validation for each N ({spelled(chosen.majority)})",
        **(
            {"logprob": f"T and form chosen on validation for each N ({spelled(chosen.logprob)})"}
            if chosen.logprob
            else {}
        ),
        **{
            name: f"T and form chosen on validation for each N ({spelled(at)})"
            for name, at in chosen.baselines.items()
        },
        **{
            name: f"T = {comparison.scored_temperature:g}, {step_scores_in_words(chosen, name)}"
            for name in ("prm_weighted", "prm_vanilla")
        },
        **{
            method.name: f"{words}; replayed in the order of the samples"
            for method in comparison.methods
            for ending, words in STOPS_WHEN.items()
            if method.name.endswith(ending)
        },
        **{tree.name: tree.words for tree in comparison.trees},
    }
