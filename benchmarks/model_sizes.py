"""Which GPUs the recipes need for which model: `python -m benchmarks.model_sizes` prints the table of
docs/recipes.md.

For each model the fewest GPUs of 80 GB on which `configs/train_prm/snell.yaml` (every weight trained) and
`configs/train_prm/lora.yaml` fit by `prm_train.estimate_memory`, with a fifth of the memory left free. Shapes
are those of each model's config.json on the Hub, so that nothing is downloaded.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from transformers import LlamaConfig, PreTrainedConfig, Qwen2Config, Qwen3Config

from data_gen.settings.parse import load_yaml
from prm_train.estimate_memory import GIB, EstimateMemoryConfig, MemoryEstimate, estimate_memory, read_network

CONFIGS = Path(__file__).parents[1] / "configs" / "train_prm"
USABLE = 60 * GIB  # of a GPU of 80 GB (74.5 GiB), whose allocator holds more than tensors take (docs/gpu.md)
BATCH = {"snell": 128, "lora": 64}  # rows of an optimizer step
TOKENS = (16384, 8192, 4096)  # of a pass; a row has 2,048 at most
Layout = tuple[int, Literal[0, 2, 3]]  # GPUs, ZeRO stage
LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "snell": ((1, 0), (2, 2), (4, 2), (8, 2), (8, 3), (16, 3), (32, 3)),
    "lora": ((1, 0), (2, 3), (4, 3), (8, 3)),
}


def shape(
    kind: type,
    layers: int,
    hidden: int,
    intermediate: int,
    heads: tuple[int, int],
    vocab: int,
    head_dim: int = 128,
) -> Any:
    queries, keys = heads
    sizes = {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "vocab_size": vocab,
    }
    return kind(
        **sizes, num_attention_heads=queries, num_key_value_heads=keys, head_dim=head_dim, pad_token_id=None
    )


MODELS: dict[str, PreTrainedConfig] = {
    "Qwen/Qwen2.5-0.5B-Instruct": shape(Qwen2Config, 24, 896, 4864, (14, 2), 151936, 64),
    "Qwen/Qwen2.5-Math-1.5B-Instruct": shape(Qwen2Config, 28, 1536, 8960, (12, 2), 151936),
    "Qwen/Qwen2.5-Math-7B-Instruct": shape(Qwen2Config, 28, 3584, 18944, (28, 4), 152064),
    "Qwen/Qwen3-0.6B": shape(Qwen3Config, 28, 1024, 3072, (16, 8), 151936),
    "Qwen/Qwen3-1.7B": shape(Qwen3Config, 28, 2048, 6144, (16, 8), 151936),
    "Qwen/Qwen3-4B": shape(Qwen3Config, 36, 2560, 9728, (32, 8), 151936),
    "Qwen/Qwen3-8B": shape(Qwen3Config, 36, 4096, 12288, (32, 8), 151936),
    "Qwen/Qwen3-14B": shape(Qwen3Config, 40, 5120, 17408, (40, 8), 151936),
    "Qwen/Qwen3-32B": shape(Qwen3Config, 64, 5120, 25600, (64, 8), 151936),
    "meta-llama/Llama-3.2-1B-Instruct": shape(LlamaConfig, 16, 2048, 8192, (32, 8), 128256, 64),
    "meta-llama/Llama-3.2-3B-Instruct": shape(LlamaConfig, 28, 3072, 8192, (24, 8), 128256),
    "meta-llama/Llama-3.1-8B-Instruct": shape(LlamaConfig, 32, 4096, 14336, (32, 8), 128256),
}


def smallest(model_config: PreTrainedConfig, recipe: str) -> tuple[EstimateMemoryConfig, MemoryEstimate]:
    """The first layout, with the largest passes, that fits."""
    settings = load_yaml(EstimateMemoryConfig, CONFIGS / f"{recipe}.yaml")
    network = read_network(model_config, settings.lora)
    for n_gpus, zero_stage in LAYOUTS[recipe]:
        for batch_tokens in TOKENS:
            config = replace(
                settings,
                n_gpus=n_gpus,
                zero_stage=zero_stage,
                batch_tokens=batch_tokens,
                batch_size=BATCH[recipe] // n_gpus,
            )
            estimate = estimate_memory(network, config)
            if estimate.total <= USABLE:
                return config, estimate
    raise ValueError(f"{model_config.model_type}: {recipe} fits none of {LAYOUTS[recipe]}")


def launch(config: EstimateMemoryConfig) -> tuple[str, str]:
    """How training is started, and the settings that go with it."""
    start = (
        f"launch/train.sh zero{config.zero_stage} train-prm" if config.zero_stage else "prm-train train-prm"
    )
    settings = f"--batch_size {config.batch_size} --batch_tokens {config.batch_tokens}"
    if config.zero_stage and not config.bf16_autocast:
        settings += " --bf16_autocast true"  # from which DeepSpeed takes its precision
    return start, settings


def table() -> str:
    lines = [
        "| model | parameters | recipe | GPUs of 80 GB | GiB each | start | settings |",
        "|---|---|---|---|---|---|---|",
    ]
    for model, model_config in MODELS.items():
        n_parameters = read_network(model_config, None).n_parameters
        for recipe in LAYOUTS:
            config, estimate = smallest(model_config, recipe)
            start, settings = launch(config)
            sizes = f"{n_parameters / 1e9:.2f} B | {recipe} | {config.n_gpus} | {estimate.total / GIB:.0f}"
            lines.append(f"| {model} | {sizes} | `{start}` | `{settings}` |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
