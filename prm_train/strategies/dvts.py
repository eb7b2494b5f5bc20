"""Diverse verifier tree search (Beeching et al. 2024, "Scaling test-time compute with open models"): N / M
trees that know nothing of each other, each a beam search that keeps one path.

    draw M first steps for each of the N / M trees
    until no tree has an open path, or after max_steps rounds:
        score the new steps
        finished paths become candidates and leave their tree
        of each tree the best open path stays, and gets M next steps

What differs from the paper: a tree goes on as long as one of its paths is open, also where a finished one has
a higher score, and every finished path votes; so one tree (N = M) is the beam search of `beam.py`. A path
that hits a limit never votes. Trees that took the same steps draw different next ones. Weights are those of
beam search, within each tree.
"""

from dataclasses import dataclass

from prm_train.encoding.aggregation import Aggregation
from prm_train.strategies.paths import PathGrower, SearchPath, by_score, distinct, even_shares, own_scores
from prm_train.strategies.ranges import check_at_least
from prm_train.strategies.survivors import Survivors, survivor_noise, survivors


@dataclass(frozen=True)
class DvtsConfig:
    """`n` paths in trees of `width` (M); where M does not divide N, the trees are as even as it goes.
    `aggregation` makes the rank of a path of its step scores; `survivors` says whether the best of each tree
    stays or one drawn in proportion to the ranks.
    """

    n: int = 16
    width: int = 4
    max_steps: int = 40
    aggregation: Aggregation = "min"
    survivors: Survivors = "best"

    def __post_init__(self) -> None:
        check_at_least(1, width=self.width)


async def dvts(grower: PathGrower, config: DvtsConfig) -> list[SearchPath]:
    """The paths in the order in which they ended, then what was open after `max_steps`."""
    n_trees = -(-config.n // config.width)  # rounded up
    ended, kept, shares = list[SearchPath](), [SearchPath()] * n_trees, even_shares(config.n, n_trees)
    for step in grower.rounds(config.max_steps):
        families = await grower.grow(kept, shares)
        ended += [child for family in families for child in family if not child.is_open]
        opened = [distinct(child for child in family if child.is_open) for family in families]
        noise = survivor_noise(grower, config.survivors, step)
        best = [survivors(paths, own_scores(paths, config.aggregation), 1, noise)[0] for paths in opened]
        shares = [share for share, path in zip(shares, best, strict=True) if path]
        kept = [path for paths in best for path in paths]
        if not kept:
            break
    return by_score(ended + kept, config.aggregation)
