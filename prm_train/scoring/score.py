"""`score`: the scores of one solution, in one call, for notebooks and scripts. A search opens sessions
instead, which share their work.
"""

from collections.abc import Sequence

from data_gen.process.event_loops import run_apart
from prm_train.scoring.protocol import Scorer


def score(question: str, steps: Sequence[str], scorer: Scorer) -> list[float]:
    """Scores in [0, 1] of a solution: of a PRM one for each step, of an ORM one, for the solution as a whole.

    `steps` are texts without the separator at their ends. Works in a notebook, too, whose event loop is
    running. Raises ValueError without steps or where one is blank, PathTooLongError where question and steps
    do not fit into the scorer's context.
    """
    if isinstance(steps, str) or not steps:
        raise ValueError(f"steps: got {steps!r}, expected a list of the solution's steps")
    return run_apart(_score(question, steps, scorer))


async def _score(question: str, steps: Sequence[str], scorer: Scorer) -> list[float]:
    async with scorer.session(question) as tree:
        nodes = [tree.root]
        for step in steps:
            nodes.append(tree.extend(nodes[-1], step))
        await tree.score(nodes[-1])  # its ancestors are scored on the way
        return [await tree.score(node) for node in (nodes[1:] if scorer.scores_steps else nodes[-1:])]
