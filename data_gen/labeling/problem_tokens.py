"""How many tokens the prefixes of a problem have that labeling continues."""

from collections.abc import Callable, Sequence
from itertools import islice
from statistics import fmean

from data_gen.files.run_folder import read_records
from data_gen.labeling.settings import LabelSettings
from data_gen.records.solutions import GradedSolution, Problem
from data_gen.sampling.settings import SampleConfig

N_COUNTED = 100


def tokens_per_problem(
    sampling: SampleConfig, encode_prompt: Callable[[str], tuple[int, ...]], settings: LabelSettings
) -> float | None:
    """Their mean over the first hundred problems of a run: a prompt, its solutions and, for OmegaPRM, a
    rollout for each of its searches. None where nothing is sampled yet.
    """
    solutions = sampling.output / "solutions.jsonl"
    if not solutions.exists():
        return None
    lengths = [
        len(graded.solution.token_ids)
        for graded in islice(read_records(solutions, GradedSolution), N_COUNTED * sampling.n_samples)
    ]
    prompts = [
        len(encode_prompt(problem.question))
        for problem in islice(read_records(sampling.output / "problems.jsonl", Problem), N_COUNTED)
    ]
    if not lengths or not prompts:
        return None
    n_texts = sampling.n_samples + n_searched(settings)
    return fmean(prompts) + n_texts * fmean(lengths)


def most_tokens_per_problem(
    problems: Sequence[Problem],
    encode_prompt: Callable[[str], tuple[int, ...]],
    n_solutions: int,
    max_new_tokens: int,
) -> float | None:
    """Their number where nothing is sampled yet: the mean prompt, and `n_solutions` as long as they may be.
    None without problems.
    """
    prompts = [len(encode_prompt(problem.question)) for problem in problems[:N_COUNTED]]
    return fmean(prompts) + n_solutions * max_new_tokens if prompts else None


def n_searched(settings: LabelSettings) -> int:
    """How many rollouts of a problem are continued as its samples are: those that OmegaPRM searches."""
    return settings.omega_searches if settings.method == "omega" else 0
