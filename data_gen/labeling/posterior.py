"""Where is the first error? Bayesian search over a wrong solution with as few generated tokens as possible.

The model of a wrong solution of K steps, all of whose unknowns have a stated prior:

- the first error e is any of the K steps with equal probability, or with the one that is believed already
  (`StepPath.believed`): a PRM's, or that of a solution whose first steps are known to be right;
- V, the value of the prompt, has the posterior Beta(1 + c, 1 + n - c) of the problem's own n samples, c of
  them right;
- before the error the value after step i is V^(1 - d (i + 1) / K): constant (d = 0), or rising as it does for
  a policy that is as likely to err at each step (d = 1); both with probability 1/2;
- from the error on the value is a share of what it was: 0 with probability 1/2, a small share otherwise (the
  policy sometimes recovers).

A rollout after step i succeeds with that value, so each draw multiplies a table over (e, V, d, share) by its
likelihood. The next rollout starts where the expected information about e is greatest per token it will cost
(Lindley 1956): late prefixes are cheap, early ones are asked only where they tell. A success is evidence here
and no proof: a lucky rollout after the error does not settle the label, as it does in a search that asks
whether any rollout succeeds. The solutions of a problem are labeled one after the other: rollouts after the
good steps of one say what V is for the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

N_VALUES = 24  # grid points of V
DRIFTS = {0.0: 0.5, 1.0: 0.5}  # d and its prior
# Share of the value that survives the error, and its prior
SHARES = {0.0: 0.5, 0.02: 0.2, 0.06: 0.15, 0.15: 0.1, 0.3: 0.05}

_SHARES = np.array(list(SHARES))


@dataclass(frozen=True)
class ErrorModel:
    """The grid for solutions of K steps: G combinations of (V, d, share), and the value after each of the
    first K - 1 steps.
    """

    log_prior: Array  # (G,) of the share
    before: Array  # (K - 1, G) value after a step before the error
    after: Array  # (K - 1, G) value after the error or a later step
    before_by_value: Array  # (K - 1, G / shares) the distinct columns of `before`


def _value_before(done: float) -> Array:
    """(V, d) grid of the value of a prefix without error that is this share of a solution."""
    values = (np.arange(N_VALUES) + 0.5) / N_VALUES
    result: Array = values[:, None] ** (1 - np.array(list(DRIFTS)) * done)
    return np.clip(result, 1e-9, 1 - 1e-9)


@lru_cache(maxsize=256)
def error_model(n_steps: int) -> ErrorModel:
    n_shares, n_cells = len(SHARES), N_VALUES * len(DRIFTS)
    by_value = np.empty((n_steps - 1, n_cells))
    for i in range(n_steps - 1):
        by_value[i] = _value_before((i + 1) / n_steps).ravel()
    before = np.repeat(by_value, n_shares, axis=1)
    after = np.clip(before * np.tile(_SHARES, n_cells), 1e-9, 1)  # never quite 0: a grader may err
    return ErrorModel(np.tile(np.log(list(SHARES.values())), n_cells), before, after, by_value)


@dataclass
class PromptEvidence:
    """What a problem's samples, and the rollouts after its solutions' steps, say of V and d.

    `outcomes` holds the rollouts of each prefix in the order of their indices, `good` how much of a solution
    each prefix is that was found to hold no error: its rollouts inform every solution that it is no part of.
    Solutions that it is part of have its rollouts for nothing.
    """

    n_correct: int
    n_total: int
    outcomes: dict[tuple[int, ...], list[bool]] = field(default_factory=dict)
    good: dict[tuple[int, ...], float] = field(default_factory=dict)

    def belief(self, own: set[tuple[int, ...]]) -> Array:
        """Log-weights of the (V, d) grid for a solution with these prefixes."""
        root = _value_before(0)
        result: Array = (
            np.log(list(DRIFTS.values()))
            + self.n_correct * np.log(root)
            + (self.n_total - self.n_correct) * np.log1p(-root)
        )
        for prefix, done in self.good.items():
            if prefix not in own:
                n_right, value = sum(self.outcomes[prefix]), _value_before(done)
                result += n_right * np.log(value) + (len(self.outcomes[prefix]) - n_right) * np.log1p(-value)
        return result


class FirstErrorPosterior:
    """What is known of the first error of a wrong solution of `n_steps` steps. `belief`: log-weights of the
    (V, d) grid; `believed` (K,): the probability of each step to be the first error before any rollout, None:
    the same for all.
    """

    def __init__(self, n_steps: int, belief: Array, believed: Sequence[float] | None = None) -> None:
        self._model = model = error_model(n_steps)
        log_weights = model.log_prior + np.repeat(belief, len(SHARES))
        self._log_weights = np.tile(log_weights, (n_steps, 1))  # (K, G)
        if believed is not None:
            self._log_weights += np.log(np.maximum(believed, 1e-300))[:, None]
        # (K - 1, K): step i comes before the error e
        self._is_before = np.arange(n_steps - 1)[:, None] < np.arange(n_steps)
        self._normalize()

    def _normalize(self) -> None:
        self._log_weights -= self._log_weights.max()
        self._weights = np.exp(self._log_weights)
        self._weights /= self._weights.sum()
        self.probabilities: Array = self._weights.sum(axis=1)  # (K,) of each step to be the first error

    def observe(self, step: int, is_success: bool) -> None:
        """Take in a rollout that started after `step` (the last step of a finished solution has none)."""
        before, after = self._model.before[step], self._model.after[step]
        log_before, log_after = (
            (np.log(before), np.log(after)) if is_success else (np.log1p(-before), np.log1p(-after))
        )
        self._log_weights[: step + 1] += log_after
        self._log_weights[step + 1 :] += log_before
        self._normalize()

    def next_step(self, costs: Array) -> int:
        """The step after which a rollout tells most about the error, per token: `costs` (K - 1,) are the
        tokens it is expected to take.
        """
        by_share = self._weights.reshape(len(self.probabilities), -1, len(SHARES))
        before, after = (
            (self._model.before_by_value @ (by_share @ share).T) for share in (np.ones(len(SHARES)), _SHARES)
        )
        joint = np.where(self._is_before, before, after)  # (K - 1, K): P(success, e)
        success = joint.sum(axis=1)
        expected = success * _entropy(joint / success[:, None])
        rest = np.maximum(self.probabilities - joint, 0)
        expected += (1 - success) * _entropy(rest / rest.sum(axis=1, keepdims=True))
        return int(np.argmax((_entropy(self.probabilities) - expected) / costs))


def _entropy(probabilities: Array) -> Array:
    """In nats, over the last axis."""
    logs = np.log(np.maximum(probabilities, 1e-300))
    result: Array = -np.einsum("...i,...i->...", probabilities, logs)
    return result
