"""Monte Carlo tree search with PUCT and a PRM as its value function (Silver et al. 2017, "Mastering the game
of Go without human knowledge", Methods; for language models Feng et al. 2023, "Alphazero-like Tree-Search").

    N places; the tree is the root
    until all places are taken, or after max_steps rounds:
        selection:  from the root, go to the child with the highest Q + U until a path that nobody has gone
                    on from; as many such paths as share the free places with M each
                    Q = mean score of all paths drawn at or below the child
                    U = c_puct * P * sqrt(n of all its parent's children) / (1 + n)
        expansion:  draw one next step for each free place between them
        evaluation: the score of the path that ends with the new step; there are no rollouts
        backup:     n and the sum of scores of the new path and all above it
        each path that ends becomes a candidate and takes a place

Every draw is one visit: n counts the draws at or below a node. A path that ended is never selected again,
nor a node below which all have ended; their visits stay in the means above.

What differs from the papers, and why:

- P is the share of its parent's draws that gave the child. Children are drawn from the policy, so this is an
  estimate of its probability that is right on average; the step's own log-probability would prefer short
  steps and common phrasings.
- Paths of a round are selected one after the other before anything is drawn. Each selected one counts as M
  visits of value 0 on its way (virtual loss) until the round is over, so that the next ones look elsewhere.
  Rounds have fixed sizes: which draw is ready first changes nothing.
- All that ended vote. The papers play the most visited move and forget the rest of the tree.
- No noise at the root: the draws are noise enough.

**What N costs** is as for `best_first`: a free place draws one step a round, so a search that never goes back
draws what N paths draw, and every one at most N x max_steps steps.

The weight of a path is that of beam search: copies / draws, multiplied over its steps, times its score.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from prm_train.encoding.aggregation import Aggregation, aggregate
from prm_train.strategies.paths import PathGrower, SearchPath, by_score, distinct, even_shares
from prm_train.strategies.ranges import check_at_least


@dataclass(frozen=True)
class MctsConfig:
    """`n` places, `width` next steps of each selected path (M), `c_puct` the weight of exploration.
    `aggregation` makes the value of a path of its step scores.
    """

    n: int = 16
    width: int = 4
    max_steps: int = 40
    aggregation: Aggregation = "min"
    c_puct: float = 1.0

    def __post_init__(self) -> None:
        check_at_least(1, width=self.width)
        check_at_least(0, c_puct=self.c_puct)


@dataclass(eq=False)
class Node:
    """A path in the tree. `n_visits` draws at or below it have scores that sum to `value_sum`; `n_leaves` of
    the paths at or below it can be gone on from.
    """

    path: SearchPath
    parent: "Node | None" = None
    prior: float = 1.0
    children: list["Node"] = field(default_factory=list)
    n_visits: int = 0
    value_sum: float = 0.0
    n_leaves: int = 0

    @property
    def line(self) -> Iterator["Node"]:
        """The node and all above it."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent

    def count(self, n_visits: int = 0, value_sum: float = 0.0, n_leaves: int = 0) -> None:
        """Add to the numbers of the node and of all above it."""
        for node in self.line:
            node.n_visits += n_visits
            node.value_sum += value_sum
            node.n_leaves += n_leaves


async def mcts(grower: PathGrower, config: MctsConfig) -> list[SearchPath]:
    """The paths in the order in which they took a place, then open ones if places stayed free."""
    root, placed = Node(SearchPath(), n_leaves=1), list[SearchPath]()
    leaves = select(root, config.n, config)
    for _ in grower.rounds(config.max_steps):
        shares = even_shares(config.n - len(placed), len(leaves))
        families = await grower.grow([leaf.path for leaf in leaves], shares)
        for leaf, family in zip(leaves, families, strict=True):
            leaf.count(n_visits=-config.width)  # its virtual loss
            expand(leaf, family, config.aggregation)
            placed += [child for child in family if not child.is_open]
        leaves = select(root, config.n - len(placed), config)
        if not leaves:
            break
    return by_score(placed + [leaf.path for leaf in leaves], config.aggregation)


def select(root: Node, n_places: int, config: MctsConfig) -> list[Node]:
    """The leaves that share so many places, each with a virtual loss; they are leaves no longer."""
    leaves = list[Node]()
    while root.n_leaves and len(leaves) * config.width < n_places:
        node = root
        while node.children:
            below = [child for child in node.children if child.n_leaves]
            node = max(below, key=lambda child: puct(child, config.c_puct))
        node.count(n_visits=config.width, n_leaves=-1)
        leaves.append(node)
    return leaves


def puct(node: Node, c_puct: float) -> float:
    """Q + U of a child; it was drawn, so it has been visited."""
    assert node.parent is not None
    n_all = sum(child.n_visits for child in node.parent.children)
    exploration = c_puct * node.prior * math.sqrt(n_all) / (1 + node.n_visits)
    return node.value_sum / node.n_visits + exploration


def expand(leaf: Node, family: Sequence[SearchPath], how: Aggregation) -> None:
    """The distinct paths of a family as children of a leaf, each with a visit of its score for each copy."""
    for path in distinct(family):
        child = Node(path, leaf, prior=path.multiplicity / len(family))
        leaf.children.append(child)
        value = aggregate(path.scores, how) if path.scores else 0.0
        child.count(path.multiplicity, path.multiplicity * value, int(path.is_open))
