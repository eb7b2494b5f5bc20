"""Greedy answers of a policy that is being trained."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from transformers import AutoModelForCausalLM

from data_gen.grading.graders import load_grader
from data_gen.models.prompt_layout import PromptLayout
from data_gen.models.tokenizer import load_tokenizer
from data_gen.problems.sources import ProblemSource, load_problems
from prm_train.rl.validation import validate


@pytest.fixture
def own_accelerate_state() -> Iterator[None]:
    """accelerate keeps the precision that was asked for first, for all tests of a process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("own_accelerate_state")
def test_a_policy_that_trains_under_autocast_is_drawn_from_step_by_step(
    tiny_policy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Under accelerate's autocast the engine's check of itself fails: it fell back to whole texts."""
    model = AutoModelForCausalLM.from_pretrained(tiny_policy)
    trained = Accelerator(cpu=True, mixed_precision="bf16").prepare_model(model)
    assert "forward" in vars(trained)
    tokenizer, layout = load_tokenizer(str(tiny_policy)), PromptLayout()
    problems = load_problems(ProblemSource("arithmetic", n=3))
    with caplog.at_level(logging.INFO):
        found = validate(trained, tokenizer, layout, problems, load_grader("auto", "arithmetic"), 8)
    assert found.n_problems == 3
    assert "sampled with" not in caplog.text
    assert "forward" in vars(trained)  # the training goes on under autocast
