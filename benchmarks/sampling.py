"""Sampling with `TransformersPolicy` against `model.generate`, on the same model, in the same process:
`python benchmarks/sampling.py`.

- *steps*: every path is continued by one greedy step (to a newline or EOS), then by the next, as a search
  does; both must write the same tokens. `generate` gets batches of 64 unfinished paths, padded on the left,
  and its fastest stop rule (newline as a second EOS).
- *solutions*: whole solutions at temperature 1, 16 of each prompt; lengths differ, so `generate` waits for
  the longest of its batch.
- *64 a prompt*: the same with 64 of each prompt, as best-of-64 needs them.
- *rollouts*: from every step of those greedy solutions to the end, 8 of each prefix, as Monte Carlo labels
  need them.

Rates are generated tokens that belong to a completion per cpu-second; contenders take turns, and the median
of the rounds is reported.

`--before CHECKOUT` compares two versions of the engine instead: this one and that of another checkout, each
in a process of its own, in turns. It says how many draws differ; a few may, by rounding.
"""

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

from data_gen.policies.engine.transformers_policy import TransformersPolicy, load_policy
from data_gen.problems.arithmetic import rules
from data_gen.problems.arithmetic.task import BASE_POLICY
from data_gen.records.sampling import SamplingParams
from data_gen.records.steps import step_spans

Ids = tuple[int, ...]
BATCH = 64
BASELINE = "generate, batch 64"
MAX_STEP_TOKENS, MAX_SOLUTION_TOKENS = 40, 160


class Generate:
    """The baseline: batches of 64 prefixes through `model.generate`. `model` is a folder, or loaded."""

    def __init__(self, model: str | PreTrainedModel, policy: TransformersPolicy, batch: int = BATCH) -> None:
        loaded: Any = AutoModelForCausalLM.from_pretrained(model) if isinstance(model, str) else model
        self.model, self.batch = loaded.eval(), batch
        self.eos_ids = policy.eos_ids
        self.newline = policy.token_bytes().index(b"\n")

    def draw(self, prefixes: list[Ids], max_new_tokens: int, temperature: float, is_step: bool) -> list[Ids]:
        ends = [*self.eos_ids, *([self.newline] if is_step else [])]
        completions = []
        for start in range(0, len(prefixes), self.batch):
            batch, device = prefixes[start : start + self.batch], self.model.device
            width = max(map(len, batch))
            ids = torch.tensor([(0,) * (width - len(prefix)) + prefix for prefix in batch], device=device)
            mask = torch.tensor(
                [(0,) * (width - len(prefix)) + (1,) * len(prefix) for prefix in batch], device=device
            )
            sampling = (
                {"do_sample": True, "temperature": temperature, "top_k": 0}
                if temperature
                else {"do_sample": False}
            )
            output = self.model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=max_new_tokens,
                eos_token_id=ends,
                pad_token_id=0,
                **sampling,
            )
            for row in output[:, width:].tolist():
                n_tokens = next((i + 1 for i, token_id in enumerate(row) if token_id in ends), len(row))
                completions.append(tuple(row[:n_tokens]))
        return completions

    def write_in_steps(self, prompts: list[Ids]) -> list[Ids]:
        paths = list(prompts)
        growing = list(range(len(paths)))
        while growing:
            steps = self.draw([paths[i] for i in growing], MAX_STEP_TOKENS, 0.0, True)
            for i, step in zip(growing, steps, strict=True):
                paths[i] += step
            growing = [
                i
                for i in growing
                if paths[i][-1] not in self.eos_ids and len(paths[i]) - len(prompts[i]) < MAX_SOLUTION_TOKENS
            ]
        return [path[len(prompt) :] for prompt, path in zip(prompts, paths, strict=True)]


class Engine:
    """Ours: everything is asked for at once, and every path goes its own way."""

    def __init__(self, policy: TransformersPolicy) -> None:
        self.policy = policy

    def draw(self, prefixes: list[Ids], max_new_tokens: int, temperature: float, is_step: bool) -> list[Ids]:
        params = SamplingParams(max_new_tokens, temperature, "\n" if is_step else None)

        async def draw_all() -> list[Ids]:
            draws = [self.policy.sample(prefix, params, index) for index, prefix in enumerate(prefixes)]
            return [completion.token_ids for completion in await asyncio.gather(*draws)]

        return asyncio.run(draw_all())

    def write_in_steps(self, prompts: list[Ids]) -> list[Ids]:
        params = SamplingParams(MAX_STEP_TOKENS, 0.0, "\n")

        async def write(prompt: Ids) -> Ids:
            text: Ids = ()
            while not text or (text[-1] not in self.policy.eos_ids and len(text) < MAX_SOLUTION_TOKENS):
                text += (await self.policy.sample(prompt + text, params, 0)).token_ids
            return text

        async def write_all() -> list[Ids]:
            return list(await asyncio.gather(*map(write, prompts)))

        return asyncio.run(write_all())


Contender = Generate | Engine


def timed(work: Callable[..., list[Ids]], *arguments: Any) -> tuple[list[Ids], float]:
    """The completions and the tokens per cpu-second. What was left behind before is collected before the
    clock starts.
    """
    gc.collect()
    started = time.process_time()
    completions = work(*arguments)
    return completions, sum(map(len, completions)) / (time.process_time() - started)


def draw_prompts(policy: TransformersPolicy, round_: int, n_problems: int) -> list[Ids]:
    """Other ones in each round."""
    problems = islice(rules.draw_problems(round_, "validation"), n_problems)
    return [policy.encode_prompt(problem.question) for problem in problems]


def sampled(policy: TransformersPolicy, prompts: list[Ids], greedy: list[Ids]) -> dict[str, list[Ids]]:
    """The prefixes of each workload that is sampled, as often as they are drawn."""
    some = prompts[: len(prompts) // 4]
    rollouts = []
    for prompt, text in zip(some[: len(some) // 2], greedy, strict=False):
        for _, end in step_spans(text, policy.token_bytes(), "\n")[:-1]:
            rollouts += [prompt + text[:end]] * 8
    return {
        "solutions": [prompt for prompt in some for _ in range(16)],
        "64 a prompt": [prompt for prompt in some[: max(1, len(some) // 4)] for _ in range(64)],
        "rollouts": rollouts,
    }


def one_round(folder: str, round_: int, n_problems: int) -> dict[str, dict[str, float]]:
    """Tokens per cpu-second of each contender in each workload. Raises if greedy texts differ."""
    engines = {n_rows: load_policy(folder, max_rows=n_rows) for n_rows in (64, 256)}
    policy = engines[64]
    contenders: dict[str, Contender] = {BASELINE: Generate(folder, policy)}
    contenders |= {f"engine, {n_rows} rows": Engine(engine) for n_rows, engine in engines.items()}
    prompts = draw_prompts(policy, round_, n_problems)

    rates: dict[str, dict[str, float]] = {"steps": {}}
    texts = {}
    for name, contender in contenders.items():
        texts[name], rates["steps"][name] = timed(contender.write_in_steps, prompts)
    different = [
        i for i, wanted in enumerate(texts[BASELINE]) if any(text[i] != wanted for text in texts.values())
    ]
    if different:
        raise AssertionError(
            f"greedy texts of {len(different)} of {n_problems} prompts differ, the first that of prompt "
            f"{different[0]}"
        )

    for workload, prefixes in sampled(policy, prompts, texts[BASELINE]).items():
        if workload == "rollouts":
            model = AutoModelForCausalLM.from_pretrained(folder)
            contenders["engine, 256 rows, no prefix cache"] = Engine(
                TransformersPolicy(model, policy.tokenizer, max_rows=256, prefix_cache_bytes=0)
            )
        rates[workload] = {
            name: timed(contender.draw, prefixes, MAX_SOLUTION_TOKENS, 1.0, False)[1]
            for name, contender in contenders.items()
        }
    return rates


def engine_round(folder: str, round_: int, n_problems: int) -> dict[str, tuple[list[Ids], float]]:
    """The completions and the tokens per cpu-second of each workload, with the engine's own settings."""
    policy = load_policy(folder)
    engine = Engine(policy)
    prompts = draw_prompts(policy, round_, n_problems)
    done = {"steps": timed(engine.write_in_steps, prompts)}
    for workload, prefixes in sampled(policy, prompts, done["steps"][0]).items():
        done[workload] = timed(engine.draw, prefixes, MAX_SOLUTION_TOKENS, 1.0, False)
    return done


def compare_versions(arguments: argparse.Namespace) -> None:
    """Print the rates of the engine before and now for each workload."""
    here = Path(__file__).parents[1]
    rates: dict[str, list[tuple[float, float]]] = {}
    n_draws, n_different = 0, 0
    for round_ in range(arguments.rounds):
        before, now = (
            json.loads(
                subprocess.run(
                    [
                        *(sys.executable, __file__, "--model", arguments.model),
                        *("--problems", str(arguments.problems), "--engine_round", str(round_)),
                    ],
                    env={**os.environ, "PYTHONPATH": str(checkout)},
                    stdout=subprocess.PIPE,
                    check=True,
                ).stdout
            )
            for checkout in (arguments.before, here)
        )
        for workload, (texts, rate) in before.items():
            rates.setdefault(workload, []).append((rate, now[workload][1]))
            n_draws += len(texts)
            n_different += sum(a != b for a, b in zip(texts, now[workload][0], strict=True))

    for workload, pairs in rates.items():
        old, new = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        print(f"{workload:12} {old:8.0f} → {new:8.0f} tokens per cpu-second {ratio:6.2f} × before")
    print(f"{n_different} of {n_draws} draws differ")


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=str(BASE_POLICY), help="folder of the policy of the built-in task")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--problems", type=int, default=256)
    parser.add_argument("--before", type=Path, help="another checkout, whose engine is compared with this")
    parser.add_argument(
        "--engine_round", type=int, help="used by --before: one round of this engine, as JSON"
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "sampling.json")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    if arguments.engine_round is not None:
        print(json.dumps(engine_round(arguments.model, arguments.engine_round, arguments.problems)))
        return
    if arguments.before is not None:
        compare_versions(arguments)
        return
    rounds = [one_round(arguments.model, round_, arguments.problems) for round_ in range(arguments.rounds)]
    result: dict[str, Any] = {
        "machine": cpu_model(),
        "n_problems": arguments.problems,
        "n_rounds": arguments.rounds,
    }
    for workload in rounds[0]:
        for name in rounds[0][workload]:
            rate = statistics.median(rates[workload][name] for rates in rounds)
            ratio = statistics.median(rates[workload][name] / rates[workload][BASELINE] for rates in rounds)
            print(f"{workload:12} {name:34} {rate:8.0f} tokens per cpu-second {ratio:6.2f} × generate")
            result.setdefault(workload, {})[name] = {
                "tokens_per_cpu_second": round(rate),
                "ratio_to_generate": round(ratio, 2),
            }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
