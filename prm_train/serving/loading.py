"""The models of a server, loaded and found to go together."""

from data_gen.grading.graders import load_grader
from data_gen.ledger.store import IN_MEMORY, Ledger
from prm_train.search.routing.fits import Fits, read_fits
from prm_train.search.solve import load_solver
from prm_train.serving.answering import Models
from prm_train.serving.named_models import load_policies, load_scorers
from prm_train.serving.settings import ServeConfig


def load_models(config: ServeConfig, fits: Fits | None = None) -> Models:
    """`fits` are the allocation or the router that the config names, if they have been read. Raises
    InputError, among others where policy and scorer cannot do what the config asks of them.
    """
    fits = read_fits(config) if fits is None else fits
    policy, scorer, large = config.policy.load(), config.load_scorer(), config.load_large_policy()
    with Ledger(IN_MEMORY) as ledger:
        load_solver(config, policy, scorer, ledger, large_policy=large, fits=fits)
    policies, scorers = load_policies(config.policies), load_scorers(config.scorers, config.policy)
    if large is not None and config.large_name is not None:
        policies[config.large_name] = large
    return Models(
        policy,
        scorer,
        load_grader(config.grader, "a question"),
        config.flops_of(policy, scorer),
        policies=policies,
        scorers=scorers,
        large_policy=large,
        fits=fits,
    )
