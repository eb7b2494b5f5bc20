"""What is wrong with a stored result of a search: with one that was made by hand, or for other settings."""

import math

from data_gen.records.steps import split_steps
from prm_train.search.results import SAMPLES, ProblemResult, StrategyRun
from prm_train.search.settings import SearchConfig
from prm_train.strategies.candidates import Candidate


def first_fault(result: ProblemResult, config: SearchConfig) -> str | None:
    """The first thing in which a result is not what a search with these settings stores, as the rest of a
    sentence, "… problem p has"; None where it is sound.
    """
    temperatures = {config.temperature, *config.other_temperatures}
    sizes = {len(candidates) for candidates in result.samples.values()}
    trees = {spec: tuple(runs) for spec, runs in result.trees.items()}
    if set(result.samples) != temperatures or sizes != {config.n_samples} or trees != config.tree_sizes:
        searches = ", ".join(f"{spec} N = {list(found)}" for spec, found in trees.items())
        return (
            f"{sizes} samples at T = {sorted(result.samples)} and searches {searches or 'of no tree'}; "
            "expected what config.json says"
        )
    if result.temperature != config.temperature:
        return f"scores at T = {result.temperature}; expected T = {config.temperature}, as config.json says"
    n_greedy = len(
        [candidate for run in result.runs if run.strategy == "greedy" for candidate in run.candidates]
    )
    if n_greedy != 1:
        return f"{n_greedy} greedy solutions; expected 1"
    n, n_correct = result.difficulty.n, result.difficulty.n_correct
    if n != config.n_difficulty_draws or not 0 <= n_correct <= n:
        return (
            f"{n_correct} right of {n} draws for its difficulty; expected up to {config.n_difficulty_draws}, "
            "as config.json says"
        )
    faults = (_fault_of_run(run, result, config.step_separator) for run in result.runs)
    return next((fault for fault in faults if fault is not None), None)


def _fault_of_run(run: StrategyRun, result: ProblemResult, separator: str) -> str | None:
    is_of_tree = run.spec in result.trees
    if is_of_tree and "aggregation" not in run.settings:
        return f"no aggregation among the settings of {run.spec}; expected how it made one score of many"
    is_scored = run.strategy == SAMPLES and run.temperature == result.temperature
    for candidate in run.candidates:
        fault = _fault_of_candidate(candidate, separator if is_scored else None)
        if fault is not None:
            return f"{fault} (candidate {candidate.index} of {run.spec} at T = {run.temperature:g})"
    return None


def _fault_of_candidate(candidate: Candidate, separator: str | None) -> str | None:
    """`separator` where its PRM scores must be those of its steps."""
    if not math.isfinite(candidate.logprob_sum):
        return f"logprob_sum {candidate.logprob_sum}; expected a finite log-probability"
    if candidate.text and not candidate.n_tokens:
        return "a text of 0 tokens; expected n_tokens and logprob_sum, which costs and log-prob rows read"
    for scorer, scores in candidate.scores.items():
        if not all(0 <= score <= 1 for score in scores):  # NaN is in no range
            return f"scores {list(scores)} of {scorer}; expected them in [0, 1]"
    scores = candidate.scores.get("prm", ())
    if scores and separator is not None:
        n_steps = len(split_steps(candidate.text, separator))
        if len(scores) != n_steps:
            return f"{len(scores)} PRM scores for {n_steps} steps; expected one a step"
    return None
