"""Where is the first error? Bayesian search over a wrong solution with as few generated tokens as possible.

The model of a wrong solution of K steps, all of whose unknowns have a stated prior:

- the first error e is any of the K steps with equal probability;
- V, the value of the prompt, has the posterior Beta(1 + c, 1 + n - c) of the problem's own n samples, c of them right;
- before the error the value after step i is V^(1 - d (i + 1) / K): constant (d = 0), or rising as it does for a policy that is as likely to
  err at each step (d = 1); both with probability 1/2;
- from the error on the value is a share of what it was: 0 with probability 1/2, a small share otherwise (the policy sometimes recovers).

A rollout after step i succeeds with that value, so each draw multiplies a table over (e, V, d, share) by its likelihood. The next rollout
starts where the expected information about e is greatest per token it will cost: late prefixes are cheap, early ones are asked only where
they tell. A success is evidence here and no proof: a lucky rollout after the error does not settle the label, as it does in a search that
asks whether any rollout succeeds. Adaptive group testing in this form goes back to Lindley (1956).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

N_VALUES = 24  # grid points of V
DRIFTS = {0.0: 0.5, 1.0: 0.5}  # d and its prior
SHARES = {0.0: 0.5, 0.02: 0.2, 0.06: 0.15, 0.15: 0.1, 0.3: 0.05}  # share of the value that survives the error, and its prior


@dataclass(frozen=True)
class ErrorModel:
    """The grid for solutions of K steps: G combinations of (V, d, share), and the value after each of the first K - 1 steps."""

    value: Array  # (G,) V
    log_prior: Array  # (G,) of d and share; V's is added with the counts of the root
    before: Array  # (K - 1, G) value after a step before the error
    after: Array  # (K - 1, G) value after the error or a later step


@lru_cache(maxsize=256)
def error_model(n_steps: int) -> ErrorModel:
    values = (np.arange(N_VALUES) + 0.5) / N_VALUES
    value, drift, share = (axis.ravel() for axis in np.meshgrid(values, list(DRIFTS), list(SHARES), indexing="ij"))
    prior = np.outer(list(DRIFTS.values()), list(SHARES.values())).ravel()
    done = (np.arange(n_steps - 1)[:, None] + 1) / n_steps
    before = np.clip(value ** (1 - drift * done), 1e-9, 1 - 1e-9)
    after = np.clip(before * share, 1e-9, 1)  # never quite 0: a grader may err
    return ErrorModel(value, np.tile(np.log(prior), N_VALUES), before, after)


class FirstErrorPosterior:
    """What is known of the first error of a wrong solution of `n_steps` steps; `root_correct` of `root_total` samples were right."""

    def __init__(self, n_steps: int, root_correct: int, root_total: int) -> None:
        self._model = model = error_model(n_steps)
        log_root = root_correct * np.log(model.value) + (root_total - root_correct) * np.log1p(-model.value)
        self._log_weights = np.tile(model.log_prior + log_root, (n_steps, 1))  # (K, G)
        self._is_before = np.arange(n_steps - 1)[:, None] < np.arange(n_steps)  # (K - 1, K): step i comes before the error e
        self._normalize()

    def _normalize(self) -> None:
        self._log_weights -= self._log_weights.max()
        self._weights = np.exp(self._log_weights)
        self._weights /= self._weights.sum()
        self.probabilities: Array = self._weights.sum(axis=1)  # (K,) of each step to be the first error

    def observe(self, step: int, is_success: bool) -> None:
        """Take in a rollout that started after `step` (the last step of a finished solution has none)."""
        before, after = self._model.before[step], self._model.after[step]
        log_before, log_after = (np.log(before), np.log(after)) if is_success else (np.log1p(-before), np.log1p(-after))
        self._log_weights[: step + 1] += log_after
        self._log_weights[step + 1 :] += log_before
        self._normalize()

    def next_step(self, costs: Array) -> int:
        """The step after which a rollout tells most about the error, per token: `costs` (K - 1,) are the tokens it is expected to take."""
        joint = np.where(self._is_before, self._model.before @ self._weights.T, self._model.after @ self._weights.T)  # P(success, e)
        success = joint.sum(axis=1)
        expected = success * _entropy(joint / success[:, None])
        rest = np.maximum(self.probabilities - joint, 0)
        expected += (1 - success) * _entropy(rest / rest.sum(axis=1, keepdims=True))
        return int(np.argmax((_entropy(self.probabilities) - expected) / costs))


def _entropy(probabilities: Array) -> Array:
    """In nats, over the last axis."""
    result: Array = -(probabilities * np.log(np.maximum(probabilities, 1e-300))).sum(axis=-1)
    return result
