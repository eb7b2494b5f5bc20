"""Floating point operations of the models of a search."""

from collections.abc import Callable, Mapping
from pathlib import Path

from data_gen.problems.tasks import DEFAULT_TASK, model_path
from prm_train.scoring.flops import ForwardFlops, read_forward_flops
from prm_train.scoring.work import Work
from prm_train.search.results import Cost
from prm_train.search.settings import SearchConfig
from prm_train.strategies.baselines import CONFIDENCE


def models_flops(
    search: SearchConfig, read: Callable[[Path], ForwardFlops | None] = read_forward_flops
) -> dict[str, ForwardFlops]:
    """Of the policies and the scorers of a search, by name; a Hub name has none, nor has an ensemble."""
    policy = model_path(search.policy.model or DEFAULT_TASK.policy)
    scorers = {} if search.scorer.ensemble else {"prm": search.prm, "orm": search.orm}
    folders = {"policy": policy, **scorers, "revision_model": search.revision_model}
    found = {name: read(Path(folder)) for name, folder in folders.items() if folder is not None}
    known = {name: flops for name, flops in found.items() if flops is not None}
    return known | ({CONFIDENCE: known["policy"]} if "policy" in known else {})


def flops_of(
    flops: Mapping[str, ForwardFlops],
    writer: str,
    drawn: Work,
    n_generated: int,
    scorer: str | None,
    scored: Work,
) -> float | None:
    """Of all that the model `writer` drew, prompts included, and the scorer (None: no scorer) computed; None
    where `flops` does not hold one of them.
    """
    if not {writer, *([scorer] if scorer else [])} <= flops.keys():
        return None
    total = flops[writer].of(drawn, n_generated)
    return total + flops[scorer].of(scored, scored.n_tokens) if scorer else total


def flops_of_cost(
    flops: Mapping[str, ForwardFlops], writer: str, scorer: str | None, cost: Cost
) -> float | None:
    """Of what a method books; None as well where an earlier version booked no pairs."""
    n_generated, n_prefilled = cost.policy.n_generated, cost.policy.n_prefilled
    drawn = Work(n_generated + n_prefilled, cost.n_pairs)
    scored = Work(cost.scorer.n_new, cost.scorer.n_pairs)
    if any(bool(work.n_pairs) != bool(work.n_tokens) for work in (drawn, scored)):
        return None
    return flops_of(flops, writer, drawn, n_generated, scorer, scored)
