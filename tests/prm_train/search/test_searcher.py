"""The search of one problem: what is durable when it is finished, and what becomes of a question that nobody
can read.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from data_gen.files.run_clock import Seconds
from data_gen.ledger.store import Ledger
from data_gen.policies.simulated import SimulatedPolicy
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.records.sampling import Completion, SamplingParams, Usage
from data_gen.records.solutions import Problem
from prm_train.encoding.aggregation import Aggregation
from prm_train.scoring.protocol import PathTooLongError, ScorerUsage, ScoringTree
from prm_train.search.results import Cost, ProblemResult, Scoring
from prm_train.search.searcher import Searcher
from prm_train.search.settings import SearchConfig
from prm_train.search.summary import summarize

PROBLEM = Problem("p1", "Start with 3: fold 4, times 9.", "9 1")
N_PROMPT = 31  # tokens: its characters and a newline


class NearsightedScorer:
    """Reads no question at all."""

    scorer_id, scores_steps = "nearsighted", True
    aggregation: Aggregation = "min"

    @asynccontextmanager
    async def session(self, question: str) -> AsyncIterator[ScoringTree]:
        raise PathTooLongError(f"path of {len(question)} tokens: longer than the scorer's context of 1")
        yield


class BusyPolicy(SimulatedPolicy):
    """Takes a while for a draw, and knows how many were under way at most."""

    n_open = n_open_at_most = 0

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        self.n_open += 1
        self.n_open_at_most = max(self.n_open, self.n_open_at_most)
        await asyncio.sleep(0.02)
        self.n_open -= 1
        return await super().sample(prefix_ids, params, index)


def search(
    folder: Path, policy: SimulatedPolicy, scorers: dict[str, NearsightedScorer]
) -> tuple[ProblemResult, int]:
    """The result, and how many draws another process would see when it is there."""
    config = SearchConfig(
        folder,
        prm="prm",
        n_samples=3,
        n_difficulty_draws=2,
        max_new_tokens=400,
        strategies=("beam",),
        sizes=(4,),
        aggregation="min",
    )
    with Ledger(folder / "l.sqlite") as ledger, Ledger(folder / "l.sqlite", read_only=True) as reader:
        result = asyncio.run(Searcher(config, policy, ledger, ArithmeticGrader(), scorers).search(PROBLEM))
        return result, reader.n_draws()


def test_a_question_that_the_scorer_cannot_read_is_an_outcome_and_its_draws_are_committed(tmp_path: Path):
    result, n_committed = search(tmp_path, SimulatedPolicy(), {"prm": NearsightedScorer()})
    assert n_committed == 1 + 3 + 2
    assert result.too_long_for == ("prm",)
    assert [run.candidates for run in result.trees["beam"].values()] == [()]
    assert [(each.scores, each.is_finished) for each in result.samples[1.0]] == [({}, True)] * 3
    assert [(run.spec, run.n, run.temperature, run.settings) for run in result.runs] == [
        ("greedy", 1, 0.0, {}),
        ("samples", 3, 1.0, {}),
        ("beam", 4, 1.0, {"width": 4, "max_steps": 40, "aggregation": "min", "survivors": "best"}),
    ]
    assert result.scorings == (Scoring("prm", 1.0, 3, ScorerUsage()),)
    assert result.trees["beam"][4].cost == Cost()
    costs = [*(run.cost for run in result.runs), result.difficulty.cost]
    # As the policy says
    assert result.usage == Usage(sum(cost.policy.n_generated for cost in costs), 6 * N_PROMPT)
    assert result.cost_of_samples(1.0).policy.n_prefilled == N_PROMPT
    assert result.cost_of_samples(1.0).policy.n_cached == 2 * N_PROMPT
    found = summarize([result], Seconds())
    assert found.n_without_score == 3
    assert found.too_long_for == {"policy": (), "prm": ("p1",), "orm": ()}


def test_whole_solutions_of_a_problem_are_drawn_side_by_side(tmp_path: Path):
    policy = BusyPolicy()
    search(tmp_path, policy, {"prm": NearsightedScorer()})
    assert policy.n_open_at_most == 1 + 3 + 2  # greedy, the samples, those for its difficulty


def test_a_question_that_the_policy_cannot_read_has_empty_candidates_that_choose_nothing(tmp_path: Path):
    result, n_committed = search(tmp_path, SimulatedPolicy(context_length=10), {"prm": NearsightedScorer()})
    assert n_committed == 0
    assert result.too_long_for == ("policy", "prm")
    told = {
        (each.text, each.n_tokens, each.answer, each.is_unknown, each.can_vote)
        for each in (result.greedy, *result.samples[1.0])
    }
    assert told == {("", 0, None, True, False)}
