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
    # Of accelerate: under its autocast the engine's passes differ by more than they may, and it falls back to
    # whole texts; bound to the copy, they would keep its weights, too
    for name in ("forward", "_original_forward"):
        vars(own).pop(name, None)
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
    """Calls `look(step, model)` at the start, every `n_steps` optimizer steps and at the end, wherever that
    is. `looked_at` is the last step of which an earlier attempt has told.
    """

    def __init__(self, n_steps: int, look: Callable[[int, Any], None], looked_at: int | None = None) -> None:
        self.n_steps, self.look, self.looked_at = n_steps, look, looked_at

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0:
            self._look_once(state, kwargs["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.n_steps == 0:
            self._look_once(state, kwargs["model"])

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._look_once(state, kwargs["model"])

    def _look_once(self, state: Any, model: Any) -> None:
        if state.is_world_process_zero and state.global_step != self.looked_at:
            self.look(state.global_step, model)
            self.looked_at = state.global_step
