"""The labels of one problem's solutions, as `prm-train label` makes them; `label`: those of many problems in
one call, for notebooks and scripts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from data_gen.files.run_folder import work_through
from data_gen.grading.graders import Grader, GraderName, load_grader
from data_gen.labeling.beliefs import Belief, Beliefs, belief, checked_scores
from data_gen.labeling.problem_tokens import most_tokens_per_problem, n_searched
from data_gen.labeling.rollouts import LENGTH, UNKNOWN
from data_gen.labeling.settings import LabelSettings, check_scored
from data_gen.labeling.solutions import LabelingTask, label_samples
from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import IN_MEMORY, Ledger
from data_gen.policies.open_problems import n_open_problems
from data_gen.policies.protocol import Policy
from data_gen.process.event_loops import run_apart
from data_gen.records.draw_keys import DrawKey
from data_gen.records.sampling import Usage
from data_gen.records.solutions import GradedSolution, LabeledSolution, Problem
from data_gen.sampling.draw_settings import DrawSettings
from data_gen.sampling.solutions import draw_solutions


@dataclass(frozen=True)
class Labeled:
    """What became of the solutions of one problem: labeled, or the reason why not.

    Of the rollouts beyond its samples, each once: how many there are, how many were truncated or got no
    verdict, and what they cost.
    """

    outcomes: tuple[LabeledSolution | str, ...]
    n_rollouts: int
    n_unknown: int
    usage: Usage

    @property
    def solutions(self) -> list[LabeledSolution]:
        return [outcome for outcome in self.outcomes if isinstance(outcome, LabeledSolution)]


class UnknownCountingPolicy(LedgerPolicy):
    """Also knows which of its draws were truncated or got no verdict, and so count as failures of the
    budget.
    """

    def __init__(self, policy: Policy, ledger: Ledger, problem: Problem) -> None:
        super().__init__(policy, ledger, problem)
        self.unknown: set[DrawKey] = set()

    def judged(self, key: DrawKey, graded: GradedSolution) -> None:
        if graded.verdict.kind is UNKNOWN or graded.solution.finish_reason is LENGTH:
            self.unknown.add(key)


async def label_problem(
    recorded: UnknownCountingPolicy,
    grader: Grader,
    vocabulary: list[bytes],
    draws: DrawSettings,
    n_samples: int,
    settings: LabelSettings,
    beliefs: Mapping[int, Belief] = MappingProxyType({}),
) -> Labeled:
    """The labels of the first `n_samples` solutions of the policy's problem; `beliefs` of scorers, by sample
    index.
    """
    params = draws.params(draws.temperature)
    drawn = await draw_solutions(recorded, grader, params, range(n_samples))
    n_drawn, n_unknown, spent = recorded.n_draws, len(recorded.unknown), recorded.usage
    outcomes = await label_samples(
        LabelingTask(recorded, grader, drawn, vocabulary, draws.step_separator, params, settings, beliefs)
    )
    return Labeled(
        outcomes, recorded.n_draws - n_drawn, len(recorded.unknown) - n_unknown, recorded.usage - spent
    )


def label(
    problems: Sequence[Problem],
    policy: Policy,
    *,
    grader: GraderName = "math",
    n_samples: int = 4,
    ledger: Path = IN_MEMORY,
    scores: Mapping[str, Mapping[int, Sequence[float | None]]] = MappingProxyType({}),
    **settings: Any,
) -> list[Labeled]:
    """For each problem `n_samples` solutions by `policy`, graded, and labels of their steps from rollouts.

    `settings` are those of `LabelSettings` (method, n_rollouts, …) and of `DrawSettings` (max_new_tokens, …).
    A `ledger` keeps the draws: calls that share the file draw nothing twice, and each is charged what it
    would cost alone. `scores` are those that a scorer gave the steps of wrong samples, by problem id and
    sample index (null among them: none for this sample): `posterior` begins with them, and `min_doubt`
    chooses by them. Works in a notebook, too, whose event loop is running. Raises ValueError for settings
    that do not go together and scores of other problems, TypeError for a setting that there is not,
    InputError for scores that are not numbers from 0 to 1, one for each step.
    """
    if n_samples < 1:
        raise ValueError(f"n_samples: got {n_samples}, expected at least 1")
    of_draws = {each.name for each in fields(DrawSettings)}
    draws = DrawSettings(**{name: value for name, value in settings.items() if name in of_draws})
    method = LabelSettings(**{name: value for name, value in settings.items() if name not in of_draws})
    check_scored(method, is_scored=bool(scores))
    beliefs = _beliefs(scores, {each.problem_id for each in problems}, n_samples)
    reader, labeled = load_grader(grader, "a notebook"), dict[int, Labeled]()

    async def run() -> None:
        vocabulary = policy.token_bytes()
        n_solutions = n_samples + n_searched(method)
        n_tokens = most_tokens_per_problem(problems, policy.encode_prompt, n_solutions, draws.max_new_tokens)
        n_open = n_open_problems(policy, n_tokens)
        ledger.parent.mkdir(parents=True, exist_ok=True)
        with Ledger(ledger) as store:

            async def one(problem: Problem) -> Labeled:
                recorded = UnknownCountingPolicy(policy, store, problem)
                believed = beliefs.get(problem.problem_id, {})
                return await label_problem(recorded, reader, vocabulary, draws, n_samples, method, believed)

            await work_through(problems, one, labeled.__setitem__, n_open)

    run_apart(run())
    return [labeled[number] for number in range(len(problems))]


def _beliefs(
    scores: Mapping[str, Mapping[int, Sequence[float | None]]], problem_ids: set[str], n_samples: int
) -> Beliefs:
    found = dict[str, dict[int, Belief]]()
    for name, of_problem in scores.items():
        if name not in problem_ids:
            raise ValueError(f"scores: of problem {name}, which is none of these; expected theirs alone")
        for index, each in of_problem.items():
            if index not in range(n_samples):
                raise ValueError(
                    f"scores: of sample {index!r} of {name}; expected samples 0 to {n_samples - 1}"
                )
            right = checked_scores(each, f"sample {index} of {name}")
            if right is not None:
                found.setdefault(name, {})[index] = belief(right)
    return found
