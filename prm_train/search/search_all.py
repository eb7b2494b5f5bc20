"""`search_all`: problems with known answers searched by every method that is asked for, in one call, for
notebooks and scripts. What `evaluate` makes of results of `prm-train search`, `prm_train.evaluation` makes of
these.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_gen.files.run_folder import work_through
from data_gen.grading.graders import GraderName, load_grader
from data_gen.ledger.store import IN_MEMORY, Ledger
from data_gen.policies.protocol import Policy
from data_gen.process.event_loops import run_apart
from data_gen.records.solutions import Problem
from prm_train.scoring.protocol import Scorer
from prm_train.search.results import ProblemResult
from prm_train.search.searcher import Searcher
from prm_train.search.settings import SearchConfig


def search_all(
    problems: Sequence[Problem],
    policy: Policy,
    scorer: Scorer | None = None,
    *,
    grader: GraderName = "math",
    **settings: Any,
) -> list[ProblemResult]:
    """For each problem its greedy solution, `n_samples` samples with their scores, draws that say how hard it
    is, and the searches of `strategies` with each N of `sizes`, all graded, with what each cost.

    `scorer` is a PRM, or an ORM where nothing searches in a tree. `settings` are those of `SearchConfig` that
    name no model, file or folder. Works in a notebook, too, whose event loop is running. Raises ValueError
    for settings that do not go together, TypeError for one that there is not.
    """
    name = "prm" if scorer is None or scorer.scores_steps else "orm"
    scorers = {} if scorer is None else {name: scorer}
    named: dict[str, Any] = {role: each.scorer_id for role, each in scorers.items()}
    config = SearchConfig(Path(), **named, grader=grader, **settings)
    reader, results = load_grader(grader, "a notebook"), dict[int, ProblemResult]()

    async def run() -> None:
        with Ledger(IN_MEMORY) as ledger:
            searcher = Searcher(config, policy, ledger, reader, scorers)
            await work_through(problems, searcher.search, results.__setitem__)

    run_apart(run())
    return [results[number] for number in range(len(problems))]
