"""Beam search whose finished attempts are revised: steps are chosen while a path grows, and whole attempts
are written again.

    beam search (`beam.py`)
    until n_revisions are written, or nothing is left to revise:
        the best N / M of the finished attempts that were not revised yet, by their scores, are revised:
        the revision model writes one attempt anew behind a chat that shows it
        revisions are scored by the PRM and are finished attempts like the others: they vote, and may be
        revised themselves

The PRM ranks what the beam and the reviser wrote together. Finished attempts take no place from open paths,
so the beam is what it would be without them; they are revised when it is over, and the choice is among all of
them. With no revisions it is beam search.

What is shown is what a revision model was trained to see: a finished attempt that states an answer. Equal
attempts are one and are revised once; one whose chat has no room for a revision is not. A revision has the
weight of the attempt that it revises, with its own score in place of that one's.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from data_gen.process.side_by_side import side_by_side
from prm_train.strategies.beam import BeamConfig, beam_search
from prm_train.strategies.paths import PathGrower, SearchPath
from prm_train.strategies.ranges import check_at_least
from prm_train.strategies.revisions import Attempt, Reviser, shows_attempts


@dataclass(frozen=True)
class BeamRevisionsConfig(BeamConfig):
    """That of the beam, and how many revisions are written in all."""

    n_revisions: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(0, n_revisions=self.n_revisions)


async def beam_revisions(
    grower: PathGrower, config: BeamRevisionsConfig, reviser: Reviser
) -> list[SearchPath]:
    """The paths of the beam, then the revisions in the order in which they were chosen."""
    paths, seen = await beam_search(grower, config), set[str]()
    waiting, n_left = new_attempts(paths, seen, grower, reviser), config.n_revisions
    while n_left and waiting:
        waiting.sort(key=lambda path: -path.log_score(config.aggregation))  # ties to the earliest
        n_chosen = min(n_left, -(-config.n // config.width))  # rounded up
        chosen, waiting = waiting[:n_chosen], waiting[n_chosen:]
        revised = await revise(grower, chosen, reviser)
        gains = [
            new.log_score(config.aggregation) - old.log_score(config.aggregation)
            for old, new in zip(chosen, revised, strict=True)
        ]
        revised = [
            replace(new, log_weight=old.log_weight + gain)
            for old, new, gain in zip(chosen, revised, gains, strict=True)
        ]
        paths += revised
        waiting += new_attempts(revised, seen, grower, reviser)
        n_left -= len(chosen)
    return paths


def new_attempts(
    paths: Iterable[SearchPath], seen: set[str], grower: PathGrower, reviser: Reviser
) -> list[SearchPath]:
    """Those that can be revised, the first of each text that is not `seen`, which it then is."""
    found = list[SearchPath]()
    for path in paths:
        is_new = path.text not in seen and bool(path.scores)
        if is_new and shows_attempts(reviser.chat_after([attempt(path, grower, reviser)], 1)):
            found.append(path)
        seen.add(path.text)
    return found


def attempt(path: SearchPath, grower: PathGrower, reviser: Reviser) -> Attempt:
    return Attempt(grower.candidate(path, reviser.reader, 0, "prm"), ())


async def revise(grower: PathGrower, paths: list[SearchPath], reviser: Reviser) -> list[SearchPath]:
    """A revision of each path, scored, not weighted."""
    chats = [reviser.chat_after([attempt(path, grower, reviser)], 1) for path in paths]
    return await side_by_side(map(grower.ended, await reviser.solutions_after(chats)))
