"""Beam search against a PRM (Snell et al. 2024, section 5.2): N paths, the best N / M of them get M next
steps each.

    draw N first steps
    until no path is open, or after max_steps rounds:
        score the new steps
        finished paths become candidates and leave the beam
        the best N / M of the distinct open paths stay; N next steps are drawn between them, M each

What differs from the paper, and why:

- The paper says nothing of paths that end early. Here they take no place from open ones: as long as N / M are
  open, so many go on, and long paths face no other pruning than short ones. All finished paths vote, so there
  may be more than N of them. Where fewer than N / M paths are open, copies counted, each gets M next steps. A
  search makes at most N draws a round and N x max_steps in all.
- A path that hits a limit is kept as unfinished; it takes no place and never votes.
- Equal paths are one path, whose copies' share of next steps goes to all that stay, so that N is spent.
- A step is scored when it is new and never again.
- With `survivors` sampled, not the best stay but a sample of all N draws in proportion to their scores
  (`survivors.py`), copies and all: the best of many scores are the PRM's errors more often than those of few.

The weight of a path is the share of draws that gave it (copies / draws, multiplied over its steps: what the
policy thinks of it) times its score. The paper's vote, by score alone, leaves the policy's opinion out.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from prm_train.encoding.aggregation import Aggregation
from prm_train.strategies.paths import PathGrower, SearchPath, by_score, distinct, own_scores, shares_of
from prm_train.strategies.ranges import check_at_least
from prm_train.strategies.survivors import Survivors, survivor_noise, survivors

Rank = Callable[[Sequence[SearchPath]], Awaitable[list[float]]]


@dataclass(frozen=True)
class BeamConfig:
    """`n` paths (N in the paper) and `width` next steps drawn from each kept path (M).

    `aggregation` makes a path's rank of its step scores; `survivors` says whether the best ranks stay or a
    sample in proportion to them.
    """

    n: int = 16
    width: int = 4
    max_steps: int = 40
    aggregation: Aggregation = "min"
    survivors: Survivors = "best"

    def __post_init__(self) -> None:
        check_at_least(1, width=self.width)


async def beam_search(
    grower: PathGrower, config: BeamConfig, look_ahead: Rank | None = None
) -> list[SearchPath]:
    """The paths in the order in which they ended, then what was open after `max_steps`.

    `look_ahead` ranks open paths by something else than their own scores; it is not asked where its answer
    cannot matter.
    """
    ended, kept, numbers, n_draws = list[SearchPath](), [SearchPath()], [1], config.n
    for step in grower.rounds(config.max_steps):
        families = await grower.grow(kept, shares_of(n_draws, numbers))
        children = [child for family in families for child in family]
        ended += [child for child in children if not child.is_open]
        opened = [child for child in children if child.is_open]
        n_draws = min(config.n, config.width * len(opened))
        n_kept = -(-n_draws // config.width)  # rounded up
        paths, is_last = distinct(opened), step + 1 == config.max_steps
        ranks = own_scores(paths, config.aggregation)
        if look_ahead is not None and len(paths) > 1 and not is_last:
            ranks = await look_ahead(paths)
        kept, numbers = survivors(paths, ranks, n_kept, survivor_noise(grower, config.survivors, step))
        if not kept:
            break
    return by_score(ended + kept, config.aggregation)
