"""Measures of distributions by hand, and those of a real model by its plain forward pass."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from data_gen.settings.errors import InputError
from prm_train.scoring import confidence
from prm_train.scoring.confidence import (
    ConfidenceModel,
    deepconf_scores,
    group_means,
    self_certainty,
    token_confidence,
)
from tests.tiny_models import tiny_config, tiny_model

PROMPT = (7, 8, 9)
TEXTS = [(10, 11), (12,), (13, 14, 15, 16, 17, 18), (10, 11, 19)]


def test_self_certainty_is_the_divergence_of_the_distribution_from_the_uniform_one() -> None:
    p = torch.tensor([[1 / 4] * 4, [1 / 2, 1 / 4, 1 / 8, 1 / 8]])
    # in bits: the mean of 1, 2, 3 and 3, minus the 2 of four equal tokens
    assert self_certainty(p.log()).tolist() == pytest.approx([0, 0.25 * math.log(2)], abs=1e-7)


def test_confidence_of_a_token_is_over_the_twenty_most_likely_ones() -> None:
    p = torch.tensor([2, *[3] * 20, 2]) / 64
    assert token_confidence(p.log()[None]).tolist() == pytest.approx([math.log(64 / 3)])
    few = torch.tensor([[1 / 2, 1 / 4, 1 / 8, 1 / 8]])
    assert token_confidence(few.log()).tolist() == pytest.approx([2.25 * math.log(2)])


def test_groups_slide_by_a_token_and_a_short_text_is_one_group() -> None:
    assert group_means(torch.tensor([1.0, 2, 3, 6]), 2).tolist() == [1.5, 2.5, 4.5]
    assert group_means(torch.tensor([1.0, 3]), 5).tolist() == [2.0]


def test_a_text_is_as_sure_as_its_mean_its_tail_its_lowest_groups() -> None:
    """21 tokens are 20 groups of two, of which two are a tenth."""
    scores = deepconf_scores(torch.arange(21, dtype=torch.float64).flip(0), window=2)
    assert scores == {"mean": 10.0, "tail": 0.5, "lowest": 0.5, "bottom": (0.5 + 1.5) / 2}
    assert set(deepconf_scores(torch.tensor([1.0, 3.0]), window=2048).values()) == {2.0}


@pytest.mark.parametrize("name", ["qwen2", "phi3|longrope"])
@pytest.mark.parametrize("max_logits", [2**27, 1])
def test_a_model_says_the_same_of_texts_together_and_of_each_alone(
    name: str, max_logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confidence, "MAX_LOGITS", max_logits)
    model = tiny_model(AutoModelForCausalLM, tiny_config(name, 50))
    found = ConfidenceModel(model, window=2).measure(PROMPT, TEXTS)
    for text, measures in zip(TEXTS, found, strict=True):
        with torch.inference_mode():
            p = (
                model(input_ids=torch.tensor([[*PROMPT, *text]]))
                .logits[0, len(PROMPT) - 1 : -1]
                .double()
                .softmax(-1)
            )
        divergences = (1 / 50 * (1 / 50 / p).log()).sum(-1)
        sure = -p.sort(descending=True).values[:, :20].log().mean(-1)
        groups = [float(sure[i : i + 2].mean()) for i in range(max(1, len(text) - 1))]
        assert measures == pytest.approx(
            {
                "self_certainty": float(divergences.mean()),
                "deepconf mean": float(sure.mean()),
                "deepconf tail": float(sure[-2:].mean()),
                "deepconf lowest": min(groups),
                "deepconf bottom": min(groups),
            },
            rel=1e-4,
        )


def test_what_cannot_be_measured_is_refused() -> None:
    model = tiny_model(AutoModelForCausalLM, tiny_config("qwen2", 50, tie_word_embeddings=False))
    with pytest.raises(ValueError, match="one has no tokens"):
        ConfidenceModel(model, 2).measure(PROMPT, [()])
    model.lm_head.bias = torch.nn.Parameter(torch.tensor([-math.inf] + [0.0] * 49))
    with pytest.raises(InputError, match="the probability 0"):
        ConfidenceModel(model, 2).measure(PROMPT, [(1,)])
