"""Wrong rollouts as solutions of their own, whose first errors cost little to find.

A search for a first error draws rollouts behind the solution's last good step, and many of them are wrong.
Each is a new wrong solution that begins with steps known to be good: its error is among fewer steps, and what
its rollouts have to write is shorter. OmegaPRM (Luo et al. 2024) takes its solutions from there alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from data_gen.labeling.first_error import StepPath
from data_gen.labeling.rollouts import RolloutSource, unlabelable_reason
from data_gen.records.first_error import first_error
from data_gen.records.solutions import GradedSolution, LabeledSolution, StepEstimate

# A graded solution cut into its steps, or the reason why it cannot be
Cut = Callable[[GradedSolution, StepEstimate], StepPath | str]


async def branches(
    source: RolloutSource, labeled: Sequence[tuple[StepPath, LabeledSolution]], n: int, cut: Cut
) -> list[StepPath]:
    """At most `n` wrong solutions that leave each of the labeled ones behind its last good step at which
    rollouts were drawn; no text twice. Their indices are -1, -2, …, as no draw from the prompt has them.
    """
    seen = {path.graded.solution.token_ids for path, _ in labeled}
    found = list[StepPath]()
    for path, outcome in labeled:
        n_good, n_own = _n_good(outcome), 0
        for whole in await _wrong_rollouts(source, path, outcome, n_good):
            if n_own < n and whole.solution.token_ids not in seen:
                seen.add(whole.solution.token_ids)
                numbered = replace(whole, solution=replace(whole.solution, index=-1 - len(found)))
                branch = cut(numbered, path.root)
                if isinstance(branch, StepPath) and len(branch.steps) > n_good:
                    believed = tuple(float(step >= n_good) for step in range(len(branch.steps)))
                    found.append(replace(branch, believed=believed))
                    n_own += 1
    return found


async def _wrong_rollouts(
    source: RolloutSource, path: StepPath, labeled: LabeledSolution, n_good: int
) -> list[GradedSolution]:
    """Those behind so many steps, as whole solutions: text and ids from the beginning on."""
    if not n_good:
        return []
    prefix, wrong = path.prefixes[n_good - 1], []
    n_begun = len(prefix.token_ids) - len(path.prefixes[-1].token_ids) + len(path.graded.solution.token_ids)
    begun = path.graded.solution.token_ids[:n_begun]
    for index in range(labeled.estimates[n_good - 1].n_rollouts):
        rollout = await source.draw(prefix, index)
        if not rollout.verdict.is_correct and unlabelable_reason(rollout) is None:
            ids = begun + rollout.solution.token_ids
            whole = replace(rollout.solution, token_ids=ids, logprobs=())
            wrong.append(replace(rollout, solution=whole))
    return wrong


def _n_good(labeled: LabeledSolution) -> int:
    """How many steps come before a located error, up to the last of them at which rollouts were drawn."""
    error = first_error(labeled.labels) or 0
    return 1 + max((step for step in range(error) if labeled.estimates[step].n_rollouts), default=-1)
