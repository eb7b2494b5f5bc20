"""The models of a server, loaded and found to go together."""

from data_gen.grading.graders import load_grader
from data_gen.ledger.store import IN_MEMORY, Ledger
from prm_train.search.solve import load_solver
from prm_train.serving.answering import Models
from prm_train.serving.settings import ServeConfig


def load_models(config: ServeConfig) -> Models:
    """Raises InputError, among others where policy and scorer cannot do what the config asks of them."""
    policy, scorer = config.policy.load(), config.load_scorer()
    with Ledger(IN_MEMORY) as ledger:
        load_solver(config, policy, scorer, ledger)
    return Models(policy, scorer, load_grader(config.grader, "a question"), config.flops_of(policy, scorer))
