"""One side of the comparison of trainings, in a process of its own: ours, or TRL 1.13's PRMTrainer.

It loads what it needs, says so, waits for a line with the seconds that it may take, and writes a line of JSON
for each run. Measured after the warm-up: real (unpadded) tokens a second of wall clock, by the median of the
seconds between the ends of optimizer steps, so that the loading and padding of rows counts, and a step in
which the allocator gives all back does not (`…_of_all_steps`: it does); the most memory that tensors took
(`peak_gib`) and that torch held for them (`reserved_gib`) in the whole training, loaded model and optimizer
included.

`mfu` is model FLOPs a second over the peak of the card's dense bfloat16 (null for a card that `PEAK_FLOPS`
does not know). FLOPs are those of forward and backward: 6 for every real token and parameter but the
embedding's, and of attention 6 * layers * heads * head size * n² for a row of n tokens (4 n² in the forward
pass, half of it behind the causal mask; three times that with the backward pass). What checkpointing computes
again and what padding costs is no model FLOP.
"""

import argparse
import gc
import json
import resource
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, TrainerCallback

from benchmarks.gpu.__main__ import from_json
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.training_runs import MAX_LENGTH, Run, network, plan, rows
from prm_train.estimate_memory import GIB
from prm_train.examples.batches import Batching, Collator
from prm_train.examples.examples import Example
from prm_train.networks.heads import head_name
from prm_train.training.arguments import training_arguments
from prm_train.training.config import TrainPrmConfig
from prm_train.training.reward_trainer import RewardTrainer
from prm_train.training.scorer_network import Float32Head

PEAK_FLOPS = {"NVIDIA H100 80GB HBM3": 989e12, "NVIDIA H200": 989e12}
SECONDS_NEEDED = {"real": 4.0, "random": 10.0}  # with less left a run is not begun


class Clock(TrainerCallback):
    """`at`: when the training began, and when each optimizer step was over, on the card as well."""

    def __init__(self, is_cuda: bool) -> None:
        self.is_cuda = is_cuda
        self.at: list[float] = []

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.note()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.note()

    def note(self) -> None:
        if self.is_cuda:
            torch.cuda.synchronize()
        self.at.append(time.perf_counter())


class Counted:
    """A trainer's collator that notes the rows' lengths and the tokens of the passes, padding included."""

    def __init__(self, collator: Any) -> None:
        self.collator = collator
        self.lengths: list[list[int]] = []  # of each call
        self.passes: list[list[int]] = []

    def __call__(self, batch: Sequence[Any]) -> Any:
        ids = [row.input_ids if isinstance(row, Example) else row["input_ids"] for row in batch]
        self.lengths.append([len(each) for each in ids])
        made = self.collator(batch)
        self.passes.append([part["input_ids"].numel() for part in made.get("batches", [made])])
        return made


# --- the two sides


def config_of(run: Run, setting: Setting) -> TrainPrmConfig:
    """Our settings of this run."""
    return TrainPrmConfig(
        rows=setting.folder / "rows.jsonl",
        output=setting.folder / "ours",
        model=str(setting.model),
        batch_size=run.n_rows,
        batch_tokens=run.pass_size,
        max_length=min(MAX_LENGTH, run.pass_size),
        packing=run.is_packed,
        bf16_autocast=True,
        dtype=run.dtype,
        gradient_checkpointing=run.checkpointing,
        validation_share=0.0,
        use_cpu=not setting.is_cuda,
    )


def our_trainer(run: Run, model: Any, examples: list[Example], setting: Setting) -> Any:
    config = config_of(run, setting)
    head = head_name(model)
    setattr(model, head, Float32Head(getattr(model, head), config.head_dropout))
    batching = Batching(config.n_rows_at_most, config.batch_tokens, config.packing)
    arguments = training_arguments(config, save_strategy="no", logging_strategy="no")
    return RewardTrainer(model, arguments, Collator("prm", 0, batching), examples, [], config)


def trl_trainer(run: Run, model: Any, examples: list[Example], setting: Setting) -> Any:
    from datasets import Dataset
    from trl.experimental.prm import PRMConfig, PRMTrainer

    data = []
    for row in examples:
        labels = [-100] * len(row.input_ids)
        for position, target in zip(row.positions, row.targets, strict=True):
            labels[position] = int(target)
        data.append({"input_ids": list(row.input_ids), "labels": labels})
    tokenizer = AutoTokenizer.from_pretrained(setting.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    arguments = PRMConfig(
        output_dir=str(setting.folder / "trl"),
        per_device_train_batch_size=run.pass_size,
        gradient_accumulation_steps=run.n_rows // run.pass_size,
        num_train_epochs=1,
        gradient_checkpointing=run.checkpointing,
        train_sampling_strategy=run.sampling,
        max_length=MAX_LENGTH,
        use_cpu=not setting.is_cuda,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    return PRMTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_list(data), processing_class=tokenizer
    )


# --- one run


def measure_run(run: Run, setting: Setting) -> dict[str, Any]:
    """What `run` took, with what it was."""
    if setting.is_cuda:
        torch.zeros(1, device=setting.device)  # begins the allocator's counts
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    model = network(run, setting)
    examples = rows(run, model.config.vocab_size, setting.is_small)
    trainer = {"ours": our_trainer, "trl": trl_trainer}[run.side](run, model, examples, setting)
    clock, collator = Clock(setting.is_cuda), Counted(trainer.data_collator)
    trainer.data_collator = collator
    trainer.add_callback(clock)
    loss = trainer.train().training_loss
    figures = {"case": run.case, **asdict(run), "train_loss": loss, **speed(run, clock, collator, model)}
    if setting.is_cuda:
        peak = PEAK_FLOPS.get(torch.cuda.get_device_name(setting.device))
        figures["mfu"] = None if peak is None else figures["model_flops_per_second"] / peak
        figures["peak_gib"] = torch.cuda.max_memory_allocated() / GIB
        figures["reserved_gib"] = torch.cuda.max_memory_reserved() / GIB
    else:  # of the whole process so far
        figures["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    return figures


def speed(run: Run, clock: Clock, collator: Counted, model: Any) -> dict[str, Any]:
    """Of the measured steps. Trainer asks the collator for a step's rows in the order of the steps."""
    n_all = run.n_warmup + run.n_steps
    calls_a_step = len(collator.lengths) // n_all
    first = run.n_warmup * calls_a_step
    lengths = [n for call in collator.lengths[first : n_all * calls_a_step] for n in call]
    passes = [n for call in collator.passes[first : n_all * calls_a_step] for n in call]
    seconds = clock.at[n_all] - clock.at[run.n_warmup]
    steps = [
        after - before
        for before, after in zip(clock.at[run.n_warmup : n_all], clock.at[run.n_warmup + 1 :], strict=True)
    ]
    config = model.config
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    width = config.num_hidden_layers * config.num_attention_heads * head_size
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    n_multiplied = n_parameters - model.get_input_embeddings().weight.numel()
    flops = 6 * n_multiplied * sum(lengths) + 6 * width * sum(n * n for n in lengths)
    return {
        "n_parameters": n_parameters,
        "n_tokens": sum(lengths),
        "tokens_per_second": sum(lengths) / (run.n_steps * statistics.median(steps)),
        "tokens_per_second_of_all_steps": sum(lengths) / seconds,
        "step_seconds_median": statistics.median(steps),
        "step_seconds_longest": max(steps),
        "n_passes": len(passes),
        "padding_share": 1 - sum(lengths) / sum(passes),
        "largest_pass_tokens": max(n for call in collator.passes for n in call),
        "attention": config._attn_implementation,
        "model_flops_per_second": flops / (run.n_steps * statistics.median(steps)),
    }


# --- the process


def versions(setting: Setting, side: str) -> dict[str, str]:
    if side == "ours":
        return {"side": side}
    import trl

    assert str(setting.peer) in trl.__file__, trl.__file__
    import trl.experimental.prm

    return {"side": side, "trl": trl.__version__}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", choices=("ours", "trl"), required=True)
    parser.add_argument("--setting", required=True, help="as benchmarks.gpu writes it")
    parser.add_argument("--result", type=Path, required=True, help="file for a line of JSON a run")
    arguments = parser.parse_args(argv)
    setting = from_json(arguments.setting)
    if arguments.side == "trl":
        sys.path.insert(0, str(setting.peer))
    print(json.dumps(versions(setting, arguments.side)), flush=True)
    line = sys.stdin.readline()  # empty where the part that began this one is gone
    if line:
        signal.alarm(int(float(line)) + 1)  # ends this process, whatever it is in
        measure_all(plan(arguments.side, setting.is_small), setting, float(line), arguments.result)
        signal.alarm(0)  # not in the moments in which it ends by itself


def measure_all(runs: Sequence[Run], setting: Setting, seconds: float, result: Path) -> None:
    deadline = time.monotonic() + seconds
    with result.open("a") as file:
        for run in runs:
            print(f"{run.side} {run.title}: begins", flush=True)
            found: dict[str, Any] = {"case": run.case, **asdict(run)}
            if not setting.is_small and deadline - time.monotonic() < SECONDS_NEEDED[run.model]:
                found["skipped"] = "no time was left"
            else:
                started = time.perf_counter()
                try:
                    found = measure_run(run, setting)
                except Exception as error:  # noqa: BLE001 - a run that fails is a figure, and others follow
                    traceback.print_exc()
                    found["error"] = f"{type(error).__name__}: {error}"[:500]
                gc.collect()  # models are held in circles
                found["run_seconds"] = time.perf_counter() - started
            file.write(json.dumps(found) + "\n")
            file.flush()
            print(f"{run.side} {run.title}: {json.dumps(found)}", flush=True)


if __name__ == "__main__":
    main()
