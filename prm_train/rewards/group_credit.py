"""Outcomes and step scores of the completions of a prompt → credit of their steps, by the rules of a form."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from data_gen.settings.errors import InputError
from prm_train.rewards.completion_scores import CompletionScores
from prm_train.rewards.forms import (
    Floats,
    above_others,
    centred_rewards,
    consistent,
    gated,
    min_rewards,
    others_mean,
    progress,
    to_go,
)

# `hacked_sum` is for the recipe that shows how it collapses
Form = Literal["min", "advantage", "outcome_centred", "gate", "filter", "hacked_sum"]
NEED_OUTCOME = ("outcome_centred", "gate", "filter")
UNKNOWN_OUTCOME, FILTERED = "outcome unknown", "filtered"
Outcome = float | None
EPSILON = 1e-4  # as TRL adds it to a standard deviation


@dataclass(frozen=True)
class CreditRules:
    """A form and its numbers. Raises InputError for what cannot be, and for the raw sum of scores."""

    form: Form
    step_weight: float = 1.0  # of the credit from step scores
    outcome_weight: float = 1.0  # 0: outcomes are not read, unless the form needs them
    temperature: float = 0.1  # of min: 0 gives all to the worst step
    gamma: float = 0.5  # of gate: what a drop costs of the outcome
    rho: float = 0.3  # of gate: from which share of a score on a fall is a drop
    kept_share: float = 0.5  # of filter
    right_from: float = 0.5  # outcomes of at least so much are right ones

    def __post_init__(self) -> None:
        if str(self.form) == "sum":
            raise InputError(
                "form: got sum, the sum of step scores. It grows with the number of steps: policies learn to "
                "write more of them and collapse; expected min, advantage, outcome_centred, gate or filter "
                "(to watch it happen: hacked_sum)"
            )
        if self.form not in get_args(Form):
            raise InputError(f"form: got {self.form!r}, expected {', '.join(get_args(Form)[:-1])}")
        for name in ("step_weight", "outcome_weight", "temperature"):
            if not 0 <= getattr(self, name) < np.inf:
                raise InputError(f"{name}: got {getattr(self, name)}, expected 0 or more")
        for name in ("gamma", "rho", "kept_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name}: got {getattr(self, name)}, expected 0 to 1")

    @property
    def reads_outcomes(self) -> bool:
        return self.outcome_weight > 0 or self.form in NEED_OUTCOME

    def is_right(self, outcome: Outcome) -> bool:
        return outcome is not None and outcome >= self.right_from


@dataclass(frozen=True)
class Credit:
    """Of each completion, (K_i,) for its steps: `advantages`, outcome and baseline included, for trainers
    that take them, and `rewards`, which sum to what the completion earns, for trainers with a baseline of
    their own. Of those that are `excluded`, for the reason given, both are 0, or empty without scores.
    """

    advantages: tuple[Floats, ...]
    rewards: tuple[Floats, ...]
    excluded: tuple[str | None, ...]


def credit_of_group(
    rules: CreditRules,
    outcomes: Sequence[Outcome],
    scores: Sequence[CompletionScores],
    scale: bool = False,
) -> Credit:
    """`scale` divides the outcome's part by the standard deviation of the group's outcomes, as GRPO does."""
    excluded = _excluded(rules, outcomes, scores)
    kept = [n for n, reason in enumerate(excluded) if reason is None]
    steps = [np.asarray(scores[n].scores, dtype=float) for n in kept]
    earned = np.array([_earned(rules, outcomes[n], each) for n, each in zip(kept, steps, strict=True)])
    above = rules.outcome_weight * (earned - others_mean(earned))
    if scale and len(kept) > 1:
        above = above / (earned.std(ddof=1) + EPSILON)
    rewards = _step_rewards(rules, steps, [rules.is_right(outcomes[n]) for n in kept])
    # A step's progress is an advantage as it is; of the others, what comes after counts
    credits = rewards if rules.form == "advantage" else above_others([to_go(each) for each in rewards])

    advantages = [np.zeros(len(each.scores)) for each in scores]
    all_rewards = [np.zeros(len(each.scores)) for each in scores]
    for place, n in enumerate(kept):
        advantages[n] = above[place] + rules.step_weight * credits[place]
        all_rewards[n] = rules.step_weight * rewards[place]
        all_rewards[n][-1] += rules.outcome_weight * earned[place]
    return Credit(tuple(advantages), tuple(all_rewards), tuple(excluded))


def weighted_outcomes(rewards: ArrayLike, weights: ArrayLike) -> list[Outcome]:
    """(B, F) of several reward functions, NaN where one is unknown, and (F,) → the weighted sum of the known
    ones of each completion; None where all are unknown.
    """
    each = np.asarray(rewards, dtype=float)
    sums = np.nansum(each * np.asarray(weights, dtype=float), axis=1)
    is_known = ~np.isnan(each).all(axis=1)
    return [float(total) if known else None for total, known in zip(sums, is_known, strict=True)]


def rewards_of_one(rules: CreditRules, outcome: Outcome, scored: CompletionScores) -> Floats | None:
    """(K,): the rewards of a completion whose group is not known (`advantage`: with a prompt of value 0,
    which a baseline takes out). None where something is unknown. Raises InputError for forms that need the
    group.
    """
    if rules.form in ("outcome_centred", "filter"):
        raise InputError(f"form {rules.form}: compares completions of one prompt; expected them together")
    if scored.failure or (outcome is None and rules.reads_outcomes):
        return None
    steps = np.asarray(scored.scores, dtype=float)
    own = progress(steps, 0.0) if rules.form == "advantage" else _step_rewards(rules, [steps], [False])[0]
    rewards: Floats = rules.step_weight * own
    rewards[-1] += rules.outcome_weight * _earned(rules, outcome, steps)
    return rewards


def _excluded(
    rules: CreditRules, outcomes: Sequence[Outcome], scores: Sequence[CompletionScores]
) -> list[str | None]:
    excluded = [
        each.failure or (UNKNOWN_OUTCOME if outcome is None and rules.reads_outcomes else None)
        for outcome, each in zip(outcomes, scores, strict=True)
    ]
    if rules.form == "filter":
        known = [n for n, reason in enumerate(excluded) if reason is None]
        are_right = [rules.is_right(outcomes[n]) for n in known]
        stays = consistent([scores[n].scores for n in known], are_right, rules.kept_share)
        for n, stay in zip(known, stays, strict=True):
            excluded[n] = None if stay else FILTERED
    return excluded


def _earned(rules: CreditRules, outcome: Outcome, steps: Floats) -> float:
    if outcome is None:  # where it is not read
        return 0.0
    return gated(outcome, steps, rules.gamma, rules.rho) if rules.form == "gate" else outcome


def _step_rewards(rules: CreditRules, steps: Sequence[Floats], are_right: Sequence[bool]) -> list[Floats]:
    match rules.form:
        case "min":
            return [min_rewards(each, rules.temperature) for each in steps]
        case "advantage":
            starts = others_mean([each[0] for each in steps])
            return [progress(each, start) for each, start in zip(steps, starts, strict=True)]
        case "outcome_centred":
            return centred_rewards(steps, are_right)
        case "hacked_sum":
            return [each.copy() for each in steps]
    return [np.zeros(len(each)) for each in steps]  # gate and filter act on outcomes
