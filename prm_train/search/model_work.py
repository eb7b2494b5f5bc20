"""What samples take a scorer to compute."""

from collections.abc import Iterable, Mapping

from data_gen.records.steps import split_steps
from prm_train.scoring.work import Work, passed
from prm_train.strategies.candidates import Candidate

Nodes = Mapping[tuple[str, ...], Work]


def scored_work(candidates: Iterable[Candidate], scorer: str, separator: str) -> Work:
    """Of the tree of their steps: the question once, and each distinct step behind the same steps once.

    Paths that the scorer computes whole count whole, equal ones once. This is what scoring these candidates
    alone costs a scorer that evicts nothing from its cache; candidates without a score cost nothing. (The
    tokens of an implicit PRM are those of two models, each of which has half as many pairs as is counted.)
    """
    return work_of(scored_nodes(candidate, scorer, separator) for candidate in candidates)


def scored_nodes(candidate: Candidate, scorer: str, separator: str) -> Nodes:
    """What the scorer computes for one candidate: beginnings of its steps, and the work of each."""
    tokens = candidate.scorer_tokens.get(scorer, ())
    if not tokens:
        return {}
    steps, n_before = split_steps(candidate.text, separator), 0
    if len(tokens) == 1:
        return {steps: passed(0, tokens[0])}
    nodes = {}
    for depth, n in zip(range(len(steps) + 1), tokens, strict=True):
        nodes[steps[:depth]] = passed(n_before, n)
        n_before += n
    return nodes


def work_of(candidates: Iterable[Nodes]) -> Work:
    """Each node once."""
    nodes: dict[tuple[str, ...], Work] = {}
    for each in candidates:
        nodes |= each
    works = nodes.values()
    return Work(sum(work.n_tokens for work in works), sum(work.n_pairs for work in works))


def has_tokens(candidates: Iterable[Candidate], scorer: str) -> bool:
    """Whether the search stored what each scored one of them has for the scorer."""
    return all(scorer in each.scorer_tokens for each in candidates if scorer in each.scores)
