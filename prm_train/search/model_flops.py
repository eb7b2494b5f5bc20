"""Floating point operations of the models of a search."""

from pathlib import Path

from data_gen.problems.tasks import DEFAULT_TASK, model_path
from prm_train.scoring.flops import ForwardFlops, read_forward_flops
from prm_train.scoring.work import Work
from prm_train.search.results import Cost
from prm_train.search.settings import SearchConfig
from prm_train.strategies.baselines import CONFIDENCE


def models_flops(search: SearchConfig) -> dict[str, ForwardFlops]:
    """Of the policies and the scorers of a search, by name; a Hub name has none."""
    policy = model_path(search.policy.model or DEFAULT_TASK.policy)
    scorers = {"prm": search.prm, "orm": search.orm}
    folders = {"policy": policy, **scorers, "revision_model": search.revision_model}
    found = {name: read_forward_flops(Path(folder)) for name, folder in folders.items() if folder is not None}
    known = {name: flops for name, flops in found.items() if flops is not None}
    return known | ({CONFIDENCE: known["policy"]} if "policy" in known else {})


def flops_of(cost: Cost, writer: ForwardFlops, scorer: ForwardFlops) -> float:
    """Of what a method books: tokens that its writer generated and prefilled, and its scorer computed."""
    n_generated, n_prefilled = cost.policy.n_generated, cost.policy.n_prefilled
    drawn, scored = (
        Work(n_generated + n_prefilled, cost.n_pairs),
        Work(cost.scorer.n_new, cost.scorer.n_pairs),
    )
    return writer.of(drawn, n_generated) + scorer.of(scored, scored.n_tokens)
