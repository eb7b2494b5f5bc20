"""Several scorers as one. The tiny models have a token a character: the head "Q?" is 2 tokens, the step "aa"
is 3 with its marker.
"""

import asyncio
from collections.abc import Sequence

import pytest
import torch
from transformers import LlamaConfig, LlamaForTokenClassification

from data_gen.process.side_by_side import side_by_side
from prm_train.scoring.ensemble import Combination, EnsembleScorer, combine
from prm_train.scoring.incremental import IncrementalScorer
from prm_train.scoring.protocol import PathTooLongError, Scorer, ScorerUsage
from tests.scripted_search import ScriptedScorer
from tests.tiny_models import LLAMA

PATHS = (("aa", "b", "c"), ("aa", "b", "dd"), ("e",))


class CharacterEncoding:
    def encode_head(self, question: str) -> tuple[int, ...]:
        return tuple(ord(character) % 90 + 5 for character in question)

    def encode_step(self, step: str) -> tuple[int, ...]:
        return (*self.encode_head(step), 1)


def tiny_scorer(seed: int, context: int = 64) -> IncrementalScorer:
    torch.manual_seed(seed)
    sizes = LLAMA | {"vocab_size": 100, "max_position_embeddings": context, "initializer_range": 0.5}
    model = LlamaForTokenClassification(LlamaConfig(num_labels=2, pad_token_id=0, **sizes)).eval()
    return IncrementalScorer(model, CharacterEncoding(), scorer_id=f"tiny {seed}")


def score_all(scorer: Scorer, paths: Sequence[Sequence[str]] = PATHS) -> tuple[list[float], ScorerUsage]:
    """The scores of the paths at their ends."""

    async def run() -> tuple[list[float], ScorerUsage]:
        async with scorer.session("Q?") as tree:
            nodes = []
            for steps in paths:
                node = tree.root
                for step in steps:
                    node = tree.extend(node, step)
                nodes.append(node)
            return await side_by_side(tree.score(node) for node in nodes), tree.usage

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("scores", "how", "n_std", "combined"),
    [
        ([0.9, 0.5, 0.1], "mean", 1.0, 0.5),
        ([0.9, 0.5, 0.1], "min", 1.0, 0.1),
        # the deviations 0.4, 0 and -0.4 have a mean square of 0.1067
        ([0.9, 0.5, 0.1], "mean_minus_std", 1.0, 0.5 - 0.326599),
        ([0.9, 0.5, 0.1], "mean_minus_std", 0.5, 0.5 - 0.163299),
        ([0.9, 0.5, 0.1], "mean_minus_std", 2.0, 0.0),
        ([0.8, 0.3], "mean_minus_std", 1.0, 0.3),
        ([0.7], "mean_minus_std", 3.0, 0.7),
    ],
)
def test_scores_are_combined(scores: list[float], how: Combination, n_std: float, combined: float):
    assert combine(scores, how, n_std) == pytest.approx(combined, abs=1e-6)


@pytest.mark.parametrize("how", ["mean", "min", "mean_minus_std"])
def test_each_step_gets_the_combined_score_and_each_model_computes_its_tree_once(how: Combination):
    alone = [score_all(tiny_scorer(seed)) for seed in (1, 2)]
    scores, usage = score_all(EnsembleScorer([tiny_scorer(seed) for seed in (1, 2)], how))
    assert scores == pytest.approx(
        [combine(both, how) for both in zip(alone[0][0], alone[1][0], strict=True)]
    )
    assert len(set(scores)) == 3
    # of each: the head 2, aa 3, b 2, c 2, dd 3, e 2
    assert usage.n_new == 2 * 14
    assert usage == alone[0][1] + alone[1][1]


def test_a_path_that_one_scorer_cannot_hold_is_too_long():
    ensemble = EnsembleScorer([tiny_scorer(1), tiny_scorer(2, context=6)])
    assert len(score_all(ensemble, [("aa",)])[0]) == 1
    with pytest.raises(PathTooLongError, match="longer than the scorer's context of 6"):
        score_all(ensemble, [("aa", "b")])


def test_what_an_ensemble_is_names_its_scorers_and_its_rule():
    one, other = tiny_scorer(1), tiny_scorer(2)
    ids = [
        EnsembleScorer([one, other]).scorer_id,
        EnsembleScorer([one, one]).scorer_id,
        EnsembleScorer([one, other], "min").scorer_id,
        EnsembleScorer([one, other], "mean_minus_std").scorer_id,
        EnsembleScorer([one, other], "mean_minus_std", n_std=2.0).scorer_id,
    ]
    assert len(set(ids)) == 5
    assert EnsembleScorer([one, other], "min", n_std=2.0).scorer_id == ids[2]  # which min does not read


def test_scorers_that_do_not_go_together_are_refused():
    prm, orm, other = (ScriptedScorer(lambda steps: 0.5) for _ in range(3))
    orm.scores_steps, other.aggregation = False, "prod"
    with pytest.raises(ValueError, match="got no scorer"):
        EnsembleScorer([])
    with pytest.raises(ValueError, match="got PRMs and ORMs, expected one kind"):
        EnsembleScorer([prm, orm])
    with pytest.raises(ValueError, match="aggregate by min, prod, expected one way"):
        EnsembleScorer([prm, other])
    with pytest.raises(ValueError, match="got n_std -1"):
        EnsembleScorer([prm], n_std=-1)
    assert EnsembleScorer([prm, other], aggregation="last").aggregation == "last"
