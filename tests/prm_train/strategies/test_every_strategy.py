"""What holds of every search in a tree, whatever its rule, with a policy whose paths end after one to six
steps, are cut, and often equal each other.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from data_gen.ledger.policy import LedgerPolicy
from data_gen.ledger.store import Ledger
from data_gen.problems.arithmetic.grader import ArithmeticGrader
from data_gen.records.sampling import Completion, SamplingParams
from prm_train.strategies.beam import BeamConfig, beam_search
from prm_train.strategies.best_first import BestFirstConfig, best_first
from prm_train.strategies.candidates import Candidate
from prm_train.strategies.dvts import DvtsConfig, dvts
from prm_train.strategies.lookahead import LookaheadConfig, lookahead_search
from prm_train.strategies.mcts import MctsConfig, mcts
from prm_train.strategies.particle_filter import ParticleFilterConfig, particle_filter
from prm_train.strategies.paths import PathGrower, SearchPath, search_tree
from prm_train.strategies.rebase import RebaseConfig, rebase
from tests.scripted_search import PARAMS, PROBLEM, ScriptedPolicy, ScriptedScorer

N = 12
Strategy = Callable[[PathGrower], Coroutine[None, None, list[SearchPath]]]
# The strategy of an N and max_steps
STRATEGIES: dict[str, Callable[[int, int], Strategy]] = {
    "beam": lambda n, steps: partial(beam_search, config=BeamConfig(n, 3, steps)),
    "sampled beam": lambda n, steps: partial(
        beam_search, config=BeamConfig(n, 3, steps, survivors="sampled")
    ),
    "lookahead": lambda n, steps: partial(lookahead_search, config=LookaheadConfig(n, 3, steps, lookahead=2)),
    "dvts": lambda n, steps: partial(dvts, config=DvtsConfig(n, 3, steps)),
    "sampled dvts": lambda n, steps: partial(dvts, config=DvtsConfig(n, 3, steps, survivors="sampled")),
    "particle filter": lambda n, steps: partial(particle_filter, config=ParticleFilterConfig(n, steps)),
    "splitting": lambda n, steps: partial(
        particle_filter, config=ParticleFilterConfig(n, steps, resampling="split")
    ),
    "rebase": lambda n, steps: partial(rebase, config=RebaseConfig(n, steps)),
    "best first": lambda n, steps: partial(best_first, config=BestFirstConfig(n, 3, steps, "mean")),
    "mcts": lambda n, steps: partial(mcts, config=MctsConfig(n, 3, steps)),
}
# Whose candidates are at most N: each place is one path from its first step on. The others keep N / M open
# paths however many have ended.
WITH_PLACES = {"particle filter", "splitting", "rebase", "best first", "mcts"}
every_strategy = pytest.mark.parametrize("name", STRATEGIES)


def ragged(so_far: str, index: int) -> str:
    dice = crc32(f"{so_far}#{index}".encode())
    if dice % 17 == 0:
        return "x" * 101 + "\n"  # beyond max_new_tokens
    is_last = dice % 5 == 0 or so_far.count("\n") == 5
    return f"Answer: {dice % 4}" if is_last else "abc"[dice // 7 % 3] + "\n"


def judge(steps: tuple[str, ...]) -> float:
    return crc32(" ".join(steps).encode()) % 1000 / 1000


class RecordingPolicy(LedgerPolicy):
    """Keeps what was asked for at the temperature of the search: text so far and index."""

    def __init__(self, policy: ScriptedPolicy, ledger: Ledger) -> None:
        super().__init__(policy, ledger, PROBLEM)
        self.asked: list[tuple[str, int]] = []

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        if params.temperature == PARAMS.temperature:
            self.asked.append((bytes(prefix_ids).decode().removeprefix(PROBLEM.question), index))
        return await super().sample(prefix_ids, params, index)


class SlowPolicy(ScriptedPolicy):
    """Draws are ready in an order that the seed decides."""

    def __init__(self, write: Callable[[str, int], str], seed: int) -> None:
        super().__init__(write)
        self.random = random.Random(seed)

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        for _ in range(self.random.randrange(20)):
            await asyncio.sleep(0)
        return await super().sample(prefix_ids, params, index)


def search(
    strategy: Strategy, folder: Path, policy: ScriptedPolicy | None = None, score: Any = judge
) -> tuple[list[Candidate], list[tuple[str, int]]]:
    with Ledger(folder / "l.sqlite") as ledger:
        recorded = RecordingPolicy(policy or ScriptedPolicy(ragged), ledger)
        scorer = ScriptedScorer(score)
        candidates, _ = asyncio.run(
            search_tree(strategy, recorded, ArithmeticGrader(), scorer, "prm", PARAMS)
        )
    return candidates, recorded.asked


@every_strategy
def test_no_draw_is_used_twice_and_no_path_that_ended_is_gone_on_from(tmp_path: Path, name: str):
    candidates, asked = search(STRATEGIES[name](N, 40), tmp_path)
    assert len(asked) == len(set(asked))
    n_of = {so_far: sum(text == so_far for text, _ in asked) for so_far, _ in asked}
    assert all(index < n_of[so_far] for so_far, index in asked)  # the first ones, without gaps
    ended = {candidate.text for candidate in candidates}
    assert ended.isdisjoint(n_of)
    assert {candidate.is_finished for candidate in candidates} == {
        True,
        False,
    }  # some are cut, by their length
    assert all(len(candidate.text) > 100 for candidate in candidates if not candidate.is_finished)
    assert all(not candidate.text.endswith("\n") for candidate in candidates if candidate.can_vote)


@every_strategy
def test_results_do_not_depend_on_the_order_in_which_draws_are_ready(tmp_path: Path, name: str):
    results = list[tuple[list[Candidate], list[tuple[str, int]], list[tuple[str, int]]]]()
    for seed in range(3):
        (tmp_path / str(seed)).mkdir()
        policy = SlowPolicy(ragged, seed)
        candidates, asked = search(STRATEGIES[name](N, 40), tmp_path / str(seed), policy)
        results.append((candidates, sorted(asked), policy.asked))
    assert results[0][:2] == results[1][:2] == results[2][:2]
    assert results[0][2] != results[1][2]  # the order was another one


@every_strategy
def test_a_search_of_one_path_is_a_sample(tmp_path: Path, name: str):
    (candidate,), asked = search(STRATEGIES[name](1, 40), tmp_path)
    text, drawn = "", list[tuple[str, int]]()
    while not drawn or text.endswith("\n"):
        drawn.append((text, 0))
        text += ragged(text, 0)
    assert (candidate.text, asked) == (text, drawn)
    assert len(drawn) > 1


@every_strategy
def test_nothing_is_drawn_once_it_cannot_matter(tmp_path: Path, name: str):
    """All paths end with their third step, of 40 that they may have."""

    def write(so_far: str, index: int) -> str:
        return f"Answer: {index}" if so_far.count("\n") == 2 else f"{index}\n"

    candidates, asked = search(STRATEGIES[name](N, 40), tmp_path, ScriptedPolicy(write))
    assert all(candidate.is_finished for candidate in candidates)
    assert len(candidates) == N
    if name not in {"best first", "mcts"}:  # which may go back
        assert len(asked) == 3 * N
    last_end = max(i for i, (so_far, _) in enumerate(asked) if so_far.count("\n") == 2)
    assert len(asked) - last_end <= N  # all in the same round


@every_strategy
def test_paths_that_end_take_no_place_from_open_ones(tmp_path: Path, name: str):
    """Every second first step ends at once, with the highest score."""

    def write(so_far: str, index: int) -> str:
        if not so_far:
            return "Answer: 9" if index % 2 else f"{index}\n"
        return f"Answer: {index}" if so_far.count("\n") == 3 else f"{index}\n"

    candidates, asked = search(
        STRATEGIES[name](N, 40),
        tmp_path,
        ScriptedPolicy(write),
        lambda steps: 1.0 if "9" in steps[0] else 0.5,
    )
    n_later = len([so_far for so_far, _ in asked if so_far])
    assert sum(candidate.text == "Answer: 9" for candidate in candidates) == N // 2
    if name in WITH_PLACES:  # six places, of four steps each
        assert len(candidates) == N
        assert n_later >= N // 2 * 3
    else:
        assert n_later >= N * 3 // 2
    assert sum(candidate.text.count("\n") == 3 for candidate in candidates) >= N // 2


@every_strategy
def test_paths_without_end_cost_n_draws_a_round_and_never_vote(tmp_path: Path, name: str):
    policy = ScriptedPolicy(lambda so_far, index: f"{index}\n")
    candidates, asked = search(STRATEGIES[name](N, 5), tmp_path, policy)
    assert len(asked) == 5 * N
    assert candidates
    assert not any(candidate.can_vote for candidate in candidates)


@every_strategy
def test_n_bounds_the_draws_of_a_round_and_of_paths_with_places_their_number(tmp_path: Path, name: str):
    candidates, asked = search(STRATEGIES[name](N, 6), tmp_path)
    assert len(asked) <= 6 * N
    if name in WITH_PLACES:
        assert sum(candidate.multiplicity for candidate in candidates) <= N
