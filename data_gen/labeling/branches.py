"""Wrong rollouts as solutions of their own, whose first errors cost little to find.

A search for a first error draws rollouts behind the solution's last good step, and many of them are wrong.
Each is a new wrong solution that begins with steps known to be good: its error is among fewer steps, and what
its rollouts have to write is shorter. OmegaPRM (Luo et al. 2024) takes its solutions from there alone.
"""

from collections.abc import Callable
from dataclasses import replace

from data_gen.labeling.first_error import StepPath
from data_gen.labeling.rollouts import RolloutSource, unlabelable_reason
from data_gen.records.first_error import first_error
from data_gen.records.solutions import GradedSolution, LabeledSolution, StepEstimate

# A graded solution cut into its steps, or the reason why it cannot be
Cut = Callable[[GradedSolution, StepEstimate], StepPath | str]


async def branches(
    source: RolloutSource, path: StepPath, labeled: LabeledSolution, n: int, cut: Cut
) -> list[StepPath]:
    """At most `n` distinct wrong solutions that leave `path` behind the last good step at which rollouts were
    drawn. Their index is negative, as no draw from the prompt has one.
    """
    error = first_error(labeled.labels)
    n_good = 0 if error is None else _last_drawn(labeled, error) + 1
    if not n_good:
        return []
    prefix, n_drawn = path.prefixes[n_good - 1], labeled.estimates[n_good - 1].n_rollouts
    begun = path.graded.solution.token_ids[: len(prefix.token_ids) - _prompt_size(path)]
    found = dict[tuple[int, ...], StepPath]()
    for index in range(n_drawn):
        rollout = await source.draw(prefix, index)
        ids = begun + rollout.solution.token_ids
        if rollout.verdict.is_correct or unlabelable_reason(rollout) is not None or ids in found:
            continue
        name = path.graded.solution.index
        solution = replace(rollout.solution, index=-1 - index - n_drawn * name, token_ids=ids, logprobs=())
        branch = cut(replace(rollout, solution=solution), path.root)
        if isinstance(branch, StepPath) and len(branch.steps) > n_good:
            believed = tuple(float(step >= n_good) for step in range(len(branch.steps)))
            found[ids] = replace(branch, believed=believed)
        if len(found) == n:
            break
    return list(found.values())


def _last_drawn(labeled: LabeledSolution, error: int) -> int:
    """The last step before the error at which rollouts were drawn, -1 for none."""
    return max((step for step in range(error) if labeled.estimates[step].n_rollouts), default=-1)


def _prompt_size(path: StepPath) -> int:
    return len(path.prefixes[-1].token_ids) - len(path.graded.solution.token_ids)
