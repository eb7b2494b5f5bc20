"""What a search in a tree did: every step that it drew, in the order in which it drew them. And who is told
of it while a search goes on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from data_gen.records.sampling import FinishReason
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.search_path import SearchPath


class SearchWatch:
    """Is told what a search does while it does it, and changes nothing of it. This one lets it pass."""

    def begin(self, strategy: str, n: int) -> None:
        """A search begins; a question may have several."""

    def round(self, paths: Sequence[SearchPath], shares: Sequence[int]) -> None:
        """Of each path so many next steps are drawn now; open paths that are not among them wait, or were
        left for good.
        """

    def step(self, parent: SearchPath, child: SearchPath) -> None:
        """A next step was drawn and scored, in the order in which they are ready."""

    def sample(self, candidate: Candidate) -> None:
        """A whole sample was drawn; or it has been scored, of which it is told once more."""

    def spend(self, n_generated: int, n_scored: int) -> None:
        """Tokens that policy and scorer have computed for this search so far."""

    def vote(self, candidates: Sequence[Candidate], weights: Sequence[float | None]) -> None:
        """The search has ended: what its paths weigh in the vote (None: no part in it)."""


UNWATCHED = SearchWatch()


@dataclass(frozen=True)
class TraceNode:
    """A step behind the step `parent` (None: a first step), drawn `n_draws` times with the same tokens.

    `score` is the PRM's of the step (None: none, as of a step that a limit cut), `logprob` the policy's
    log-probability of its tokens, `log_weight` the logarithm of the weight of the path that ends here: of one
    that the search returned, of all its copies, as they are voted for; None for a finished one that it did
    not return. `finish_reason` is None for a path that may go on.
    """

    parent: int | None
    text: str
    score: float | None
    logprob: float
    log_weight: float | None
    finish_reason: FinishReason | None
    n_draws: int = 1


@dataclass
class TreeTrace:
    """Filled by `PathGrower`; a node's number is its place in `nodes`."""

    nodes: list[TraceNode] = field(default_factory=list)
    _numbers: dict[tuple[int, ...], int] = field(default_factory=dict)

    def add(self, parent: SearchPath, children: Sequence[SearchPath]) -> None:
        """The steps that were drawn behind a path."""
        for child in children:
            number = self._numbers.get(child.token_ids)
            if number is not None:
                known = self.nodes[number]
                self.nodes[number] = replace(known, n_draws=known.n_draws + 1)
                continue
            self._numbers[child.token_ids] = len(self.nodes)
            self.nodes.append(
                TraceNode(
                    self._numbers.get(parent.token_ids),
                    child.text[len(parent.text) :],
                    child.scores[-1] if len(child.scores) > len(parent.scores) else None,
                    child.step_logprobs[-1] if len(child.step_logprobs) > len(parent.step_logprobs) else 0.0,
                    child.log_weight,
                    child.finish_reason,
                )
            )

    def weigh(self, paths: Sequence[SearchPath]) -> None:
        """Give the paths that the search returned the weights which they have in the end."""
        copies: dict[tuple[int, ...], list[float]] = {}
        for path in paths:
            copies.setdefault(path.token_ids, []).append(path.log_weight + math.log(path.multiplicity))
        for token_ids, number in self._numbers.items():
            node = self.nodes[number]
            if token_ids in copies:
                self.nodes[number] = replace(node, log_weight=_log_sum(copies[token_ids]))
            elif node.finish_reason is not None:
                self.nodes[number] = replace(node, log_weight=None)


def _log_sum(logs: Sequence[float]) -> float:
    """The logarithm of the sum of numbers, from their logarithms."""
    highest = max(logs)
    return highest + math.log(math.fsum(math.exp(each - highest) for each in logs))
