"""Best-first search with a PRM, with back-tracking: beam search that forgets no path.

    N places; the frontier holds the root
    until all places are taken, or after max_steps rounds:
        the best paths leave the frontier, as many as share the free places with M each
        one next step for each free place is drawn between them, and scored
        each path that ends becomes a candidate and takes a place; the others join the frontier

Beam search drops what is not among the best of its round. Here it waits, and where all newer paths turn out
worse, the search goes back to it; between equal scores it goes on. A path that has been gone on from leaves
the frontier for good.

**What N costs.** A free place draws one step a round, so a search that never goes back draws what N paths
draw, as best-of-N does and beam search at most. Each round of going back costs one step more for each free
place, at most N x max_steps in all. Compare it with others at equal tokens. Under the aggregations min and
prod a longer path never has a higher score than its beginning, which makes the search broad and long; last
and mean let it go on. The more max_steps exceeds the steps of a solution, the more it can go back.

After the textbook search (Hart et al. 1968; Yao et al. 2023, "Tree of Thoughts", has its depth-first kin).
What differs: the paths of a round are gone on from side by side, so a round decides without knowing what its
first draws give; equal paths are one path; N paths are looked for, not one.

The weight of a path is that of beam search: copies / draws, multiplied over its steps, times its score.
"""

from dataclasses import dataclass

from prm_train.encoding.aggregation import Aggregation, aggregate
from prm_train.strategies.paths import PathGrower, SearchPath, by_score, distinct, even_shares
from prm_train.strategies.ranges import check_at_least


@dataclass(frozen=True)
class BestFirstConfig:
    """`n` places and `width` next steps of each path (M). `aggregation` makes the rank of a path of its step
    scores.
    """

    n: int = 16
    width: int = 4
    max_steps: int = 40
    aggregation: Aggregation = "min"

    def __post_init__(self) -> None:
        check_at_least(1, width=self.width)


async def best_first(grower: PathGrower, config: BestFirstConfig) -> list[SearchPath]:
    """The paths in the order in which they took a place, then the best open ones if places stayed free."""
    placed, best, waiting = list[SearchPath](), [SearchPath()], list[SearchPath]()
    for _ in grower.rounds(config.max_steps):
        families = await grower.grow(best, even_shares(config.n - len(placed), len(best)))
        children = [child for family in families for child in family]
        placed += [child for child in children if not child.is_open]
        frontier = distinct([*(child for child in children if child.is_open), *waiting])
        ranked = sorted(frontier, key=lambda path: -aggregate(path.scores, config.aggregation))
        n_best = -(-(config.n - len(placed)) // config.width)  # rounded up
        best, waiting = ranked[:n_best], ranked[n_best:]
        if not best:
            break
    return by_score(placed + best, config.aggregation)
