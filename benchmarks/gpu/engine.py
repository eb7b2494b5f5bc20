"""How fast the engine samples on a card, against `generate` on the same weights, in one process, in turns.

16 solutions of each prompt at temperature 0.7, bfloat16. Solutions end at lengths of their own: a draw's
limit is log-normal with a median of 50 tokens, from 16 up to `MAX_TOKENS`, and what a model writes behind EOS
is not counted. `generate` gets one full batch and runs until the longest of it ends, as it does; the engine
gets four times as many draws as it has rows (two times 1,024), the time to record its steps included. Tokens
that belong to solutions per second of wall clock. Models: the real one, and a random one of Qwen2.5-1.5B's
shape, which never ends by itself.
"""

import asyncio
import gc
import json
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen2Config

from benchmarks.gpu.correctness import QUESTIONS, keep
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.training_runs import QWEN_1_5B, TOY
from benchmarks.sampling import Generate, Ids
from data_gen.models.pretrained import load_model
from data_gen.models.tokenizer import load_tokenizer
from data_gen.policies.engine.ragged_model import ATTENTION
from data_gen.policies.engine.transformers_policy import TransformersPolicy
from data_gen.records.sampling import SamplingParams

MAX_TOKENS, N_SAMPLES, TEMPERATURE = 112, 16, 0.7
SIDES = ("generate", "engine")


def questions(setting: Setting, n: int) -> list[str]:
    """Of GSM8K, where it is there, else made of a few."""
    if setting.problems is None:
        return [f"{QUESTIONS[i % len(QUESTIONS)]} ({i})" for i in range(n)]
    lines = (setting.problems / "gsm8k" / "test.jsonl").read_text().splitlines()[:n]
    return [json.loads(line)["question"] for line in lines]


def lengths(n: int, seed: int, most: int) -> list[int]:
    rng = random.Random(seed)
    return [min(max(round(rng.lognormvariate(3.91, 0.5)), 16), most) for _ in range(n)]


def random_model(tokenizer: Any, sizes: dict[str, Any], device: str, dtype: torch.dtype) -> PreTrainedModel:
    """Of Qwen2's architecture."""
    torch.manual_seed(0)
    config = Qwen2Config(**sizes, eos_token_id=tokenizer.eos_token_id, max_position_embeddings=4096)
    with torch.device(device):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model.eval()


def seconds_of(work: Any, is_cuda: bool) -> tuple[Any, float]:
    gc.collect()
    if is_cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    result = work()
    if is_cuda:
        torch.cuda.synchronize()
    return result, time.perf_counter() - started


def engine_tokens(policy: TransformersPolicy, prefixes: list[Ids], limits: list[int]) -> int:
    async def draw_all() -> int:
        draws = [
            policy.sample(prefix, SamplingParams(limit, TEMPERATURE), index)
            for index, (prefix, limit) in enumerate(zip(prefixes, limits, strict=True))
        ]
        return sum(len(completion.token_ids) for completion in await asyncio.gather(*draws))

    return asyncio.run(draw_all())


def generated_tokens(contender: Generate, prefixes: list[Ids], limits: list[int]) -> int:
    """Each batch runs to its longest limit; what lies behind a draw's own limit does not count."""
    n_tokens = 0
    for start in range(0, len(prefixes), contender.batch):
        part = slice(start, start + contender.batch)
        texts = contender.draw(prefixes[part], max(limits[part]), TEMPERATURE, False)
        n_tokens += sum(min(len(text), limit) for text, limit in zip(texts, limits[part], strict=True))
    return n_tokens


def compare(
    model: PreTrainedModel, tokenizer: Any, setting: Setting, keep_so_far: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Tokens per second of each contender, and the ratio of the engine's best to generate's best. What is
    known after each of them goes to `keep_so_far`: time may end the others.
    """
    sizes = (2, 4) if setting.is_small else (64, 256)
    policy = TransformersPolicy(model, tokenizer, max_rows=sizes[0])
    asked = [policy.encode_prompt(question) for question in questions(setting, 128)]

    def work_of(n_draws: int) -> tuple[list[Ids], list[int]]:
        prefixes = [asked[i // N_SAMPLES] for i in range(n_draws)]
        return prefixes, lengths(n_draws, n_draws, 20 if setting.is_small else MAX_TOKENS)

    rates: dict[str, float] = {}

    def note(name: str, work: Callable[[], int]) -> None:
        n_tokens, seconds = seconds_of(work, setting.is_cuda)
        rates[name] = n_tokens / seconds
        print(f"  {name}: {rates[name]:,.0f} tokens a second", flush=True)
        keep_so_far(summary(model, rates, sizes))

    model.set_attn_implementation("sdpa")
    generated_tokens(Generate(model, policy, 2), asked[:2], [4, 4])  # warms up
    for size in sizes:
        note(
            f"generate, batch {size}",
            partial(generated_tokens, Generate(model, policy, size), *work_of(size)),
        )
    model.set_attn_implementation(ATTENTION)
    engine_tokens(policy, asked[:2], [4, 4])
    for n_rows, n_draws in ((sizes[0], 4 * sizes[0]), (sizes[1], 4 * sizes[1]), (4 * sizes[1], 8 * sizes[1])):
        engine = TransformersPolicy(model, tokenizer, max_rows=n_rows)
        note(f"engine, {n_rows} rows", partial(engine_tokens, engine, *work_of(n_draws)))
    return summary(model, rates, sizes)


def summary(model: PreTrainedModel, rates: dict[str, float], sizes: tuple[int, ...]) -> dict[str, Any]:
    """Of the contenders that have been measured."""
    best = {
        side: max((rate for name, rate in rates.items() if name.startswith(side)), default=None)
        for side in SIDES
    }
    same = {n: (rates.get(f"engine, {n} rows"), rates.get(f"generate, batch {n}")) for n in sizes}
    ours, peer = (best[side] for side in reversed(SIDES))
    return {
        "n_parameters": model.num_parameters(),
        "tokens_per_second": {name: round(rate) for name, rate in rates.items()},
        "ratio": round(ours / peer, 2) if ours and peer else None,
        "ratio_at_equal_rows": {str(n): round(a / b, 2) for n, (a, b) in same.items() if a and b},
    }


def measure(setting: Setting) -> dict[str, Any]:
    tokenizer = load_tokenizer(str(setting.model))
    dtype = "bfloat16" if setting.is_cuda else "float32"  # which most CPUs compute slowly
    real = load_model(AutoModelForCausalLM, str(setting.model), dtype=dtype).to(setting.device)
    found: dict[str, Any] = {}

    def keep_as(name: str) -> Callable[[dict[str, Any]], None]:
        return lambda figures: keep(setting.folder, {**found, name: figures})

    found["real"] = compare(real.eval(), tokenizer, setting, keep_as("real"))
    del real
    large = random_model(
        tokenizer, TOY if setting.is_small else QWEN_1_5B, setting.device, getattr(torch, dtype)
    )
    found["qwen2_1.5b_random"] = compare(large, tokenizer, setting, keep_as("qwen2_1.5b_random"))
    return found
