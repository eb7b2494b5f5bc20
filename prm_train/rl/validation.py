"""How many held-out problems the policy solves while it is trained: by greedy answers, from this project's
own engine on a copy of the weights.
"""

import asyncio
import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback

from data_gen.models.prompt_layout import PromptLayout
from data_gen.policies.engine.transformers_policy import TransformersPolicy
from data_gen.process.event_loops import run_apart
from data_gen.records.grader import Grader
from data_gen.records.sampling import SamplingParams
from data_gen.records.solutions import Problem, Solution


@dataclass(frozen=True)
class Validation:
    """`solved` is the share of the problems with a correct answer; those whose verdict is unknown are not
    solved, and counted. `n_tokens` were generated.
    """

    solved: float
    n_problems: int
    n_unknown: int
    n_tokens: int
    seconds: float


def validate(
    model: Any,
    tokenizer: Any,
    layout: PromptLayout,
    problems: Sequence[Problem],
    grader: Grader,
    n_tokens: int,
) -> Validation:
    """Of a greedy answer of at most `n_tokens` tokens to each problem."""
    start = time.perf_counter()
    # The engine changes how a model attends and may lay its weights out anew
    own = copy.deepcopy(model)
    own.config.use_cache = True
    own.gradient_checkpointing_disable()
    # One answer a problem: nothing of its prompt is needed twice
    policy = TransformersPolicy(own, tokenizer, prompt=layout, prefix_cache_bytes=0)
    params = SamplingParams(n_tokens, temperature=0.0)

    async def answer(problem: Problem) -> tuple[bool, bool, int]:
        draw = await policy.sample(policy.encode_prompt(problem.question), params, 0)
        solution = Solution(problem.problem_id, 0, draw.text, draw.finish_reason, draw.token_ids)
        verdict = (await grader.grade(problem, solution)).verdict
        return verdict.is_correct, verdict.is_unknown, len(draw.token_ids)

    async def answers() -> list[tuple[bool, bool, int]]:
        return await asyncio.gather(*map(answer, problems))

    are_right, are_unknown, lengths = zip(*run_apart(answers()), strict=True)
    return Validation(
        sum(are_right) / len(problems),
        len(problems),
        sum(are_unknown),
        sum(lengths),
        round(time.perf_counter() - start, 2),
    )


class ValidationCallback(TrainerCallback):
    """Calls `look(step, model)` at the start, every `n_steps` optimizer steps and at the end."""

    def __init__(self, n_steps: int, look: Callable[[int, Any], None]) -> None:
        self.n_steps, self.look = n_steps, look

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0 and state.is_world_process_zero:
            self.look(0, kwargs["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        step = state.global_step
        is_due = step % self.n_steps == 0 or step == state.max_steps
        if is_due and state.is_world_process_zero:
            self.look(step, kwargs["model"])
