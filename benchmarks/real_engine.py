"""The sampling engine on a real model, before and now, in one run: `python -m benchmarks.real_engine --model
FOLDER --problems FILE --before CHECKOUT`.

- *draws*: 16 solutions of each problem at temperature 0.7, 64 rows: tokens per cpu-second, and where they
  go. Greedy solutions of the same problems must not differ.
- *labels*: `prm-train sample`, then `prm-train label` over copies of its run: labels per cpu-second, and
  prefilled tokens a generated one.

Contenders take turns, each in a process of its own. With `--before` they are the commit of another checkout
and this one, both at default settings. Without it this engine is measured alone, and labeled once more as
settings were before: 512 problems open, and a cache of 5,825 tokens, which is what 256 MiB held of
SmolLM2-135M.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from data_gen.models.names import check_model
from data_gen.policies.engine import row_batch
from data_gen.policies.engine.transformers_policy import TransformersPolicy, load_policy
from data_gen.process.machine import machine_name
from data_gen.records.sampling import SamplingParams

HERE = Path(__file__).parents[1]
SMALL_CACHE_TOKENS, MANY_OPEN = 5_825, 512
Ids = list[int]


def timed_parts(policy: TransformersPolicy) -> Counter[str]:
    """Cpu-seconds of the parts of all steps from now on, and how many rows and steps were computed."""
    spent = Counter[str]()

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            started = time.process_time()
            result = work(*arguments)
            spent[name] += time.process_time() - started  # type: ignore[assignment]
            if name == "decode":
                spent["n_steps"] += 1
                spent["n_rows"] += len(result)
            return result

        return run

    batch: Any = policy._batch
    batch._model.decode = timed("decode", batch._model.decode)
    batch._model.prefill = timed("prefill", batch._model.prefill)
    row_batch.choose_next = timed("choose", row_batch.choose_next)
    return spent


def draw(policy: TransformersPolicy, prompts: list[Ids], n_samples: int, params: SamplingParams) -> list[Ids]:
    async def draw_all() -> list[Ids]:
        draws = [
            policy.sample(tuple(prompt), params, index) for prompt in prompts for index in range(n_samples)
        ]
        return [list(completion.token_ids) for completion in await asyncio.gather(*draws)]

    return asyncio.run(draw_all())


def measure_draws(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run in the process of a contender, whose checkout stands first on the path."""
    torch.set_num_threads(1)
    policy = load_policy(arguments.model, max_rows=arguments.rows)
    rows = [json.loads(line) for line in arguments.problems.read_text().splitlines()]
    prompts = [list(policy.encode_prompt(row["question"])) for row in rows[: arguments.n_problems]]
    greedy = draw(policy, prompts, 1, SamplingParams(arguments.max_new_tokens, 0.0))
    spent = timed_parts(policy)
    started = time.process_time()
    drawn = draw(policy, prompts, arguments.n_samples, SamplingParams(arguments.max_new_tokens, 0.7))
    seconds = time.process_time() - started
    return {"seconds": seconds, "spent": spent, "drawn": drawn, "greedy": greedy}


def of_contender(arguments: argparse.Namespace, checkout: Path, module: str, *more: str) -> str:
    """What a module prints in a process of its own, with the code of a checkout."""
    command = [sys.executable, "-m", module, *more]
    if module == "benchmarks.real_engine":
        command = [sys.executable, __file__, *more, "--model", arguments.model]
        command += ["--problems", str(arguments.problems), "--rows", str(arguments.rows)]
        command += ["--n_problems", str(arguments.n_problems), "--n_samples", str(arguments.n_samples)]
        command += ["--max_new_tokens", str(arguments.max_new_tokens)]
    env = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, env=env, cwd=checkout, stdout=subprocess.PIPE, check=True, text=True
    ).stdout


def compare_draws(arguments: argparse.Namespace, contenders: dict[str, Path]) -> dict[str, Any]:
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    results: dict[str, dict[str, Any]] = {}
    for _ in range(arguments.rounds):
        for name, checkout in contenders.items():
            found = of_contender(arguments, checkout, "benchmarks.real_engine", "--part", "draws")
            results[name] = json.loads(found.splitlines()[-1])
            n_tokens = sum(map(len, results[name]["drawn"]))
            rates[name].append(n_tokens / results[name]["seconds"])
    report: dict[str, Any] = {
        name: {
            "tokens_per_cpu_second": round(statistics.median(rates[name]), 1),
            "share_of_cpu": {
                part: round(result["spent"].get(part, 0) / result["seconds"], 3)
                for part in ("decode", "choose", "prefill")
            },
            "rows_a_step": round(result["spent"]["n_rows"] / result["spent"]["n_steps"], 1),
        }
        for name, result in results.items()
    }
    if "before" in results:
        before, now = results["before"], results["now"]
        pairs = zip(rates["before"], rates["now"], strict=True)
        report["ratio"] = round(statistics.median(new / old for old, new in pairs), 2)
        for kind in ("greedy", "drawn"):
            n_other = sum(a != b for a, b in zip(before[kind], now[kind], strict=True))
            report[f"n_{kind}_that_differ"], report[f"n_{kind}"] = n_other, len(now[kind])
    return report


def compare_labels(
    arguments: argparse.Namespace, contenders: dict[str, Path], folder: Path
) -> dict[str, Any]:
    run = folder / "run"
    settings = ["--policy.model", arguments.model, "--problems.source", str(arguments.problems)]
    settings += [
        "--problems.problem_field",
        "question",
        "--problems.n",
        str(arguments.n_labeled),
        "--max_new_tokens",
        str(arguments.max_new_tokens),
        "--grader",
        arguments.grader,
    ]
    of_contender(arguments, HERE, "data_gen.sample", "--output", str(run), *settings)
    as_before: tuple[str, ...] = ()
    if "before" not in contenders:
        contenders = {"as before": HERE, **contenders}
        n_bytes = SMALL_CACHE_TOKENS * bytes_per_token(arguments.model)
        as_before = ("--n_open", str(MANY_OPEN), "--policy.prefix_cache_bytes", str(n_bytes))
    report: dict[str, Any] = {}
    texts = []
    for name, checkout in contenders.items():
        copy = folder / name.replace(" ", "-")
        shutil.copytree(run, copy)
        if name == "before":
            spell_out_cache(copy / "config.json")
        more = as_before if name == "as before" else ()
        of_contender(arguments, checkout, "data_gen.label", "--run", str(copy), *more)
        facts = json.loads((copy / "label.json").read_text())
        n_labels = sum(facts["labels"].values())
        report[name] = {
            "n_labels": n_labels,
            "n_rollouts": facts["n_rollouts"],
            "labels_per_cpu_second": round(n_labels / facts["this_process"]["cpu_seconds"], 2),
            "prefilled_a_generated_token": round(facts["n_prefilled"] / max(1, facts["n_generated"]), 3),
        }
        texts.append((copy / "labels.jsonl").read_bytes())
    first, now = (report[name]["labels_per_cpu_second"] for name in contenders)
    return {**report, "ratio": round(now / first, 2), "labels_are_equal": texts[0] == texts[1]}


def spell_out_cache(config: Path) -> None:
    """What an earlier version takes as its default, which refuses null."""
    settings = json.loads(config.read_text())
    settings["policy"]["prefix_cache_bytes"] = 2**28
    config.write_text(json.dumps(settings))


def bytes_per_token(model: str) -> int:
    """Of keys and values in float32."""
    config = json.loads((Path(model) / "config.json").read_text())
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return 2 * config["num_hidden_layers"] * int(config["num_key_value_heads"]) * head_dim * 4


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="folder of a language model")
    parser.add_argument(
        "--problems", type=Path, required=True, help="JSON lines with `question` and `answer`"
    )
    parser.add_argument("--before", type=Path, help="another checkout, which is compared with this one")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--n_problems", type=int, default=8, help="of the draws")
    parser.add_argument("--n_samples", type=int, default=16, help="of each problem, of the draws")
    parser.add_argument("--n_labeled", type=int, default=48, help="problems that are labeled; 0: none")
    parser.add_argument("--grader", default="auto", help="of the labels, as in `prm-train sample`")
    parser.add_argument("--max_new_tokens", type=int, default=64)
    parser.add_argument("--part", choices=["draws"], help="used by the run itself: one contender, as JSON")
    parser.add_argument("--output", type=Path, default=HERE / "benchmarks" / "results" / "real_engine.json")
    arguments = parser.parse_args()
    arguments.model, arguments.problems = (
        str(Path(arguments.model).resolve()),
        arguments.problems.resolve(),
    )
    check_model("--model", arguments.model)
    if arguments.part is not None:
        print(json.dumps(measure_draws(arguments)))
        return

    contenders = {"before": arguments.before.resolve()} if arguments.before else {}
    contenders["now"] = HERE
    settings = ("rounds", "rows", "n_problems", "n_samples", "n_labeled", "max_new_tokens")
    result: dict[str, Any] = {
        "machine": machine_name(),
        "model": Path(arguments.model).name,
        **{name: getattr(arguments, name) for name in settings},
    }
    if arguments.n_problems:
        result["draws"] = compare_draws(arguments, contenders)
    if arguments.n_labeled:
        with tempfile.TemporaryDirectory() as folder:
            result["labels"] = compare_labels(arguments, contenders, Path(folder))
    for part in ("draws", "labels"):
        for name, value in result.get(part, {}).items():
            print(f"{part:8} {name:22} {json.dumps(value)}")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
