"""The same scores from transformers and from vLLM: `python -m benchmarks.verify_export --run runs/quickstart`
(ten minutes on two cores).

Asks `prm-train verify-export` about seven models: the PRM and the ORM of a finished quickstart, a PRM of
Llama's architecture, one trained with LoRA and an ORM on pairs, which is served as a raw reward (all three
trained here for some steps on the quickstart's rows), the first PRM in the layout of Qwen2.5-Math-PRM, and
the built-in policy, a causal language model as revision models are. The PRM and the ORM on pairs also in
bfloat16. Writes benchmarks/results/verify_export.json.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from data_gen.models.tokenizer import load_tokenizer
from data_gen.problems.arithmetic.task import BASE_POLICY
from prm_train import publish, train_orm, train_prm
from prm_train.publishing.export_report import ExportReport

RESULTS = Path(__file__).parent / "results" / "verify_export.json"
SETTINGS = ("--n_epochs", "1", "--learning_rate", "3e-4", "--use_cpu", "true")


def build_llama(folder: Path) -> None:
    """A random language model of Llama's architecture with the built-in policy's tokenizer. vLLM on a CPU
    wants heads of 32 or more.
    """
    tokenizer = load_tokenizer(str(BASE_POLICY))
    set_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=256,
        max_position_embeddings=1024,
        initializer_range=0.1,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def checkpoints(run: Path, folder: Path) -> dict[str, tuple[Path, Path | None]]:
    """Name → the model and the rows to score."""
    rows = run / "rows" / "prm.jsonl"
    few = folder / "few.jsonl"
    few.write_text("".join(rows.read_text().splitlines(keepends=True)[:1200]))
    build_llama(folder / "llama")
    for name, settings in {
        "llama-prm": ("--model", str(folder / "llama")),
        "lora-prm": ("--lora.rank", "8"),
    }.items():
        train_prm.main(
            ["--rows", str(few), "--output", str(folder / name), "--model", "base", *settings, *SETTINGS]
        )
    outcomes = run / "rows" / "orm.jsonl"
    train_orm.main(
        [
            "--rows",
            str(outcomes),
            "--output",
            str(folder / "pairs"),
            "--objective",
            "pairs",
            "--model",
            "base",
            *SETTINGS,
        ]
    )
    where = ("--checkpoint", str(run / "prm"), "--rows", str(rows), "--output", str(folder / "qwen-layout"))
    publish.main([*where, "--license", "mit", "--layout", "qwen_prm", "--n_rows", "16"])
    return {
        "PRM (quickstart)": (run / "prm", rows),
        "PRM, Llama": (folder / "llama-prm", rows),
        "PRM, LoRA merged": (folder / "lora-prm", rows),
        "PRM, Qwen2.5-Math-PRM's layout": (folder / "qwen-layout", rows),
        "ORM (quickstart)": (run / "orm", outcomes),
        "ORM on pairs, its reward": (folder / "pairs", outcomes),
        "language model (built-in policy)": (BASE_POLICY, None),
    }


def verify(name: str, checkpoint: Path, rows: Path | None, dtype: str, report: Path) -> list[dict[str, Any]]:
    """One entry for each way of reading scores."""
    arguments = [
        str(checkpoint),
        "--dtype",
        dtype,
        "--report",
        str(report),
        *(("--rows", str(rows)) if rows else ()),
    ]
    report.unlink(missing_ok=True)
    subprocess.run([sys.executable, "-m", "prm_train.verify_export", *arguments], check=False)
    found = ExportReport.read(report)
    return [
        {
            "name": name,
            "architecture": found.architecture,
            "max_abs_difference": each.max_abs_difference,
            "mean_abs_difference": each.mean_abs_difference,
            "n_steps": each.n_scores,
            "dtype": dtype,
            "pooling": each.read_by,
            "tolerance": found.tolerance,
        }
        | dict(found.versions)
        for each in found.comparisons
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Scores in transformers and in vLLM")
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart"), help="a finished quickstart")
    run = parser.parse_args().run
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        models = checkpoints(run, folder)
        for name, (checkpoint, rows) in models.items():
            found += verify(name, checkpoint, rows, "float32", folder / "report.json")
        for name in ("PRM (quickstart)", "ORM on pairs, its reward"):
            found += verify(name, *models[name], "bfloat16", folder / "report.json")
    versions = {name: found[0][name] for name in ("transformers", "vllm")}
    entries = [{key: value for key, value in entry.items() if key not in versions} for entry in found]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, CPU only"
    command = "python -m benchmarks.verify_export --run runs/quickstart"
    RESULTS.write_text(
        json.dumps(
            {"checkpoints": entries, "machine": machine, "versions": versions, "command": command}, indent=1
        )
        + "\n"
    )
    for entry in entries:
        print(
            f"{entry['name']:<34} {entry['pooling']:<16} {entry['n_steps']:>6} "
            f"{entry['max_abs_difference']:.1e} {entry['dtype']}"
        )


if __name__ == "__main__":
    main()
