"""How fast the engine samples on a card, against `generate` on the same weights, in one process, in turns.

16 solutions of each prompt at temperature 0.7, bfloat16. Solutions end at lengths of their own: a draw's
limit is log-normal with a median of 120 tokens, from 16 up to `MAX_TOKENS`, and what a model writes behind
EOS is not counted. `generate` runs until the longest of its batch ends, as it does. Tokens that belong to
solutions per second of wall clock; median of the rounds. Models: the real one, and a random one of
Qwen2.5-1.5B's shape, which never ends by itself.
"""

import asyncio
import gc
import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen2Config

from benchmarks.gpu.correctness import QUESTIONS, keep
from benchmarks.gpu.setting import Setting
from benchmarks.sampling import Generate, Ids
from data_gen.models.pretrained import load_model
from data_gen.models.tokenizer import load_tokenizer
from data_gen.policies.engine.transformers_policy import TransformersPolicy
from data_gen.records.sampling import SamplingParams

MAX_TOKENS, N_SAMPLES, TEMPERATURE = 320, 16, 0.7
QWEN_1_5B = {
    "hidden_size": 1536,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "intermediate_size": 8960,
    "vocab_size": 151_936,
    "tie_word_embeddings": True,
}


def questions(setting: Setting, n: int) -> list[str]:
    """Of GSM8K, where it is there, else made of a few."""
    if setting.problems is None:
        return [f"{QUESTIONS[i % len(QUESTIONS)]} ({i})" for i in range(n)]
    lines = (setting.problems / "gsm8k" / "test.jsonl").read_text().splitlines()[:n]
    return [json.loads(line)["question"] for line in lines]


def lengths(n: int, seed: int, most: int) -> list[int]:
    rng = random.Random(seed)
    return [min(max(round(rng.lognormvariate(4.787, 0.5)), 16), most) for _ in range(n)]


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
    model: PreTrainedModel, tokenizer: Any, setting: Setting, n_draws: int, n_rounds: int
) -> dict[str, Any]:
    """Tokens per second of each contender, and the ratio of the engine's best to generate's best."""
    sizes = (2, 4) if setting.is_small else (64, 256)
    engines = {rows: TransformersPolicy(model, tokenizer, max_rows=rows) for rows in (*sizes, 4 * sizes[1])}
    policy = engines[sizes[0]]
    prompts = [policy.encode_prompt(question) for question in questions(setting, n_draws // N_SAMPLES)]
    prefixes = [prompt for prompt in prompts for _ in range(N_SAMPLES)]

    def limits(seed: int) -> list[int]:
        return lengths(n_draws, seed, 20 if setting.is_small else MAX_TOKENS)

    def generate(batch: int, seed: int) -> tuple[int, float]:
        model.set_attn_implementation("sdpa")
        return seconds_of(
            lambda: generated_tokens(Generate(model, policy, batch), prefixes, limits(seed)),
            setting.is_cuda,
        )

    def engine(rows: int, seed: int) -> tuple[int, float]:
        model.set_attn_implementation("ragged_decode")
        return seconds_of(lambda: engine_tokens(engines[rows], prefixes, limits(seed)), setting.is_cuda)

    rates: dict[str, list[float]] = {}
    engine_tokens(engines[sizes[0]], prefixes[:2], [8, 8])
    for round_ in range(n_rounds):
        contenders: list[tuple[str, Callable[[int, int], tuple[int, float]], int]]
        contenders = [(f"generate, batch {size}", generate, size) for size in sizes]
        contenders += [(f"engine, {rows} rows", engine, rows) for rows in engines]
        for name, contender, size in contenders:
            n_tokens, seconds = contender(size, round_)
            rates.setdefault(name, []).append(n_tokens / seconds)
            print(f"  {name}: {n_tokens / seconds:,.0f} tokens a second", flush=True)
    best = {
        side: max(statistics.median(values) for name, values in rates.items() if name.startswith(side))
        for side in ("generate", "engine")
    }
    same = [statistics.median(rates[f"engine, {n} rows"]) / statistics.median(rates[f"generate, batch {n}"])
            for n in sizes]  # fmt: skip
    return {
        "n_parameters": model.num_parameters(),
        "n_draws": n_draws,
        "n_rounds": n_rounds,
        "tokens_per_second": {name: round(statistics.median(values)) for name, values in rates.items()},
        "ratio": round(best["engine"] / best["generate"], 2),
        "ratio_at_equal_rows": {str(n): round(ratio, 2) for n, ratio in zip(sizes, same, strict=True)},
    }


def measure(setting: Setting) -> dict[str, Any]:
    tokenizer = load_tokenizer(str(setting.model))
    dtype = "bfloat16" if setting.is_cuda else "float32"  # which most CPUs compute slowly
    real = load_model(AutoModelForCausalLM, str(setting.model), dtype=dtype).to(setting.device)
    n_draws = 16 if setting.is_small else 1024
    found = {"real": compare(real.eval(), tokenizer, setting, n_draws, 1 if setting.is_small else 2)}
    keep(setting.folder, found)
    del real
    sizes = {**QWEN_1_5B, "hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 48}
    sizes = {**sizes, "vocab_size": 1000} if setting.is_small else QWEN_1_5B
    large = random_model(tokenizer, sizes, setting.device, getattr(torch, dtype))
    found["qwen2_1.5b_random"] = compare(large, tokenizer, setting, n_draws, 1)
    return found
