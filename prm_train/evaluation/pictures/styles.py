"""The style that a method keeps in all pictures of a page: css classes for its colour, its dashes and the
shape of its points.

Colour says who decides (PRM, each search in a tree with it, ORM, the policy's own log-probability, a plain
vote); dashes say how: one sample is picked instead of a vote among all, or the vote weighs the policy's
probability, too. The colours are told apart by colour-blind readers (after Okabe and Ito 2008), those that
are near each other have other points, and the names stand at the lines, so that nothing hangs on colour
alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from types import MappingProxyType

from prm_train.evaluation.methods import STOP_RULES

# By method or strategy: (colour, points, dashes)
OWN: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "prm_weighted": ("c-prm", "m-circle", ""),
        "prm_vanilla": ("c-prm", "m-circle", "dashed"),
        "orm_weighted": ("c-orm", "m-diamond", ""),
        "orm_vanilla": ("c-orm", "m-diamond", "dashed"),
        "majority": ("c-vote", "m-circle", ""),
        "logprob": ("c-logprob", "m-triangle", ""),
        "self_certainty": ("c-logprob", "m-triangle", "dashed"),
        "deepconf": ("c-logprob", "m-triangle", "long"),
        "chunk_likelihood": ("c-logprob", "m-triangle", "dotted"),
        "pass_at_n": ("c-plain", "m-circle", "dotted"),
        "particle_filter": ("c-particle", "m-triangle", ""),
        "beam": ("c-beam", "m-square", ""),
        "dvts": ("c-dvts", "m-diamond", ""),
        "rebase": ("c-rebase", "m-square", ""),
        "mcts": ("c-mcts", "m-diamond", ""),
        "best_first": ("c-bestfirst", "m-down", ""),
        "lookahead": ("c-beam", "m-down", "dashdot"),
        "beam_revisions": ("c-revisions", "m-square", "dashdot"),
        "revisions": ("c-revisions", "m-triangle", ""),
    }
)
# The end of a method's name that says how its paths vote, with the dashes of its line
VOTES: Mapping[str, str] = MappingProxyType(
    {
        "_prior": "long",
        "_prior_mean": "longdot",
        "_weight": "dashed",
        "_score": "dashed",
        "_majority": "dotted",
        "_hierarchical_best": "longdot",
        "_tuned": "",
    }
)
MARKERS = ("m-circle", "m-square", "m-triangle", "m-diamond", "m-down")
DASHES = ("", "dashed", "long", "dashdot", "longdot", "dotted")
OTHERS = ("c-particle", "c-dvts", "c-rebase", "c-mcts")  # for methods that are not in the catalogue


def styles_of(methods: Iterable[str]) -> dict[str, str]:
    """The css classes of each method. No two of them are the same, but for those of a method that stops
    early, which is drawn as the one that does not, and of settings that were chosen (`_tuned`), which are
    drawn in place of the others.
    """
    names = list(methods)
    found: dict[str, str] = {}
    for name in sorted(names, key=lambda name: name not in OWN):  # what has a style of its own comes first
        base = _without_stop(name)
        if base != name or name.endswith("_tuned"):
            continue
        wanted = list(_candidates(name))
        found[name] = next((style for style in wanted if style not in found.values()), wanted[0])
    for name in names:
        if name not in found:
            base = _without_stop(name).removesuffix("_tuned")
            found[name] = found.get(base) or next(_candidates(base))
    return found


def style_of(method: str) -> str:
    """The css classes of one method beside which no other one is drawn that might have the same."""
    return next(_candidates(_without_stop(method)))


def _candidates(name: str) -> Iterator[str]:
    """The style that a method wants, then others that are as near to it as can be."""
    strategy, vote = _strategy_and_vote(name)
    number = sum(map(ord, name)) % len(OTHERS)
    colour, marker, dash = OWN.get(strategy, (OTHERS[number], "m-circle", ""))
    wanted = VOTES.get(vote) or dash
    yield _joined(colour, marker, wanted)
    for other, each in product((marker, *MARKERS), (wanted, *DASHES)):
        yield _joined(colour, other, each)


def _joined(*classes: str) -> str:
    return " ".join(filter(None, classes))


def _strategy_and_vote(name: str) -> tuple[str, str]:
    """`beam:width=4_prior` is of beam with the vote `_prior`."""
    if name in OWN:
        return name, ""
    vote = max((ending for ending in VOTES if name.endswith(ending)), key=len, default="")
    return name.removesuffix(vote).partition(":")[0], vote


def _without_stop(name: str) -> str:
    for ending in STOP_RULES:
        name = name.removesuffix(ending)
    return name
