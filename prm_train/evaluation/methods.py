"""The methods of a report: how each is called in plots and in sentences, and what it does."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from prm_train.strategies.stopping import StopRule
from prm_train.strategies.voting import TreeVote


@dataclass(frozen=True)
class Method:
    """How a method is called in a plot and in a sentence, and what it does."""

    label: str
    phrase: str
    description: str


TREES: Mapping[str, Method] = MappingProxyType(
    {
        "particle_filter": Method(
            "particle filter",
            "the particle filter",
            "N particles grow step by step, are copied in proportion to their PRM scores, and vote with "
            "their weights.",
        ),
        "rebase": Method(
            "REBASE",
            "REBASE",
            "After each step the next ones are divided among all open paths by their PRM scores; N "
            "paths end in all.",
        ),
        "mcts": Method(
            "MCTS",
            "Monte Carlo tree search with the PRM",
            "N paths are found by going down the tree to where value and curiosity are highest (PUCT).",
        ),
        "best_first": Method(
            "best-first",
            "best-first search with the PRM",
            "N paths are found by going on from the best of all open paths, old ones too.",
        ),
        "lookahead": Method(
            "lookahead",
            "beam search with lookahead",
            "Beam search that ranks each path by the PRM score of its greedy continuation.",
        ),
        "dvts": Method(
            "DVTS",
            "diverse verifier tree search",
            "N paths in trees that know nothing of each other; after each step the PRM decides which path "
            "of a tree goes on.",
        ),
        "beam": Method(
            "beam search",
            "beam search with the PRM",
            "N beams grow step by step; after each step the PRM decides which go on, and the finished ones "
            "vote with their scores.",
        ),
        "beam_revisions": Method(
            "beam, revised",
            "beam search with revisions",
            "Beam search whose best finished paths the revision model writes again; all of them vote with "
            "their scores.",
        ),
    }
)
VOTES: Mapping[TreeVote, tuple[str, str]] = MappingProxyType(
    {
        "score": ("score-weighted", "Each path votes with its score."),
        "weight": (
            "weighted",
            "Each path votes with its weight: how often the policy wrote it, and its score.",
        ),
        "prior": (
            "prior-weighted",
            "Each distinct path votes with its score times its probability under the policy.",
        ),
        "prior_mean": (
            "prior-weighted, by token,",
            "Each distinct path votes with its score times the geometric mean of its tokens' probabilities.",
        ),
        "majority": ("majority", "Each path has one vote."),
    }
)


# Selections that stop early, by the end of their names, with the thresholds of solve's defaults
STOP_RULES: Mapping[str, StopRule] = MappingProxyType({"_early": "beta", "_margin": "margin"})
STOPS = "At most N samples: the vote stops when the rest will hardly change it."
MARGIN = "At most N samples: no more are drawn once one answer scores high and all others far below it."


def by_vote(name: str, method: Method) -> dict[str, Method]:
    """A search in a tree under its own name with its own vote; with that of another one, or tuned, behind
    it.
    """
    search = method.phrase.removesuffix(" with the PRM")
    others = {
        f"{name}_{vote}": Method(f"{method.label}, {vote}", f"{search}, {how} vote", words)
        for vote, (how, words) in VOTES.items()
    }
    tuned = Method(
        f"{method.label}, tuned",
        f"{search}, tuned on validation",
        "Settings and vote are those that solve most validation problems, for each N.",
    )
    return {name: method, f"{name}_tuned": tuned, **others}


REVISIONS: Mapping[str, Method] = MappingProxyType(
    {
        "revisions": Method(
            "revisions",
            "sequential revisions",
            "N attempts in chains, each shown those before it; the verifier chooses in each chain, then "
            "among the chains.",
        ),
        "revisions_hierarchical_best": Method(
            "revisions, best of each chain",
            "sequential revisions, best of each chain",
            "The best attempt of each chain votes with its score.",
        ),
        "revisions_score": Method(
            "revisions, score",
            "sequential revisions, score-weighted vote",
            "Every attempt votes with its score.",
        ),
        "revisions_majority": Method(
            "revisions, majority",
            "sequential revisions, majority vote",
            "No verifier: every attempt has one vote.",
        ),
        "revisions_tuned": Method(
            "revisions, tuned",
            "sequential revisions, tuned on validation",
            "Chains and vote are those that solve most validation problems, for each N.",
        ),
    }
)


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "prm_weighted": Method(
            "PRM weighted",
            "PRM-weighted best-of-N",
            "Samples vote for their answers, each with the weight of its PRM score.",
        ),
        "prm_vanilla": Method(
            "PRM vanilla", "plain best-of-N with the PRM", "The one sample with the highest PRM score."
        ),
        **{key: row for name, method in TREES.items() for key, row in by_vote(name, method).items()},
        **REVISIONS,
        "orm_weighted": Method(
            "ORM weighted",
            "ORM-weighted best-of-N",
            "Samples vote for their answers, each with the weight of its ORM score.",
        ),
        "orm_vanilla": Method(
            "ORM vanilla", "plain best-of-N with the ORM", "The one sample with the highest ORM score."
        ),
        "logprob": Method(
            "log-prob",
            "log-prob selection",
            "No verifier: selection by the log-probability that the policy itself gives to a sample.",
        ),
        "self_certainty": Method(
            "self-certainty",
            "selection by self-certainty",
            "No verifier: selection by how far the policy's distributions are from uniform along a sample.",
        ),
        "deepconf": Method(
            "DeepConf",
            "DeepConf voting",
            "No verifier: the samples that the policy is most confident of vote with that confidence.",
        ),
        "chunk_likelihood": Method(
            "chunk likelihood",
            "selection by chunk likelihood",
            "No verifier: selection by the policy's mean log-probability of chunks of a sample.",
        ),
        "majority": Method(
            "majority", "majority voting", "No verifier: the most frequent answer of N samples."
        ),
        **{
            f"{name}_early": Method(f"{label}, early stop", f"{phrase} that stops early", STOPS)
            for name, label, phrase in (
                ("prm_weighted", "PRM weighted", "PRM-weighted best-of-N"),
                ("orm_weighted", "ORM weighted", "ORM-weighted best-of-N"),
                ("majority", "majority", "majority voting"),
            )
        },
        **{
            f"{name}_margin": Method(f"{label}, margin stop", f"{phrase} that stops at a margin", MARGIN)
            for name, label, phrase in (
                ("prm_weighted", "PRM weighted", "PRM-weighted best-of-N"),
                ("prm_vanilla", "PRM vanilla", "plain best-of-N with the PRM"),
                ("orm_weighted", "ORM weighted", "ORM-weighted best-of-N"),
                ("orm_vanilla", "ORM vanilla", "plain best-of-N with the ORM"),
            )
        },
        "pass_at_n": Method(
            "pass@N",
            "pass@N",
            "At least one of N samples is right: the ceiling of every selection among them.",
        ),
    }
)
CEILING = "pass_at_n"  # not a method that anybody could use: it needs to know the answer


def stops_early(name: str) -> bool:
    """Whether a method is one of those: they differ from the one without in what they cost, hardly in what
    they solve.
    """
    return name.endswith(tuple(STOP_RULES))


def method_label(name: str) -> str:
    """The name in plots and tables, with the settings of a search that are not its defaults; a method that
    the catalogue does not know keeps its own.
    """
    base, _, settings = name.partition(":")
    if settings and base in METHODS:
        return f"{METHODS[base].label} ({settings.replace(':', ', ')})"
    return METHODS[name].label if name in METHODS else name


def method_phrase(name: str) -> str:
    """The name in a sentence."""
    return METHODS[name].phrase if name in METHODS else {"greedy": "greedy decoding"}.get(name, name)
