"""What `prm-train allocate` and `prm-train route fit` found, as the settings of `solve` and `serve` name it:
read once, however many questions are answered by it.
"""

from dataclasses import dataclass

from prm_train.search.allocation import Allocation
from prm_train.search.routing.router import Router
from prm_train.search.solve_settings import SolveSettings


@dataclass(frozen=True)
class Fits:
    """Each None where no file is named."""

    allocation: Allocation | None = None
    router: Router | None = None


def read_fits(settings: SolveSettings) -> Fits:
    """Raises InputError for a file that is not there or no such file, for one that was fitted to other draws
    than the settings have, and for a budget below the allocation's smallest.
    """
    allocation = router = None
    if settings.allocation is not None:
        allocation = Allocation.read(settings.allocation)
        allocation.check_draws(settings, str(settings.allocation))
        allocation.at(settings.allocation_budget)
    if settings.router is not None:
        router = Router.read(settings.router)
        router.check_draws(settings, str(settings.router))
    return Fits(allocation, router)
