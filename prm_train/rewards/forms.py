"""Scores of steps as credit, form by form, of one completion or of a group of them (all for one prompt).

A completion has K steps with scores s_1 … s_K in [0, 1] and an outcome R; G completions make a group. A
return to go is what a step and those after it earn. docs/rl.md says when each form holds and when it was seen
to fail.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def to_go(rewards: ArrayLike) -> Floats:
    """(K,) rewards of steps → (K,) what each step and those after it earn together."""
    return np.cumsum(np.asarray(rewards, dtype=float)[::-1])[::-1].copy()


def min_rewards(scores: ArrayLike, temperature: float) -> Floats:
    """(K,) → (K,): r_k · softmax_k(-r / temperature) with r = 2s - 1, whose sum is nearly the lowest r.

    PURE (Cheng et al. 2025, "Stop Summation", arXiv 2504.15275): the return to go of steps up to the worst
    one is nearly its r, behind it nearly 0, however many steps there are. The paper's temperature is 0.1; at
    0 the worst step (the first of equals) carries all.
    """
    r = 2 * np.asarray(scores, dtype=float) - 1
    if temperature == 0:
        weights = (np.arange(len(r)) == np.argmin(r)).astype(float)
    else:
        weights = np.exp((r.min() - r) / temperature)
        weights /= weights.sum()
    return r * weights


def progress(values: ArrayLike, start: float) -> Floats:
    """(K,) values → (K,): A_k = V_k - V_{k-1}, where V_0 = `start` is the value of the prompt.

    PAV (Setlur et al. 2024, "Rewarding Progress", arXiv 2410.08146, eq. 5): each step's gradient is weighted
    by Q + α A, with A under a prover policy: give the PRM whose labels are that policy's rollouts.
    """
    v = np.asarray(values, dtype=float)
    return np.diff(v, prepend=start)


def centred_rewards(scores: Sequence[ArrayLike], is_right: Sequence[bool]) -> list[Floats]:
    """Of a group: [(K_i,)] → [(K_i,)]: (s_ik - m) / K_i, where m is the mean over the completions of the same
    outcome, right or wrong, of their mean scores.

    PROGRS (Rezaei et al. 2026, arXiv 2604.02341) centres the wrong completions of a prompt so that a fluent
    wrong one earns nothing by being fluent; here the right ones are centred, too, so that the bonuses of both
    kinds sum to 0 and the outcome alone decides between them. A completion's bonus is at most 1 in size,
    however many steps it has.
    """
    arrays = [np.asarray(each, dtype=float) for each in scores]
    means = np.array([each.mean() for each in arrays])
    kind = np.asarray(is_right, dtype=bool)
    centre = np.where(kind, _mean(means[kind]), _mean(means[~kind]))
    return [(each - m) / len(each) for each, m in zip(arrays, centre, strict=True)]


def relative_drop(scores: ArrayLike) -> float:
    """The largest (s_k - s_{k+1}) / s_k, at least 0; 0 for a single step."""
    s = np.asarray(scores, dtype=float)
    return float(np.max((s[:-1] - s[1:]) / np.maximum(s[:-1], 1e-6), initial=0.0))


def gated(outcome: float, scores: ArrayLike, gamma: float, rho: float) -> float:
    """The outcome, times 1 - gamma where the scores drop by more than rho of their value from one step to the
    next.

    PS-GRPO (Luo et al. 2025, URSA, arXiv 2501.04686, section 4): 1 for right, 1 - gamma for right with a
    drop, 0 for wrong, with gamma = 0.5 and rho = 0.3.
    """
    return outcome * (1 - gamma) if relative_drop(scores) > rho else outcome


def consistent(scores: Sequence[ArrayLike], is_right: Sequence[bool], kept_share: float) -> NDArray[np.bool_]:
    """Of a group, (G,): which completions stay. The right ones with the highest and the wrong ones with the
    lowest mean scores do, `kept_share` of all (rounded up), as many right as wrong ones where there are
    enough of both.

    PROF (Ye et al. 2025, "Beyond Correctness", arXiv 2509.03403): the PRM chooses what to learn from and is
    never itself the reward.
    """
    means = np.array([np.asarray(each, dtype=float).mean() for each in scores])
    kind = np.asarray(is_right, dtype=bool)
    right, wrong = np.flatnonzero(kind), np.flatnonzero(~kind)
    n_kept = math.ceil(kept_share * len(means))
    n_right = min(len(right), max(n_kept - len(wrong), (n_kept + 1) // 2))
    kept = np.zeros(len(means), dtype=bool)
    kept[right[np.argsort(-means[right], kind="stable")][:n_right]] = True
    kept[wrong[np.argsort(means[wrong], kind="stable")][: n_kept - n_right]] = True
    return kept


def others_mean(values: ArrayLike) -> Floats:
    """(G,) → (G,): the mean of the others, the baseline that no action of one's own can move (leave one out);
    alone, one's own value, so that what is left is 0.
    """
    v = np.asarray(values, dtype=float)
    return (v.sum() - v) / (len(v) - 1) if len(v) > 1 else v.copy()


def above_others(returns: Sequence[Floats]) -> list[Floats]:
    """[(K_i,)] returns to go of a group → what they are above the mean return to go of the others, a single
    number for all steps of a completion.

    There is no baseline per step or index of a step: the number of terms that a completion then subtracts is
    chosen by where it stops, and the gradient is biased (verl issue 7244; PURE's policies wrote fewer steps).
    """
    baseline = others_mean([each.mean() for each in returns])
    return [each - b for each, b in zip(returns, baseline, strict=True)]


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else 0.0
