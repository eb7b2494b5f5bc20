"""`solve`: a question answered by a policy and a scorer, in one call, for notebooks and scripts.

Nobody needs to know the right answer: a strategy finds paths, a vote among them chooses the answer, and the
share of the vote is what the answer can be trusted by. What answers is a `Solver`, or one for each bin of an
allocation, or those of a router's paths.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from data_gen.grading.graders import GraderName, load_grader
from data_gen.ledger.store import IN_MEMORY, Ledger
from data_gen.policies.protocol import Policy
from data_gen.process.event_loops import run_apart
from data_gen.records.solutions import Question
from data_gen.settings.errors import InputError
from prm_train.scoring.flops import ForwardFlops, known_flops
from prm_train.scoring.protocol import Scorer
from prm_train.search.allocation import AllocatedSolver, Choice, settings_of
from prm_train.search.answer import Answer
from prm_train.search.routing.fits import Fits, read_fits
from prm_train.search.routing.routed_solver import RoutedSolver
from prm_train.search.routing.router import Router
from prm_train.search.solve_settings import BEST_OF_N, MAJORITY, SolverConfig, SolveSettings, base_settings
from prm_train.search.solving.solver import Solver


def solve(
    question: str,
    policy: Policy,
    scorer: Scorer | None = None,
    strategy: str = "particle_filter",
    n: int = 16,
    *,
    grader: GraderName = "math",
    large_policy: Policy | None = None,
    **settings: object,
) -> Answer:
    """The answer to a question by N samples or paths of `policy`, chosen with `scorer` (a PRM; for `weighted`
    and `best_of_n` an ORM as well; for `majority` and `deepconf_online` None).

    `settings` are those of `SolveSettings`; `grader` says how answers are read and compared; `large_policy`
    is the last step of a `router` that was fitted with one. The same call gives the same answer (but for
    `budget_seconds`). Works in a notebook, too, whose event loop is running.
    Raises ValueError for settings that do not go together.
    """
    chosen = SolveSettings(strategy, n, **settings)  # type: ignore[arg-type]  # checked by the record
    reader = load_grader(grader, "a question")

    async def run() -> Answer:
        with Ledger(IN_MEMORY) as ledger:
            solver = Solver(chosen, policy, scorer, reader, ledger, known_flops(policy, scorer))
            return await as_allocated(solver, large_policy).solve(Question("question", question))

    return run_apart(run())


AnySolver = Solver | AllocatedSolver | RoutedSolver


def as_allocated(solver: Solver, large_policy: Policy | None = None, fits: Fits | None = None) -> AnySolver:
    """The same where its settings name no allocation and no router; `fits` are those that they name, if they
    have been read. Raises InputError where what they name was chosen for other draws, for another policy or
    scorer, or names a method that `solve` does not run.
    """
    path, budget = solver.settings.allocation, solver.settings.allocation_budget
    fits = read_fits(solver.settings) if fits is None else fits
    if solver.settings.router is not None:
        assert fits.router is not None
        return _routed(solver, fits.router, solver.settings.router, large_policy)
    if path is None:
        return solver
    allocation = fits.allocation
    assert allocation is not None
    allocation.check_draws(solver.settings, path.name)  # not where it lies: a client may read it
    chosen = allocation.at(budget)
    return AllocatedSolver(
        allocation,
        chosen,
        _solvers(solver, chosen.choices, path),
        solver.policy,
        solver.scorer,
        solver.reader,
        solver.ledger,
        solver.first_draw,
    )


def _solvers(solver: Solver, choices: Sequence[Choice], path: Path) -> list[Solver]:
    """Of each choice. Raises InputError for a method that `solve` does not run."""
    try:
        return [replace(solver, settings=replace(solver.settings, **settings_of(each))) for each in choices]
    except ValueError as error:
        raise InputError(f"{path.name}: chose what `solve` does not run: {error}") from None


def _routed(solver: Solver, router: Router, path: Path, large_policy: Policy | None) -> RoutedSolver:
    router.check_draws(solver.settings, path.name)
    if solver.scorer is None:
        raise InputError(f"{path.name}: needs the {router.scorer}; got no scorer")
    temperature = router.draws.temperature
    sample = Choice("simple", 1, BEST_OF_N, temperature, router.aggregation, scorer=router.scorer)
    staged = [each.choice for each in router.stages]
    simple, *solvers = _solvers(solver, (sample, *router.complex, *staged), path)
    n_complex = len(router.complex)
    large = None
    if router.large_from is None:
        large_policy = None
    elif large_policy is not None:
        one = settings_of(Choice("large", 1, MAJORITY, temperature))
        settings = replace(solver.settings, **one)
        large = replace(solver, settings=settings, policy=large_policy, scorer=None)
    return RoutedSolver(
        router,
        simple,
        solvers[:n_complex],
        solver.policy,
        solver.scorer,
        solver.ledger,
        solver.first_draw,
        large,
        large_policy,
        solvers[n_complex:],
    )


def load_solver(
    config: SolverConfig,
    policy: Policy,
    scorer: Scorer | None,
    ledger: Ledger,
    *,
    is_traced: bool = False,
    large_policy: Policy | None = None,
    fits: Fits | None = None,
) -> AnySolver:
    """Raises InputError where settings, policy and scorer do not go together."""
    reader = load_grader(config.grader, "a question")
    flops: Mapping[str, ForwardFlops] = {}
    try:
        if config.budget_flops is not None:
            flops = config.flops_of(policy, scorer)
        # What a config says besides is for one router, and not for each of its choices
        settings = base_settings(config)
        solver = Solver(settings, policy, scorer, reader, ledger, flops, is_traced)
        return as_allocated(solver, large_policy, fits)
    except ValueError as error:
        raise InputError(str(error)) from None
