"""What a card computes and how fast, in one command: `python -m benchmarks.gpu --model FOLDER`.

Five parts, each in a process of its own, one after the other: *correctness* (against a CPU), *engine*
(against `generate`), *training* (against TRL 1.13's PRMTrainer, with the memory that `prm-train
estimate-memory` foretold), *search* (against a plain loop) and *pipeline* (`make gsm8k` in little, from the
base model to searches). Their modules beside this file say what is measured and how.

A part that is done is not repeated by the next call with the same `--output`; one that was cut short by
`--minutes` is begun again (the pipeline goes on where it was). A part that fails leaves its message and what
it had found, and the others run. The exit code is 1 where a part failed or a check did not hold.

Nothing is fetched. `--model` is SmolLM2-135M-Instruct (`make smollm2`), a folder or `gguf:FILE`;
`--problems` a folder with gsm8k/train.jsonl and gsm8k/test.jsonl, without which there is no pipeline;
`--peer` one with TRL 1.13 (`make build/trl-1.13.0`), without which training has no ratio. `--small` tries
every line on a CPU with a tiny model in a few minutes: its figures mean nothing.
"""

import argparse
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.gpu.setting import Setting
from benchmarks.gpu.table import table
from data_gen.models.gguf import is_gguf, unpacked
from data_gen.problems.arithmetic.task import BASE_POLICY
from data_gen.process.machine import machine_name
from data_gen.settings.errors import InputError
from data_gen.settings.parse import run_command

RESULT = Path(__file__).parents[1] / "results" / "gpu.json"
# The share of `--minutes` that each may take; what one leaves is there for the next.
SHARES = {"correctness": 0.1, "engine": 0.16, "training": 0.27, "search": 0.13, "pipeline": 0.34}
LEAST_SECONDS = 20  # with less left a part is not begun


def cards(device: str) -> dict[str, Any]:
    import torch
    import transformers

    facts: dict[str, Any] = {"machine": machine_name()}
    facts["versions"] = {"torch": torch.__version__, "transformers": transformers.__version__}
    if not device.startswith("cuda"):
        return {"card": None, **facts}
    properties = torch.cuda.get_device_properties(device)
    facts["memory_gib"] = round(properties.total_memory / 2**30, 1)
    return {"card": properties.name, "cuda": torch.version.cuda, **facts}


def settings(arguments: argparse.Namespace) -> Setting:
    """Of the whole call; each part gets a folder of its own in that one."""
    model = arguments.model or (str(BASE_POLICY) if arguments.small else "models/smollm2-135m-instruct")
    folder = Path(unpacked(model) if is_gguf(model) else model)
    if not (folder / "config.json").is_file():
        raise InputError(
            f"--model {model}: no config.json there; expected a folder (make smollm2) or gguf:FILE"
        )
    for name in () if arguments.problems is None else ("train", "test"):
        if not (arguments.problems / "gsm8k" / f"{name}.jsonl").is_file():
            raise InputError(f"--problems {arguments.problems}: got no gsm8k/{name}.jsonl there")
    device = arguments.device or ("cpu" if arguments.small else "cuda")
    seconds = 60 * arguments.minutes
    return Setting(
        device, arguments.small, folder, arguments.output, arguments.problems, arguments.peer, seconds
    )


def as_json(setting: Setting) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(setting).items()}


def from_json(text: str) -> Setting:
    found = json.loads(text)
    names = ("model", "folder", "problems", "peer")
    return Setting(**{**found, **{n: Path(found[n]) if found[n] is not None else None for n in names}})


def run_part(name: str, setting: Setting) -> dict[str, Any]:
    """In a process of its own, whose output goes to `log`. `failed` says that what it found is not all."""
    setting.folder.mkdir(parents=True, exist_ok=True)
    log, result = setting.folder / "log", setting.folder / "result.json"
    for file in (result, setting.folder / "so_far.json"):
        file.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu",
        "--part",
        name,
        "--setting",
        json.dumps(as_json(setting)),
    ]
    started = time.perf_counter()
    try:
        with log.open("w") as stream:
            subprocess.run(
                command, stdout=stream, stderr=subprocess.STDOUT, timeout=setting.seconds + 15, check=True
            )
        failure = None
    except subprocess.TimeoutExpired:
        failure = f"cut short after {setting.seconds:.0f} seconds"
    except subprocess.CalledProcessError as error:
        lines = log.read_text().strip().splitlines() or ["it said nothing"]
        failure = f"exit code {error.returncode}: {lines[-1][:300]}"
    found = read(result) or {**read(setting.folder / "so_far.json"), "failed": failure}
    return {**found, "part_seconds": round(time.perf_counter() - started, 1)}


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found


def measure_part(name: str, setting: Setting) -> None:
    """The work of the process of a part."""
    found = importlib.import_module(f"benchmarks.gpu.{name}").measure(setting)
    (setting.folder / "result.json").write_text(json.dumps(found) + "\n")


def faults(found: Any, where: str = "") -> Iterator[str]:
    """Every check that did not hold, and every part that failed."""
    if isinstance(found, dict):
        if found.get("ok") is False:
            yield f"{where}: {json.dumps({k: v for k, v in found.items() if not isinstance(v, dict | list)})}"
        if "failed" in found:
            yield f"{where}: {found['failed']}"
        for name, value in found.items():
            yield from faults(value, f"{where}/{name}" if where else name)


def run(arguments: argparse.Namespace) -> None:
    whole = settings(arguments)
    file, parts = whole.folder / "gpu.json", arguments.parts
    whole.folder.mkdir(parents=True, exist_ok=True)
    facts = {**cards(whole.device), "model": whole.model.name, "is_small": whole.is_small}
    known = read(file)
    if known and {name: known.get(name) for name in facts} != facts:
        raise InputError(f"--output {whole.folder}: holds figures of another card, model or size: {file}")
    found: dict[str, Any] = known.get("parts", {})
    deadline = time.monotonic() + whole.seconds
    for place, name in enumerate(parts):
        if found.get(name) and "failed" not in found[name]:
            print(f"{name}: done before", flush=True)
            continue
        # What is left goes to the parts that are left by their shares.
        left, wanted = deadline - time.monotonic(), sum(SHARES[other] for other in parts[place:])
        seconds = left * SHARES[name] / wanted
        if seconds < LEAST_SECONDS:
            found[name] = {"failed": f"not begun: {seconds:.0f} seconds were left for it"}
        elif name == "pipeline" and whole.problems is None:
            found[name] = {"skipped": "--problems names no folder"}
        else:
            print(f"{name}: at most {seconds:.0f} seconds", flush=True)
            setting = Setting(**{**vars(whole), "folder": whole.folder / name, "seconds": seconds})
            found[name] = run_part(name, setting)
        figures = {**facts, "command": f"python -m benchmarks.gpu --model {facts['model']}", "parts": found}
        file.write_text(json.dumps(figures, indent=1) + "\n")
    print(table(read(file)))
    if not whole.is_small and set(SHARES) <= set(found):
        arguments.result.write_text(file.read_text())
    wrong = list(faults(found))
    print("\n".join(["every check held" if not wrong else "did not hold:", *wrong]))
    raise SystemExit(1 if wrong else 0)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="folder or gguf:FILE; default: what `make smollm2` makes")
    parser.add_argument("--problems", type=Path, help="folder with gsm8k/; none: no pipeline")
    parser.add_argument("--peer", type=Path, help="folder that TRL 1.13 was installed to")
    parser.add_argument("--output", type=Path, default=Path("runs/gpu"), help="what outlasts a call")
    parser.add_argument("--parts", nargs="+", choices=SHARES, default=list(SHARES))
    parser.add_argument("--minutes", type=float, default=8, help="for all parts that are not done")
    parser.add_argument("--device", help="default: cuda, with --small cpu")
    parser.add_argument("--small", action="store_true", help="toy size")
    parser.add_argument("--result", type=Path, default=RESULT, help="where the figures of a whole run go")
    parser.add_argument("--part", choices=SHARES, help="used by the run itself: one part in this process")
    parser.add_argument("--setting", help="used by the run itself")
    arguments = parser.parse_args(argv)
    if arguments.part is not None:
        measure_part(arguments.part, from_json(arguments.setting))
    else:
        run(arguments)


if __name__ == "__main__":
    run_command(main, "benchmarks.gpu")
