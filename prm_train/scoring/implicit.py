"""Scores of an implicit PRM: log-ratios of a model and its reference, summed along a path (see
`prm_train.training.implicit`).
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

import torch

from data_gen.models.forward_settings import context_length, short_length
from prm_train.checkpoints.facts import UNCALIBRATED, Calibration
from prm_train.encoding.aggregation import Aggregation
from prm_train.encoding.paths import ScorerEncoding
from prm_train.metrics.ranking import sigmoid
from prm_train.networks.token_log_probs import token_log_probs
from prm_train.scoring.protocol import PathTooLongError, ScorerUsage
from prm_train.scoring.work import passed


@dataclass(eq=False, slots=True)
class ImplicitNode:
    """A step of a tree, or its head (`parent` None): its tokens, and what it adds to the log-odds once that
    is computed.
    """

    tree: "ImplicitPrmTree"
    parent: "ImplicitNode | None"
    token_ids: tuple[int, ...]
    reward: float | None = None
    children: dict[str, "ImplicitNode"] = field(default_factory=dict)

    def path(self) -> list["ImplicitNode"]:
        """From the head to this node."""
        return [*(self.parent.path() if self.parent else ()), self]


class ImplicitPrmTree:
    """A session's tree: see `prm_train.scoring.protocol.ScoringTree`. A path is computed whole, once for all
    of its steps that are new.
    """

    def __init__(self, scorer: "ImplicitPrmScorer", question: str) -> None:
        self.usage = ScorerUsage()
        self.scorer = scorer
        self.root = ImplicitNode(self, None, scorer.encoding.encode_head(question))

    def extend(self, parent: ImplicitNode, step: str) -> ImplicitNode:
        """The child of `parent` with this step. Raises ValueError if the step is blank, PathTooLongError if
        the path outgrows a context.
        """
        child = parent.children.get(step)
        if child is None:
            if not step.strip():
                raise ValueError(
                    f"step {step!r}: got a blank step, expected text (a separator at the end of a solution "
                    "is not a step)"
                )
            child = ImplicitNode(self, parent, self.scorer.encoding.encode_step(step))
            n_tokens = sum(len(node.token_ids) for node in child.path())
            if n_tokens > self.scorer.context_length:
                raise PathTooLongError(
                    f"path of {n_tokens} tokens: longer than the scorer's context of "
                    f"{self.scorer.context_length}"
                )
            parent.children[step] = child
        return child

    def reward(self, node: ImplicitNode) -> float:
        """What the step adds to the log-odds of a right answer."""
        if node.parent is None:
            raise ValueError(
                "got the root, expected a node that `extend` returned: the question alone has no score"
            )
        if node.reward is None:
            path = node.path()
            ends = list(accumulate(len(each.token_ids) for each in path))
            n_known = self._n_steps_of_their_own(path, ends)
            rewards = self.scorer.rewards([token for each in path for token in each.token_ids], ends)
            rewards[n_known] += sum(rewards[:n_known]) - sum(
                self.reward(each) for each in reversed(path[1 : n_known + 1])
            )
            for each, found in zip(path[n_known + 1 :], rewards[n_known:], strict=True):
                each.reward = found if each.reward is None else each.reward
            # by the model and by its reference
            self.usage += ScorerUsage(n_new=2 * ends[-1], n_pairs=2 * passed(0, ends[-1]).n_pairs)
            assert node.reward is not None
        return node.reward

    def _n_steps_of_their_own(self, path: list[ImplicitNode], ends: list[int]) -> int:
        """How many steps of a path have rewards by a shorter pass alone, since a pass over the path rotates
        all its positions otherwise (LongRoPE). What that changes of their sum is the first other step's, so
        that rewards add up to the log-odds of every path.
        """
        border = self.scorer.short_length
        return sum(end <= border for end in ends[1:]) if border is not None and ends[-1] > border else 0

    def path_tokens(self, nodes: Sequence[ImplicitNode]) -> tuple[int, ...]:
        """See `prm_train.scoring.protocol.CountedTree`: whole, by the model and by its reference."""
        return (2 * sum(len(node.token_ids) for node in nodes),)

    async def score(self, node: ImplicitNode) -> float:
        """The probability of a right answer given the path up to here: the sigmoid of the (calibrated) sum of
        rewards.
        """
        self.reward(node)
        return self.scorer.score(sum(self.reward(each) for each in node.path()[1:]))


class ImplicitPrmScorer:
    """The log-ratios of a model and its reference as scores of steps: see
    `prm_train.scoring.protocol.Scorer`.
    """

    scores_steps = True

    def __init__(
        self,
        model: Any,
        reference: Any,
        encoding: ScorerEncoding,
        *,
        scorer_id: str,
        beta: float,
        aggregation: Aggregation = "last",
        calibration: Calibration = UNCALIBRATED,
    ) -> None:
        self.model, self.reference, self.encoding = model.eval(), reference.eval(), encoding
        self.scorer_id, self.beta, self.calibration = scorer_id, beta, calibration
        self.aggregation: Aggregation = aggregation
        self.context_length = min(context_length(each.config) for each in (model, reference))
        self.short_length = short_length(model.config)

    @asynccontextmanager
    async def session(self, question: str) -> AsyncIterator[ImplicitPrmTree]:
        yield ImplicitPrmTree(self, question)

    @torch.no_grad()
    def rewards(self, token_ids: Sequence[int], ends: Sequence[int]) -> list[float]:
        """The reward of each step of a path; `ends` says where the head and each step end."""
        input_ids = torch.tensor([token_ids], device=self.model.device)  # (1, T)
        found, reference = (
            token_log_probs(each(input_ids=input_ids).logits, input_ids).double()
            for each in (self.model, self.reference)
        )
        log_ratios = self.beta * (found - reference)[0]  # (T,)
        return [float(log_ratios[start:end].sum()) for start, end in pairwise(ends)]

    def score(self, reward_sum: float) -> float:
        return float(sigmoid(self.calibration.scale * reward_sum + self.calibration.bias))
