"""How hard a problem is for a policy, from what is known of it before it is searched.

- `oracle`: the share of right draws among those that no accuracy uses. It needs the gold answer.
- `score`: the mean final score that the PRM gives to the first few draws. They are paid for, and are samples
  of whatever is drawn next.
- `prompt`: from the mean state of the prompt in the policy: one pass over it, and no draw.

Estimates are of pass@1: the last two are linear fits to the pass rates of validation problems. What makes
them reads scores and states, and neither verdicts nor gold answers of the problems that they are for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from data_gen.files.run_folder import read_records
from data_gen.files.stored_record import StoredRecord
from data_gen.settings.errors import InputError
from prm_train.encoding.aggregation import Aggregation
from prm_train.evaluation.costs import Costs, mean
from prm_train.evaluation.results import TokensPerProblem
from prm_train.metrics.difficulty import (
    ABSOLUTE_EDGES,
    Floats,
    PassRateFit,
    difficulty_bin,
    fit_pass_rates,
    quantile_edges,
    rank_correlation,
)
from prm_train.metrics.estimators import N_QUINTILES
from prm_train.search.allocation import ORACLE, PROMPT, SCORE
from prm_train.search.results import ProblemResult

FILE, PREDICTOR_FILE = "difficulty.jsonl", "difficulty.json"


@dataclass(frozen=True)
class ProblemDifficulty:
    """A line of difficulty.jsonl: by kind of estimate pass@1, the bins it falls into (0 is the easiest), and
    the tokens it cost. Of the draws of the `score`, `n_draws` are the first samples of the problem.
    """

    problem_id: str
    pass_at_1: Mapping[str, float]
    quantile_bin: Mapping[str, int]
    absolute_bin: Mapping[str, int]
    cost: Mapping[str, TokensPerProblem]
    n_draws: int


@dataclass(frozen=True)
class Agreement:
    """Of estimates with the pass rates of draws: mean absolute error, Spearman's correlation (None: one of
    them is the same for all problems) and how many problems. Rates are noisy, which both include; on the
    problems that a fit was made to, it looks better than it is.
    """

    mean_absolute_error: float
    rank_correlation: float | None
    n_problems: int


@dataclass(frozen=True, kw_only=True)
class DifficultyPredictor(StoredRecord):
    """difficulty.json: the fits, from which the difficulty of any further question follows, and what they are
    worth. `models` are the ids of those whose draws, scores and states it is for.
    """

    WRITTEN_BY = "`prm-train estimate-difficulty`"

    models: Mapping[str, str]
    temperature: float
    aggregation: Aggregation
    n_draws: int
    fits: Mapping[str, PassRateFit]
    quantile_edges: Mapping[str, tuple[float, ...]]
    absolute_edges: tuple[float, ...] = ABSOLUTE_EDGES
    validation: Mapping[str, Agreement] = field(default_factory=dict)
    test: Mapping[str, Agreement] = field(default_factory=dict)

    def predict(self, kind: str, features: Sequence[float]) -> float:
        """pass@1 of one problem from its mean score, or its prompt's state."""
        return float(self.fits[kind].predict([features])[0])

    def bins(self, kind: str, pass_at_1: float) -> tuple[int, int]:
        """By quantiles of the validation problems, and absolute."""
        return difficulty_bin(pass_at_1, self.quantile_edges[kind]), difficulty_bin(
            pass_at_1, self.absolute_edges
        )


def oracle_rates(results: Sequence[ProblemResult]) -> Floats | None:
    """Of the draws that no accuracy uses; None where a search made none."""
    if not all(result.difficulty.n for result in results):
        return None
    return np.array([result.difficulty.n_correct / result.difficulty.n for result in results])


def target_rates(results: Sequence[ProblemResult], n_draws: int) -> Floats:
    """What fits are made to: the share of right ones among all draws of the scored temperature but the first
    `n_draws`, whose scores are features. Raises InputError if there are no others.
    """
    rates = []
    for result in results:
        others = result.scored[n_draws:]
        n = len(others) + result.difficulty.n
        if not n:
            raise InputError(
                f"validation: {len(result.scored)} samples and no difficulty draws of problem "
                f"{result.problem.problem_id}; expected more than the {n_draws} whose scores are read"
            )
        rates.append((sum(each.is_correct for each in others) + result.difficulty.n_correct) / n)
    return np.array(rates)


def fit_predictor(
    features: Mapping[str, Floats],
    rates: Floats,
    models: Mapping[str, str],
    temperature: float,
    aggregation: Aggregation,
    n_draws: int,
) -> DifficultyPredictor:
    """`features` by kind of estimate (problem, feature), and pass rates, of validation problems."""
    fits = {kind: fit_pass_rates(rows, rates) for kind, rows in features.items()}
    predicted = {kind: fits[kind].predict(rows) for kind, rows in features.items()}
    edges = {
        kind: quantile_edges(values, N_QUINTILES) for kind, values in {ORACLE: rates, **predicted}.items()
    }
    return DifficultyPredictor(
        models=models,
        temperature=temperature,
        aggregation=aggregation,
        n_draws=n_draws,
        fits=fits,
        quantile_edges=edges,
        validation={kind: agreement(values, rates) for kind, values in predicted.items()},
    )


def with_fit(
    predictor: DifficultyPredictor, kind: str, fit: PassRateFit, features: Floats, rates: Floats
) -> DifficultyPredictor:
    """With a fit that was made elsewhere; its bins and what it is worth are those on validation problems."""
    predicted = fit.predict(features)
    return replace(
        predictor,
        fits={**predictor.fits, kind: fit},
        quantile_edges={**predictor.quantile_edges, kind: quantile_edges(predicted, N_QUINTILES)},
        validation={**predictor.validation, kind: agreement(predicted, rates)},
    )


def agreement(predicted: Floats, rates: Floats) -> Agreement:
    error = float(np.abs(predicted - rates).mean())
    return Agreement(error, rank_correlation(predicted, rates), len(rates))


def difficulties(
    predictor: DifficultyPredictor,
    results: Sequence[ProblemResult],
    features: Mapping[str, Floats],
    prompt_tokens: Sequence[int],
    costs: Costs,
) -> list[ProblemDifficulty]:
    """Of each problem, from the features of each kind (problem, feature)."""
    values = {kind: predictor.fits[kind].predict(rows) for kind, rows in features.items()}
    rates = oracle_rates(results)
    if rates is not None:
        values = {ORACLE: rates, **values}
    found = []
    for number, result in enumerate(results):
        estimates = {kind: float(each[number]) for kind, each in values.items()}
        bins = {kind: predictor.bins(kind, each) for kind, each in estimates.items()}
        paid = _costs(result, predictor.n_draws, prompt_tokens[number] if prompt_tokens else 0, costs)
        found.append(
            ProblemDifficulty(
                result.problem.problem_id,
                estimates,
                {kind: each for kind, (each, _) in bins.items()},
                {kind: each for kind, (_, each) in bins.items()},
                {kind: paid[kind] for kind in estimates},
                predictor.n_draws,
            )
        )
    return found


def _costs(result: ProblemResult, n_draws: int, n_prompt: int, costs: Costs) -> dict[str, TokensPerProblem]:
    drawn = result.difficulty.cost.policy
    n_read = result.cost_of_samples(result.temperature).policy.n_prefilled
    return {
        ORACLE: TokensPerProblem(drawn.n_generated, 0.0, drawn.n_prefilled),
        SCORE: costs.of_block(result.scored[:n_draws], n_read, "prm"),
        PROMPT: TokensPerProblem(0.0, 0.0, n_prompt),
    }


def mean_cost(found: Sequence[ProblemDifficulty], kind: str) -> TokensPerProblem:
    return mean(each.cost[kind] for each in found)


def read_difficulties(folder: Path, results: Sequence[ProblemResult]) -> list[ProblemDifficulty]:
    """Of these problems, in their order. Raises InputError if one has none."""
    found = {each.problem_id: each for each in read_records(folder / FILE, ProblemDifficulty)}
    missing = [result.problem.problem_id for result in results if result.problem.problem_id not in found]
    if missing:
        raise InputError(
            f"{folder / FILE}: no line for {len(missing)} of {len(results)} problems, as {missing[0]}; "
            "expected what `prm-train estimate-difficulty` wrote for this test"
        )
    return [found[result.problem.problem_id] for result in results]
