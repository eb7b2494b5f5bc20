"""PRM training against TRL 1.13's PRMTrainer, the last one released: `make bench-training` (about 6 minutes;
one process, one thread).

TRL is installed beside the project, without its dependencies, so that torch, transformers and accelerate are
the same for both. Both train the same network from the same weights on the same rows, already tokenized:
lengths as in Math-Shepherd (log-normal, median 190 tokens, about 6 steps), float32, no checkpointing, 16 rows
an optimizer step, AdamW. TRL takes them as two random batches of 8; ours sorts the 16 by length and cuts them
into passes of at most 1,024 tokens. The sides take turns, each run in a process of its own.

Measured: real (unpadded) tokens a second of CPU time and of wall clock (which others on the machine disturb),
and peak memory above the loaded model. Writes benchmarks/results/training.json.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import Qwen2Config, Qwen2ForTokenClassification, TrainingArguments

from prm_train.examples.batches import Batching, Collator
from prm_train.examples.examples import Example
from prm_train.training.reward_trainer import RewardTrainer
from prm_train.training.settings import LossSettings

RESULT = Path(__file__).parent / "results" / "training.json"
PEER = Path("build/trl-1.13.0")
N_ROWS, ROWS_PER_STEP, VOCABULARY, MAX_LENGTH, N_REPEATS = 96, 16, 1000, 1024, 2


def rows(seed: int = 0) -> list[Example]:
    """Random ids of Math-Shepherd-like lengths; a random label at the end of each step."""
    rng, made = random.Random(seed), []
    for _ in range(N_ROWS):
        n_tokens = min(max(int(rng.lognormvariate(5.25, 0.5)), 40), MAX_LENGTH)
        n_steps = min(max(round(rng.gauss(6.2, 2)), 2), 12)
        positions = tuple(sorted({*rng.sample(range(20, n_tokens - 1), n_steps - 1), n_tokens - 1}))
        ids = tuple(rng.randrange(2, VOCABULARY) for _ in range(n_tokens))
        made.append(
            Example(
                "q",
                ids,
                positions,
                tuple(float(rng.random() < 0.6) for _ in positions),
                (1.0,) * len(positions),
            )
        )
    return made


def network() -> Any:
    """About 28 million parameters."""
    torch.manual_seed(0)
    shape = {
        "hidden_size": 512,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "intermediate_size": 1792,
    }
    config = Qwen2Config(
        vocab_size=VOCABULARY, num_labels=2, pad_token_id=0, bos_token_id=None, eos_token_id=1, **shape
    )
    return Qwen2ForTokenClassification(config)


def settings(folder: str, batch_size: int, n_accumulated: int) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "per_device_train_batch_size": batch_size,
        "gradient_accumulation_steps": n_accumulated,
        "num_train_epochs": 1,
        "learning_rate": 1e-5,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "logging_strategy": "no",
    }


def ours(model: Any, folder: str) -> Any:
    arguments = TrainingArguments(**settings(folder, ROWS_PER_STEP, 1), remove_unused_columns=False)
    collator = Collator("prm", 0, Batching(ROWS_PER_STEP, batch_tokens=1024))
    return RewardTrainer(model, arguments, collator, rows(), [], LossSettings())


def trl(model: Any, folder: str) -> Any:
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from trl.experimental.prm import PRMConfig, PRMTrainer

    data = []
    for row in rows():
        labels = [-100] * len(row.input_ids)
        for position, target in zip(row.positions, row.targets, strict=True):
            labels[position] = int(target)
        data.append({"input_ids": list(row.input_ids), "labels": labels})
    words = {"<pad>": 0, "<eos>": 1, **{f"w{i}": i for i in range(2, VOCABULARY)}}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<pad>")),
        pad_token="<pad>",
        eos_token="<eos>",
    )
    arguments = PRMConfig(**settings(folder, ROWS_PER_STEP // 2, 2), max_length=MAX_LENGTH)
    return PRMTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_list(data), processing_class=tokenizer
    )


def measure(side: str) -> dict[str, float]:
    """One epoch of one side: seconds and the peak of this process's memory above what it had with the model
    loaded (MiB).
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer = {"ours": ours, "trl": trl}[side](network(), folder)
        Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
        before, started, cpu_started = memory("VmRSS"), time.perf_counter(), time.process_time()
        trainer.train()
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    n_tokens = sum(len(row.input_ids) for row in rows())
    return {
        "n_tokens": n_tokens,
        "tokens_per_cpu_second": n_tokens / cpu_seconds,
        "tokens_per_second": n_tokens / seconds,
        "peak_mib_above_model": memory("VmHWM") - before,
    }


def memory(name: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", choices=("ours", "trl"), help="measure one side in this process")
    side = parser.parse_args(argv).side
    if side is not None:
        if side == "trl":
            sys.path.insert(0, str(PEER.resolve()))
        print(json.dumps(measure(side)))
        return
    from data_gen.process.machine import machine_name  # imports more than a side should hold in memory

    found: dict[str, list[dict[str, float]]] = {"trl": [], "ours": []}
    for _ in range(N_REPEATS):
        for name, runs in found.items():
            command = [sys.executable, "-m", "benchmarks.training", "--side", name]
            runs.append(
                json.loads(
                    subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[
                        -1
                    ]
                )
            )
            print(name, runs[-1], flush=True)
    best, by_wall = (
        {name: max(run[rate] for run in runs) for name, runs in found.items()}
        for rate in ("tokens_per_cpu_second", "tokens_per_second")
    )
    peak = {name: max(run["peak_mib_above_model"] for run in runs) for name, runs in found.items()}
    figures = {
        "tokens_per_second_ratio": round(best["ours"] / best["trl"], 3),
        "wall_tokens_per_second_ratio": round(by_wall["ours"] / by_wall["trl"], 3),
        "peak_memory_ratio": round(peak["ours"] / peak["trl"], 3),
        "device": f"CPU, 1 thread; {machine_name()}",
        "n_parameters": sum(parameter.numel() for parameter in network().parameters()),
        "n_rows": N_ROWS,
        "runs": found,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "trl": "1.13.0"},
        "command": "make bench-training",
    }
    RESULT.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
