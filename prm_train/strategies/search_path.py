"""A path of a search in a tree."""

from dataclasses import dataclass

from data_gen.records.sampling import FinishReason
from prm_train.encoding.aggregation import Aggregation, aggregate, log_score


@dataclass(frozen=True)
class SearchPath:
    """A path of the search: what was written after the prompt, and the scores of its steps; of an open one,
    of those that have ended.

    `logprobs` are the policy's, one a token; `step_logprobs` their sums, one a draw. A path stands for
    `multiplicity` equal copies. `log_weight` is the logarithm of the weight of each of them, which the
    strategy gives a meaning; a product of many scores has no other form that does not vanish.
    """

    token_ids: tuple[int, ...] = ()
    text: str = ""
    scores: tuple[float, ...] = ()
    logprobs: tuple[float, ...] = ()
    finish_reason: FinishReason | None = None  # None: open, its last draw was stopped by the separator
    step_logprobs: tuple[float, ...] = ()
    multiplicity: int = 1
    log_weight: float = 0.0

    @property
    def is_open(self) -> bool:
        return self.finish_reason is None

    def log_score(self, how: Aggregation) -> float:
        """The logarithm of the path's score; 0.0 before the first one."""
        return log_score(aggregate(self.scores, how)) if self.scores else 0.0
