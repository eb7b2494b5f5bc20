"""What the formats share: what a loader returns, loading, and trees whose steps depend on those before
them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from data_gen.settings.errors import InputError
from prm_train.encoding.aggregation import Aggregation
from prm_train.scoring.incremental import IncrementalScorer, IncrementalTree, StepEncoding
from prm_train.scoring.protocol import UnreadableStepError
from prm_train.scoring.step_cache import StepNode


class PathEncoding(ABC):
    """An encoding in which the ids of a step depend on the steps before it: on their number, or on whether
    there are any.
    """

    @abstractmethod
    def encode_path(self, question: str, steps: Sequence[str]) -> tuple[int, ...]:
        """Ids up to the one at which the last step's score is read; without steps, those that every path of
        the question begins with.
        """

    def encode_head(self, question: str) -> tuple[int, ...]:
        return self.encode_path(question, ())

    def encode_step(self, step: str) -> tuple[int, ...]:
        raise TypeError(f"step {step!r:.60}: a {type(self).__name__} encodes whole paths")


@dataclass(frozen=True)
class ForeignPrm:
    """A token classifier of two classes (the second is the good one) in evaluation mode, and how to encode
    for it.
    """

    model: Any
    tokenizer: Any
    encoding: StepEncoding
    aggregation: Aggregation


class PathTree(IncrementalTree):
    """A tree whose nodes hold what the ids of their path have beyond those of their parent's."""

    def __init__(self, scorer: "PathScorer", question: str) -> None:
        self.question, self.encoding = question, scorer.path_encoding
        super().__init__(scorer, scorer.encode_head(question))
        self._steps: dict[StepNode, tuple[str, ...]] = {self.root: ()}

    def extend(self, parent: StepNode, step: str) -> StepNode:
        child = super().extend(parent, step)
        self._steps[child] = (*self._steps[parent], step)
        return child

    def encode_child(self, parent: StepNode, step: str) -> tuple[int, ...]:
        """Raises UnreadableStepError where the tokenizer has joined tokens across a step's beginning."""
        ids = self.encoding.encode_path(self.question, (*self._steps[parent], step))
        known = path_ids(parent)
        if ids[: len(known)] != known or len(ids) == len(known):
            raise UnreadableStepError(
                f"step {step!r:.60}: encoded behind {len(self._steps[parent])} steps it changes their ids; "
                "expected more ids"
            )
        return ids[len(known) :]


def path_ids(node: StepNode | None) -> tuple[int, ...]:
    """The ids from the head to the end of `node`."""
    pieces = []
    while node is not None:
        pieces.append(node.token_ids)
        node = node.parent
    return tuple(token for piece in reversed(pieces) for token in piece)


class PathScorer(IncrementalScorer):
    """An incremental scorer over a `PathEncoding`."""

    def __init__(self, model: Any, encoding: PathEncoding, **options: Any) -> None:
        super().__init__(model, encoding, **options)
        self.path_encoding = encoding

    def new_tree(self, question: str) -> PathTree:
        return PathTree(self, question)


def token_id(tokenizer: Any, token: str, path: str) -> int:
    """Raises InputError if the tokenizer has no such token."""
    found = tokenizer.get_vocab().get(token)
    if found is None:
        raise InputError(f"{path}: its tokenizer has no token {token!r}, which this format needs")
    return int(found)
