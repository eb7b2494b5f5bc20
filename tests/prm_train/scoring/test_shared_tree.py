"""One tree for several methods: the model computes each step once, and each method is charged as if alone."""

import asyncio
from collections.abc import Sequence

import pytest

from data_gen.process.side_by_side import side_by_side
from prm_train.scoring.incremental import IncrementalScorer
from prm_train.scoring.protocol import PathTooLongError, ScorerUsage
from prm_train.scoring.shared_tree import SharedScorer
from tests.prm_train.scoring.test_incremental import make_scorer, score_path
from tests.prm_train.test_public_api import length_scorer

FIRST = (("aa", "b"), ("aa", "cc"))
SECOND = (("aa", "cc", "d"), ("e",))


async def scored_by(scorer: SharedScorer | IncrementalScorer, paths: Sequence[Sequence[str]]):
    async with scorer.session("Q?") as tree:
        return await side_by_side(score_path(tree, path) for path in paths), tree.usage


async def together() -> tuple[list[list[float]], list[ScorerUsage], ScorerUsage]:
    async with SharedScorer(make_scorer()) as shared:
        (first, first_cost), (second, second_cost) = [
            await scored_by(shared, paths) for paths in (FIRST, SECOND)
        ]
        return [*first, *second], [first_cost, second_cost], shared.usage


def test_each_method_is_charged_as_if_alone_and_the_model_computes_each_step_once() -> None:
    """A head of 2 tokens; with its marker a step has one token more than characters."""
    scores, costs, computed = asyncio.run(together())
    assert [cost.n_new for cost in costs] == [2 + 3 + 2 + 3, 2 + 3 + 3 + 2 + 2]
    assert computed.n_new == 2 + 3 + 2 + 3 + 2 + 2
    alone = [asyncio.run(scored_by(make_scorer(), paths)) for paths in (FIRST, SECOND)]
    assert [cost.n_new for _, cost in alone] == [cost.n_new for cost in costs]
    flat = [score for found, _ in alone for path in found for score in path]
    assert [score for path in scores for score in path] == pytest.approx(flat, abs=1e-6)


def test_pairs_of_attention_are_those_of_the_tokens_in_their_places() -> None:
    async def one_path() -> tuple[ScorerUsage, ScorerUsage]:
        async with SharedScorer(make_scorer()) as shared:
            _, cost = await scored_by(shared, FIRST[:1])
            return cost, shared.usage

    cost, computed = asyncio.run(one_path())
    assert cost.n_pairs == computed.n_pairs == 7 * 8 // 2


def test_a_scorer_that_does_not_count_its_paths_gets_a_tree_for_each_method() -> None:
    async def run() -> list[list[float]]:
        async with SharedScorer(length_scorer(scores_steps=True)) as shared:
            return [found for paths in (FIRST, SECOND) for found in (await scored_by(shared, paths))[0]]

    assert asyncio.run(run()) == [[0.02, 0.03], [0.02, 0.04], [0.02, 0.04, 0.05], [0.01]]


def test_a_question_that_fills_the_context_is_told_each_time() -> None:
    async def run() -> None:
        async with SharedScorer(make_scorer()) as shared:
            for _ in range(2):
                with pytest.raises(PathTooLongError):
                    async with shared.session("Q" * 100):
                        pass

    asyncio.run(run())
