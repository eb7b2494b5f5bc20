"""How many problems are worked on at a time, so that what was computed for one is still there when it is
needed.

A problem that is labeled reads the keys and values of its prompt and of its solutions again and again. With
many problems open their draws come in turns, and each finds that the others have pushed its prefixes out of
the cache. So only as many are open as the cache holds twice over: twice, because those that are done leave it
only when others need the room. An example: a cache of 93,206 tokens, and problems of 100 tokens with 4
solutions of 60 tokens: 93,206 / (2 x 340) = 137 problems.
"""

from data_gen.policies.protocol import Policy

MOST_OPEN = 512  # each has several draws under way
# With four solutions each they are 64 rows. A batch of far fewer costs more than prefixes that are computed
# again.
FEWEST_OPEN = 16
ROOM = 2


def n_open_problems(policy: Policy, tokens_per_problem: float | None) -> int:
    """How many problems `policy` is to work on at a time whose prefixes have so many tokens each (None:
    nobody knows). A policy that keeps no prefixes, or does not say how many, takes as many as there may be.
    """
    n_cacheable: int | None = getattr(policy, "n_cacheable_tokens", None)
    if not n_cacheable or not tokens_per_problem:
        return MOST_OPEN
    return max(FEWEST_OPEN, min(MOST_OPEN, int(n_cacheable / (ROOM * tokens_per_problem))))
