"""`prm-train estimate-difficulty`: how hard each problem of a search is for its policy, from its held-out
draws (which need the gold answer) and predicted from a few scored draws and from its prompt.

The predictions are fitted on the problems of one search, for those of another. difficulty.json holds the
fits and what they are worth, difficulty.jsonl a line for each problem, for `prm-train evaluate --difficulty`.
"""

import logging
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from data_gen.files.result_tables import result_table
from data_gen.files.run_folder import read_records, write_records
from data_gen.files.run_identity import check_folder, read_models
from data_gen.files.stored_record import StoredRecord
from data_gen.models.names import check_inputs
from data_gen.records.solutions import GradedSolution, Problem
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command
from prm_train.encoding.aggregation import Aggregation
from prm_train.evaluation.costs import Costs
from prm_train.evaluation.difficulty import (
    FILE,
    PREDICTOR_FILE,
    DifficultyPredictor,
    ProblemDifficulty,
    agreement,
    difficulties,
    fit_predictor,
    mean_cost,
    oracle_rates,
    target_rates,
    with_fit,
)
from prm_train.evaluation.shards import FinishedSearch, check_chosen_for, read_search
from prm_train.metrics.difficulty import PassRateFit, fit_pass_rates, rank_correlation
from prm_train.scoring.flops import own_model
from prm_train.search.allocation import PROMPT, SCORE, mean_final_score
from prm_train.search.failures import failures_in_words
from prm_train.search.model_flops import models_flops
from prm_train.search.model_work import has_tokens

if TYPE_CHECKING:
    from prm_train.metrics.difficulty import Floats

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EstimateDifficultyConfig:
    """Estimate how hard the problems of a search are for its policy."""

    validation: tuple[Path, ...] = field(
        metadata={"is_input": True, "help": "folders of `prm-train search` on the problems to fit on"}
    )
    test: tuple[Path, ...] = field(
        metadata={"is_input": True, "help": "folders of `prm-train search` on the problems to estimate"}
    )
    output: Path = field(metadata={"help": "folder for difficulty.json and difficulty.jsonl"})
    n_draws: int = field(
        default=8, metadata={"help": "how many of the first scored samples of a problem tell its difficulty"}
    )
    aggregation: Aggregation | None = field(
        default=None,
        metadata={
            "help": "how the step scores of a sample become one; null: the way whose means rank the "
            "validation problems best"
        },
    )
    prompt_head: bool = field(
        default=True,
        metadata={"help": "also predict from the policy's mean state of the prompt, for which it is loaded"},
    )
    samples: tuple[Path, ...] = field(
        default=(),
        metadata={
            "is_input": True,
            "help": "folders of `prm-train sample` on training problems, by the same policy at the same "
            "temperature, to fit the prediction from prompts on; none: on the problems of validation",
        },
    )
    policy: str | None = field(
        default=None,
        metadata={"help": "where the policy is now; null: where the search found it", "is_execution": True},
    )
    device: str = field(default="cpu", metadata={"help": "device of the policy", "is_execution": True})

    def __post_init__(self) -> None:
        if self.n_draws < 1:
            raise ValueError(f"n_draws: got {self.n_draws}, expected 1 or more")
        if self.samples and not self.prompt_head:
            raise ValueError("samples: got some, but prompt_head is false, expected none")


@dataclass(frozen=True)
class SampledAt(StoredRecord):
    """The part of a sampled run's config.json that says at which temperature."""

    WRITTEN_BY = "`prm-train sample`"

    temperature: float


class PromptReader:
    """The policy of a search, as a reader of prompts."""

    def __init__(self, search: FinishedSearch, policy: str | None, device: str) -> None:
        """`policy` is where it is now (None: where the search found it). Raises InputError where it runs in
        no transformers model here, or is another one by now.
        """
        settings = replace(search.config.policy, device=device)
        settings = replace(settings, model=policy or settings.model)
        if settings.servers or settings.engine != "transformers" or settings.name == "simulated":
            raise InputError(
                f"prompt_head: the policy {settings.name} ran outside of this process; expected the engine "
                "transformers, or --prompt_head false"
            )
        self.policy = settings.load()
        if self.policy.policy_id != search.models["policy"]:
            raise InputError(
                f"policy {settings.name}: is {self.policy.policy_id}; expected {search.models['policy']}, "
                f"which searched {','.join(map(str, search.folders))}"
            )
        self.model: Any = own_model(self.policy)

    def read(self, questions: Sequence[str]) -> "tuple[Floats, list[int]]":
        """The state of each prompt (problem, hidden), and its tokens; a prompt that is too long for the
        policy is cut off at its end.
        """
        from prm_train.scoring.prompt_states import mean_hidden_state

        prompts = [self.policy.encode_prompt(each)[: self.policy.context_length] for each in questions]
        states = [mean_hidden_state(self.model.eval(), prompt).numpy() for prompt in prompts]
        return np.array(states, dtype=np.float64), [len(prompt) for prompt in prompts]


def fit_on_samples(
    folders: Sequence[Path], test: FinishedSearch, reader: PromptReader
) -> tuple[PassRateFit, int]:
    """The prediction from prompts, fitted on the problems of sampled runs, and how many they are.

    Raises InputError for a run of another policy or temperature, and for a question that is a test question.
    """
    rates: dict[str, float] = {}
    tested = {each.problem.question for each in test.results}
    for folder in folders:
        policy_id = read_models(folder).get("policy")
        if policy_id != test.models["policy"]:
            raise InputError(
                f"samples: the policy of {folder} is {policy_id}; expected {test.models['policy']}, which "
                "searched"
            )
        temperature = SampledAt.read(folder / "config.json").temperature
        if temperature != test.config.temperature:
            raise InputError(
                f"samples: {folder} was sampled at T = {temperature}; expected that of the search, "
                f"T = {test.config.temperature}"
            )
        verdicts: dict[str, list[bool]] = {}
        for each in read_records(folder / "solutions.jsonl", GradedSolution):
            verdicts.setdefault(each.solution.problem_id, []).append(each.verdict.is_correct)
        for problem in read_records(folder / "problems.jsonl", Problem):
            if problem.question in tested:
                raise InputError(
                    f"{folder / 'problems.jsonl'}: {problem.question!r:.80} is a test question; expected "
                    "others"
                )
            if problem.problem_id in verdicts:
                right = verdicts[problem.problem_id]
                rates[problem.question] = sum(right) / len(right)
    states, _ = reader.read(list(rates))
    return fit_pass_rates(states, list(rates.values())), len(rates)


def best_aggregation(search: FinishedSearch, n_draws: int) -> Aggregation:
    """The way whose mean scores rank the problems most like their pass rates; of equals the first."""
    rates = target_rates(search.results, n_draws)

    def worth(how: Aggregation) -> float:
        means = [mean_final_score(each.scored[:n_draws], how) for each in search.results]
        return rank_correlation(means, rates) or 0.0

    ways: tuple[Aggregation, ...] = get_args(Aggregation)
    return max(ways, key=worth)


def read_features(
    search: FinishedSearch, n_draws: int, how: Aggregation | None, reader: PromptReader | None
) -> "tuple[dict[str, Floats], list[int]]":
    """By kind of estimate (problem, feature), of scores where `how` makes one of them; and the tokens of the
    prompts, if they were read.
    """
    features, n_prompt = {}, list[int]()
    if how is not None:
        means = [mean_final_score(each.scored[:n_draws], how) for each in search.results]
        features[SCORE] = np.array(means)[:, None]
    if reader is not None:
        features[PROMPT], n_prompt = reader.read([each.problem.question for each in search.results])
    return features, n_prompt


def read_searches(config: EstimateDifficultyConfig) -> tuple[FinishedSearch, FinishedSearch]:
    """Those of validation and test. Validation problems that failed are left out: that nothing solved them
    says nothing of how hard they are.
    """
    validation, test = read_search(config.validation), read_search(config.test)
    check_chosen_for(validation, test)
    shared = {each.problem.question for each in validation.results} & {
        each.problem.question for each in test.results
    }
    if shared:
        raise InputError(
            f"{len(shared)} test questions are validation questions too; expected none: {min(shared)!r:.80}"
        )
    if config.n_draws > test.config.n_samples:
        raise InputError(
            f"n_draws: got {config.n_draws}; expected at most n_samples, {test.config.n_samples}"
        )
    if test.config.prm is None and not config.prompt_head:
        raise InputError("nothing to predict from: the searches had no PRM and prompt_head is false")
    failed = {each.problem.problem_id: each.failure for each in validation.results if each.failure}
    if failed:
        words = failures_in_words(failed, len(validation.results))
        logger.warning("validation: left out of the fits: %s", words)
    answered = tuple(each for each in validation.results if not each.failure)
    if len(answered) < 3:
        raise InputError(f"validation: {len(answered)} problems to fit on; expected at least 3")
    return replace(validation, results=answered), test


def estimate(
    config: EstimateDifficultyConfig,
) -> tuple[DifficultyPredictor, list[ProblemDifficulty], frozenset[str]]:
    """The fits, the estimates of all test problems, and the ids of those whose search failed."""
    validation, test = read_searches(config)
    reader = PromptReader(test, config.policy, config.device) if config.prompt_head else None
    how = config.aggregation or best_aggregation(validation, config.n_draws)
    of_scores = how if test.config.prm is not None else None
    features, _ = read_features(validation, config.n_draws, of_scores, reader)
    rates_of_validation = target_rates(validation.results, config.n_draws)
    predictor = fit_predictor(
        features,
        rates_of_validation,
        {name: test.models[name] for name in ("policy", "prm") if name in test.models},
        test.config.temperature,
        how,
        config.n_draws,
    )
    if config.samples and reader is not None:
        fit, n_problems = fit_on_samples(config.samples, test, reader)
        logger.info("the prediction from prompts is fitted on %d sampled problems", n_problems)
        predictor = with_fit(predictor, PROMPT, fit, features[PROMPT], rates_of_validation)
    features, n_prompt = read_features(test, config.n_draws, of_scores, reader)
    rates = oracle_rates(test.results)
    if rates is not None:
        known = np.array([not each.failure for each in test.results])
        worth = {
            kind: agreement(predictor.fits[kind].predict(rows[known]), rates[known])
            for kind, rows in features.items()
        }
        predictor = replace(predictor, test=worth)
    if SCORE in features:
        _warn_of_lost_tokens(test)
    costs = Costs(test.results, test.config.step_separator, models_flops(test.config))
    failed = frozenset(each.problem.problem_id for each in test.results if each.failure)
    return predictor, difficulties(predictor, test.results, features, n_prompt, costs), failed


def _warn_of_lost_tokens(test: FinishedSearch) -> None:
    if not has_tokens([each for result in test.results for each in result.scored], "prm"):
        logger.warning(
            "%s: the search did not store the PRM's tokens of each step, so the cost of the %s estimate "
            "lacks them",
            ",".join(map(str, test.folders)),
            SCORE,
        )


def table(predictor: DifficultyPredictor, found: Sequence[ProblemDifficulty], failed: Container[str]) -> str:
    """What each kind of estimate is worth, for a person. The costs are those of problems that were answered:
    of the others nobody knows what they would have cost.
    """
    answered = [each for each in found if each.problem_id not in failed]
    n_failed = len(found) - len(answered)
    rows = {"problems": f"{len(found):,}" + (f", of which {n_failed:,} failed" if n_failed else "")}
    for kind in predictor.fits:
        worth = predictor.test.get(kind)
        cost = mean_cost(answered, kind).total
        rows[kind] = (
            f"{cost:,.0f} tokens a problem"
            if worth is None
            else f"{cost:,.0f} tokens a problem, rank correlation with held-out pass@1 "
            f"{'–' if worth.rank_correlation is None else format(worth.rank_correlation, '.2f')}, mean error "
            f"{worth.mean_absolute_error:.3f}"
        )
    return result_table(rows)


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(EstimateDifficultyConfig, argv)
    check_inputs(config)
    check_folder(config.output)
    predictor, found, failed = estimate(config)
    config.output.mkdir(parents=True, exist_ok=True)
    write_records(config.output / FILE, ProblemDifficulty, found)
    predictor.write(config.output / PREDICTOR_FILE)
    logger.info("%s:\n%s", config.output / PREDICTOR_FILE, table(predictor, found, failed))


if __name__ == "__main__":
    run_command(main, "estimate-difficulty")
