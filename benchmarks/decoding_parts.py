"""What the parts of a decoding step cost on this CPU, for the shape of one model: `python -m
benchmarks.decoding_parts --model FOLDER` (its config.json is enough).

For a batch of 64 rows it times, with random numbers, all products with weights (as transformers stores them,
laid out (input, output), and with 8-bit weights and inputs), attention over 128 positions of each row (and as
it would be if 16 rows read one prefix together), and the choice of a token. Milliseconds of CPU a step, the
least of a few turns; the sum says how many tokens per cpu-second float32 can give at most.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from data_gen.policies.engine.token_choice import choose_tokens
from data_gen.process.machine import machine_name

N_TURNS, N_LAYERS = 3, 4  # layers timed; the step has all of them
N_SHARING = 16
SHAPE = (
    *("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads"),
    *("num_hidden_layers", "vocab_size"),
)
TEMPERATURE = 0.7


def milliseconds(work: Callable[[], object]) -> float:
    work()
    least = float("inf")
    for _ in range(N_TURNS):
        started = time.process_time()
        work()
        least = min(least, time.process_time() - started)
    return least * 1000


def int8_product(rows: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """Each row of inputs is rounded by a scale of its own, so that no row depends on the others."""
    row_scale = rows.abs().amax(-1, keepdim=True) / 127
    product = torch._int_mm((rows / row_scale).round_().to(torch.int8), weight.t())
    return product.float().mul_(row_scale).mul_(scale)


def products(n_rows: int, n_in: int, n_out: int, n_weights: int) -> dict[str, float]:
    """Of `n_weights` different weights, so that none stays in a cache between two steps."""
    rows = torch.randn(n_rows, n_in)
    stored = [torch.randn(n_out, n_in) for _ in range(n_weights)]
    laid_out = [weight.t().contiguous() for weight in stored]
    rounded = [torch.randint(-127, 128, (n_out, n_in), dtype=torch.int8) for _ in range(n_weights)]
    scale = torch.rand(n_out)
    return {
        "as stored": milliseconds(lambda: [linear(rows, weight) for weight in stored]),
        "laid out anew": milliseconds(lambda: [torch.mm(rows, weight) for weight in laid_out]),
        "int8": milliseconds(lambda: [int8_product(rows, weight, scale) for weight in rounded]),
    }


def layer_products(config: dict[str, Any], n_rows: int) -> dict[str, float]:
    """Milliseconds of all products of all layers, and of the head, in each form."""
    hidden, inner, head_dim = config["hidden_size"], config["intermediate_size"], head_size(config)
    n_query, n_key = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim
    shapes = [(hidden, n_query + 2 * n_key), (n_query, hidden), (hidden, inner), (hidden, inner)]
    total = {"as stored": 0.0, "laid out anew": 0.0, "int8": 0.0}
    for n_in, n_out in (*shapes, (inner, hidden)):
        for form, spent in products(n_rows, n_in, n_out, N_LAYERS).items():
            total[form] += spent * config["num_hidden_layers"] / N_LAYERS
    head = products(n_rows, hidden, config["vocab_size"], 1)
    head["laid out anew"] = head["as stored"]  # the engine leaves the head as it is
    return {form: spent + head[form] for form, spent in total.items()}


def attention(config: dict[str, Any], n_rows: int, n_positions: int, n_sharing: int) -> float:
    """Milliseconds of all layers, where `n_sharing` rows read the same keys and values."""
    n_heads, head_dim = config["num_key_value_heads"], head_size(config)
    n_batch = n_rows // n_sharing * n_heads
    n_queries = config["num_attention_heads"] // n_heads * n_sharing
    keys = torch.randn(N_LAYERS, n_batch, head_dim, n_positions)
    values = torch.randn(N_LAYERS, n_batch, n_positions, head_dim)
    query, mask = torch.randn(n_batch, n_queries, head_dim), torch.zeros(n_batch, 1, n_positions)

    def attend() -> list[Tensor]:
        return [
            torch.bmm(torch.baddbmm(mask, query, key, alpha=head_dim**-0.5).softmax(-1), value)
            for key, value in zip(keys, values, strict=True)
        ]

    return milliseconds(attend) * config["num_hidden_layers"] / N_LAYERS


def choices(config: dict[str, Any], n_rows: int) -> dict[str, float]:
    logits = torch.randn(n_rows, config["vocab_size"]) * 3
    uniforms, temperatures = torch.rand(n_rows, dtype=torch.float64), torch.full((n_rows,), TEMPERATURE)

    def all_sums() -> object:
        weights = (logits / temperatures[:, None]).softmax(-1)
        return weights.cumsum(-1, dtype=torch.float64), logits.log_softmax(-1), logits.argmax(-1)

    return {
        "all cumulative sums": milliseconds(all_sums),
        "by blocks": milliseconds(lambda: choose_tokens(logits, uniforms, temperatures)),
    }


def head_size(config: dict[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


@torch.inference_mode()
def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder with the config.json of a model")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--positions", type=int, default=128)
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results" / "decoding_parts.json"
    )
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    config = json.loads((arguments.model / "config.json").read_text())
    rows, positions = arguments.rows, arguments.positions
    spent = {
        **{f"products, {form}": each for form, each in layer_products(config, rows).items()},
        "attention, each row its own": attention(config, rows, positions, 1),
        f"attention, {N_SHARING} rows one prefix": attention(config, rows, positions, min(N_SHARING, rows)),
        **{f"choice, {way}": each for way, each in choices(config, rows).items()},
    }
    rest = spent["attention, each row its own"] + spent["choice, by blocks"]
    result = {
        "machine": machine_name(),
        "shape": {name: config[name] for name in SHAPE},
        "rows": rows,
        "positions": positions,
        "milliseconds_a_step": {name: round(each, 1) for name, each in spent.items()},
        "tokens_per_cpu_second_at_most": {
            form: round(rows / (spent[f"products, {form}"] + rest) * 1000)
            for form in ("as stored", "laid out anew", "int8")
        },
    }
    for name, each in spent.items():
        print(f"{name:36} {each:8.1f} ms a step of {rows} rows")
    print("tokens per cpu-second at most:", json.dumps(result["tokens_per_cpu_second_at_most"]))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
