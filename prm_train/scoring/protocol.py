"""Scorers in use: what search asks of them. `prm_train.scoring.incremental` is the one that runs a model."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from data_gen.records.chats import Message
from data_gen.settings.errors import InputError, ProblemFaultError
from prm_train.encoding.aggregation import Aggregation


class PathTooLongError(InputError):
    """A question and its steps do not fit into the scorer's context."""


class UnreadableStepError(InputError, ProblemFaultError):
    """A step that the scorer cannot encode behind the steps before it."""


@dataclass(frozen=True)
class ScorerUsage:
    """Tokens a scorer computed anew, and tokens it read from its cache instead.

    `n_rescored` of the new ones are of steps that had been computed before, by a model whose paths must be
    computed whole. `n_pairs` are those of `scoring.work.Work`, of the new ones.
    """

    n_new: int = 0
    n_reused: int = 0
    n_rescored: int = 0
    n_pairs: int = field(default=0, compare=False)  # says nothing that the tokens and their places do not

    def __add__(self, other: "ScorerUsage") -> "ScorerUsage":
        return ScorerUsage(
            self.n_new + other.n_new,
            self.n_reused + other.n_reused,
            self.n_rescored + other.n_rescored,
            self.n_pairs + other.n_pairs,
        )


class ScoringTree(Protocol):
    """One problem's tree of steps. `root` is the head (the question); a step text has no separator at its
    end.
    """

    root: Any
    usage: ScorerUsage

    def extend(self, parent: Any, step: str) -> Any:
        """The child of `parent` with this step; the same text gives the same node. Computes nothing yet."""
        ...

    async def score(self, node: Any) -> float:
        """The score in [0, 1] at the end of the node's step; ancestors are computed on the way and keep their
        scores.
        """
        ...


@runtime_checkable
class CountedTree(Protocol):
    """A `ScoringTree` that says what a path costs, so that the cost of any set of paths can be worked out."""

    def path_tokens(self, nodes: Sequence[Any]) -> tuple[int, ...]:
        """Tokens to compute for the path of these nodes, which begins with the root: those of each node, if
        it is computed once for all paths that share it; one number, if the path is computed whole.
        """
        ...


@runtime_checkable
class ChatScorer(Protocol):
    """A `Scorer` that can be shown earlier attempts; `sees_attempts` says whether it was trained so."""

    scores_steps: bool
    sees_attempts: bool

    def chat_session(self, messages: Sequence[Message]) -> AbstractAsyncContextManager["ScoringTree"]:
        """A tree behind a chat (`data_gen.records.chats`). Raises PathTooLongError if the chat alone fills
        the scorer's context.
        """
        ...


class Scorer(Protocol):
    """A trained PRM (`scores_steps`) or ORM (scores finished paths only)."""

    scorer_id: str
    scores_steps: bool
    aggregation: Aggregation  # how its step scores make the score of a path

    def session(self, question: str) -> AbstractAsyncContextManager["ScoringTree"]:
        """`async with scorer.session(question) as tree`: closing it frees the tree's cache."""
        ...
