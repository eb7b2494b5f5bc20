"""What N samples cost: hand-worked trees, and what a real scorer books."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen2ForTokenClassification

from data_gen.records.sampling import Usage
from data_gen.records.solutions import Problem
from prm_train.evaluation.costs import Costs
from prm_train.evaluation.results import TokensPerProblem
from prm_train.scoring.flops import ForwardFlops, read_forward_flops
from prm_train.scoring.incremental import IncrementalScorer
from prm_train.scoring.protocol import ScorerUsage
from prm_train.scoring.work import Work, passed
from prm_train.search.model_flops import models_flops
from prm_train.search.model_work import scored_work
from prm_train.search.results import (
    Cost,
    Difficulty,
    ProblemResult,
    Scoring,
    StrategyRun,
)
from prm_train.search.settings import SearchConfig
from prm_train.strategies.best_of_n import score_candidates
from prm_train.strategies.candidates import Candidate
from tests.tiny_models import SMALLEST, tiny_config, write_tiny_model

TEXTS = ("a\nb", "a\nc", "b\nb", "a\nb\n", "", "a")
TOKENS = ((10, 3, 4), (10, 3, 5), (10, 2, 4), (10, 3, 4), (), (10, 3))


def candidates(texts: tuple[str, ...] = TEXTS) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(
            "p",
            i,
            text,
            "1",
            True,
            n_tokens=i + 1,
            scores={"prm": (0.5,)} if tokens else {},
            scorer_tokens={"prm": tokens} if tokens else {},
        )
        for i, (text, tokens) in enumerate(zip(texts, TOKENS, strict=True))
    )


def test_a_scorer_computes_the_question_once_and_each_distinct_step_behind_the_same_steps_once() -> None:
    some = candidates()
    assert scored_work(some[:1], "prm", "\n") == Work(17, 17 * 18 // 2)
    # a, and behind it b and c: 10 + 3 + 4 + 5; c stands behind 13 tokens
    assert scored_work(some[:2], "prm", "\n") == Work(22, 17 * 18 // 2 + 14 + 15 + 16 + 17 + 18)
    assert scored_work(some, "prm", "\n").n_tokens == 10 + (3 + 4 + 5) + (2 + 4)
    assert scored_work(some[4:5], "prm", "\n") == Work()  # nothing to score
    assert scored_work(some, "orm", "\n") == Work()


def test_paths_that_are_computed_whole_count_whole_and_equal_ones_once() -> None:
    whole = [
        replace(each, scorer_tokens={"prm": (sum(each.scorer_tokens["prm"]),)}) for each in candidates()[:4]
    ]
    assert scored_work([*whole, whole[0]], "prm", "\n").n_tokens == 17 + 18 + 16  # a, b three times


def test_costs_at_n_are_means_over_the_blocks_of_the_accuracies() -> None:
    some = candidates()
    sampled = StrategyRun("samples", 6, 1.0, some, Cost(Usage(21, 7)))
    result = ProblemResult(
        Problem("p", "?", "1"),
        1.0,
        (sampled,),
        (Scoring("prm", 1.0, 6, ScorerUsage(28)),),
        Difficulty(0, 0),
        Usage(),
    )
    costs = Costs([result], "\n", {"policy": ForwardFlops(2, 3, 5), "prm": ForwardFlops(7, 0, 11)})
    # blocks of 4: the first four alone
    first = scored_work(some[:4], "prm", "\n")
    generated = passed(7, 1) + passed(7, 2) + passed(7, 3) + passed(7, 4)
    flops = 2 * (10 + 7) + 3 * 10 + 5 * (generated.n_pairs + 28) + 7 * 28 + 11 * first.n_pairs
    assert costs.of_samples(4, 1.0, "prm") == TokensPerProblem(10, 28, 7, flops)
    # blocks of 2: 1 + 2, 3 + 4, 5 + 6 tokens; trees of 10 + 12, 10 + 13, 10 + 3
    found = costs.of_samples(2, 1.0, "prm")
    assert (found.n_generated, found.n_scorer, found.n_prefilled) == (7, (22 + 23 + 13) / 3, 7)
    assert Costs([result], "\n", {}).of_samples(6, 1.0, None) == TokensPerProblem(21, 0, 7)


class LetterEncoding:
    """A token a letter, and one at the end of a step."""

    def encode_head(self, question: str) -> tuple[int, ...]:
        return tuple(ord(letter) % 90 + 5 for letter in question)

    def encode_step(self, step: str) -> tuple[int, ...]:
        return (*self.encode_head(step), 1)


def prm() -> PreTrainedModel:
    return Qwen2ForTokenClassification(tiny_config("qwen2", 100, num_labels=2)).eval()


@pytest.mark.parametrize("is_cached", [True, False])
def test_all_samples_cost_what_the_scorer_booked(is_cached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it computes every path whole."""
    scorer = IncrementalScorer(prm(), LetterEncoding(), scorer_id="tiny", max_batch_tokens=30)
    if not is_cached:
        monkeypatch.setattr(scorer._model, "layout", None)
        scorer._cache.max_bytes = 0
    texts = ("aa\nbbb\nc", "aa\nbbb\ndd", "aa\nc", "e", "", "aa\nbbb\nc")
    drawn = [Candidate("p", i, text, None, False) for i, text in enumerate(texts)]
    scored, booked = asyncio.run(score_candidates(Problem("p", "Why?", "1"), drawn, scorer, "prm", "\n"))
    assert scored_work(scored, "prm", "\n") == Work(booked.n_new, booked.n_pairs)
    assert booked.n_new == (4 + 3 + 4 + 2 + 3 + 2 + 2 if is_cached else 13 + 14 + 9 + 6)
    assert scored[0].scorer_tokens["prm"] == ((4, 3, 4, 2) if is_cached else (13,))


def test_flops_are_counted_from_the_architecture(tmp_path: Path) -> None:
    """Width 16, 2 layers, 2 heads of 8 with 1 for keys, 32 inside: a layer has 256 + 128 + 128 + 256 weights
    of attention and 3 x 512 others.
    """
    n_weights = 2 * (256 + 128 + 128 + 256 + 3 * 512)
    for tie in (True, False):
        config = tiny_config("qwen2", 300, **SMALLEST, tie_word_embeddings=tie)
        AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / f"tied-{tie}")
        assert read_forward_flops(tmp_path / f"tied-{tie}") == ForwardFlops(
            2 * n_weights, 2 * 300 * 16, 4 * 2 * 16
        )
    config.num_labels = 2
    Qwen2ForTokenClassification(config).save_pretrained(tmp_path / "prm")
    assert read_forward_flops(tmp_path / "prm") == ForwardFlops(2 * (n_weights + 32), 0, 128)
    # one token of the prompt and two generated ones, at places 1, 2 and 3
    flops = read_forward_flops(tmp_path / "tied-True")
    assert flops is not None
    assert flops.of(passed(0, 3), 2) == 3 * 2 * n_weights + 2 * 9600 + 128 * 6
    assert read_forward_flops(tmp_path) is None


@pytest.mark.parametrize("kind", ["gpt2", "mixtral"])
def test_flops_of_other_architectures_are_two_a_parameter(kind: str, tmp_path: Path) -> None:
    folder = write_tiny_model(kind, tmp_path / kind)
    model = AutoModelForCausalLM.from_pretrained(folder)
    flops = read_forward_flops(folder)
    assert flops == ForwardFlops(2.0 * model.num_parameters(), is_counted=False)
    assert models_flops(SearchConfig(tmp_path, prm=str(folder)))["prm"] == flops
