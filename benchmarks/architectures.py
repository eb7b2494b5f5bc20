"""Which architectures can be trained, searched with, sampled from and published: a tiny model of each goes
through every command.

`python -m benchmarks.architectures` tries all of `tests.tiny_models` (a quarter of an hour on one core), with
names behind it those alone; `--list` prints the names. Outcomes are kept in
benchmarks/results/architectures.json, from which docs/architectures.md is written anew each time. An outcome
is

    done       trained, written, loaded again with the same scores; scores and draws equal those of whole
               texts in transformers
    refused    in one line before the training begins
    error      any other exception, or a refusal after it began
    wrong      numbers differ
"""

import argparse
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging

from benchmarks.architecture_checks import (
    LOGPROB_TOLERANCE,
    TOLERANCE,
    engine_difference,
    packing_difference,
    search_difference,
)
from benchmarks.architecture_rows import write_outcome_rows, write_revision_rows, write_step_rows
from data_gen.files.jsonl import write_text
from data_gen.settings.errors import InputError
from prm_train import publish, train_implicit_prm, train_orm, train_prm, train_revision, train_verifier
from prm_train.metrics.training_report import TrainingReport
from tests.tiny_models import SIZES, write_tiny_model

RESULTS = Path(__file__).parent / "results" / "architectures.json"
TABLE = Path(__file__).parents[1] / "docs" / "architectures.md"
Cells = dict[str, dict[str, str]]

COMMANDS = {
    "prm": train_prm,
    "orm": train_orm,
    "revision": train_revision,
    "verifier": train_verifier,
    "implicit": train_implicit_prm,
}
VARIANTS = {
    "prm": ("prm", ()),
    "prm_lora": ("prm", ("--lora.rank", "4")),
    "prm_packed": ("prm", ("--packing", "true", "--batch_tokens", "400", "--max_length", "200")),
    "orm": ("orm", ()),
    "orm_lora": ("orm", ("--lora.rank", "4")),
    "orm_pairs": ("orm", ("--objective", "pairs")),
    "revision": ("revision", ("--n_revised_chains", "0")),
    "verifier": ("verifier", ()),
    "implicit": ("implicit", ()),
}
SCORERS = ("prm", "orm", "verifier", "implicit")
PUBLISHED = (*SCORERS, "revision")
COLUMNS = {
    **{
        "prm": "PRM",
        "prm_lora": "PRM, LoRA",
        "prm_packed": "PRM, packed",
        "orm": "ORM",
        "orm_lora": "ORM, LoRA",
    },
    **{"orm_pairs": "ORM, pairs", "revision": "revision", "verifier": "verifier", "implicit": "implicit PRM"},
    **{f"search_{kind}": f"search, {kind}" for kind in SCORERS},
    "engine": "sampling",
    **{f"publish_{kind}": f"publish, {kind}" for kind in PUBLISHED},
}
SIGNS = {"done": "✓", "refused": "–", "error": "✗", "wrong": "✗ᵂ"}


def attempt(action: Callable[[], str]) -> dict[str, str]:
    try:
        return {"outcome": "done", "said": action()}
    except InputError as error:
        return {"outcome": "refused", "said": str(error)}
    except Exception as error:  # noqa: BLE001 - what goes wrong is the result
        return {"outcome": "error", "said": f"{type(error).__name__}: {str(error)[:300]}"}


def trained(name: str, root: Path, kind: str, more: tuple[str, ...]) -> Callable[[], str]:
    def action() -> str:
        output = root / name
        arguments = {
            "rows": root / f"{kind}.jsonl",
            "output": output,
            "model": root / "base",
            "n_epochs": 1.0,
            "learning_rate": 0.003,
        }
        arguments |= {"validation_share": 0.3, "use_cpu": "true", "batch_size": 8}
        try:
            COMMANDS[kind].main(
                [word for key, value in arguments.items() for word in (f"--{key}", str(value))] + list(more)
            )
        except InputError as error:
            if (output / "training" / "cost.json").exists() or (output / "config.json").exists():
                raise RuntimeError(f"refused after it began: {error}") from error
            raise
        parity = TrainingReport.read(output / "training" / "report.json").parity
        assert parity is not None
        return f"{parity.max_abs_difference:.1e}"

    return action


def within(difference: Callable[[], float], tolerance: float) -> dict[str, str]:
    """`done` where the difference is small enough, else `wrong`."""
    found = attempt(lambda: repr(difference()))
    if found["outcome"] != "done":
        return found
    return {
        "outcome": "done" if float(found["said"]) <= tolerance else "wrong",
        "said": f"{float(found['said']):.1e}",
    }


def published(root: Path, kind: str) -> Callable[[], str]:
    def action() -> str:
        arguments = {
            "checkpoint": root / kind,
            "rows": root / f"{kind}.jsonl",
            "output": root / f"{kind}-public",
            "license": "mit",
        }
        publish.main(
            [word for key, value in arguments.items() for word in (f"--{key}", str(value))]
            + ["--n_rows", "20"]
        )
        return ""

    return action


def cells_of(name: str, root: Path) -> Cells:
    """What became of each column, as far as it was reached."""
    write_tiny_model(name, root / "base")
    for kind, write in {
        "prm": write_step_rows,
        "orm": write_outcome_rows,
        "revision": write_revision_rows,
    }.items():
        write(root / f"{kind}.jsonl")
    write_step_rows(root / "verifier.jsonl")
    write_outcome_rows(root / "implicit.jsonl")
    found: Cells = {}
    for variant, (kind, more) in VARIANTS.items():
        if variant == kind or found[kind]["outcome"] == "done":
            found[variant] = attempt(trained(variant, root, kind, more))
    if found.get("prm_packed", {}).get("outcome") == "done":
        found["prm_packed"] = within(
            lambda: packing_difference(root / "prm_packed", root / "prm.jsonl"), TOLERANCE
        )
    for kind in SCORERS:
        if found[kind]["outcome"] == "done":
            found[f"search_{kind}"] = within(lambda folder=root / kind: search_difference(folder), TOLERANCE)  # type: ignore[misc]
    found["engine"] = within(lambda: engine_difference(root / "base"), LOGPROB_TOLERANCE)
    for kind in PUBLISHED:
        if found[kind]["outcome"] == "done":
            found[f"publish_{kind}"] = attempt(published(root, kind))
    return found


def counts(cells: dict[str, Cells]) -> dict[str, int]:
    """Of architectures; `search` counts those in which all scorers that were trained score as alone, `errors`
    counts cells.
    """

    def n_done(column: str) -> int:
        return sum(each.get(column, {}).get("outcome") == "done" for each in cells.values())

    searched = [
        [cell["outcome"] for column, cell in each.items() if column.startswith("search_")]
        for each in cells.values()
    ]
    n_errors = sum(cell["outcome"] in ("error", "wrong") for each in cells.values() for cell in each.values())
    is_searched = [bool(outcomes) and set(outcomes) == {"done"} for outcomes in searched]
    kinds = {kind: n_done(kind) for kind in ("prm", "orm", "revision", "verifier", "implicit", "engine")}
    return {"n": len(cells), **kinds, "search": sum(is_searched), "errors": n_errors}


def table(results: dict[str, Any]) -> str:
    """docs/architectures.md."""
    cells: dict[str, Cells] = results["cells"]
    names = [name for name in SIZES if name in cells]
    shown = [column for column in COLUMNS if not column.startswith("publish_")]
    versions = ", ".join(f"{package} {number}" for package, number in results["versions"].items())
    lines = [
        "# Architectures",
        "",
        f"A tiny random model of each of {len(names)} architectures of transformers went through every "
        f"command: `{results['command']}`,",
        f"with {versions} on a CPU. What was trained was loaded again and gave the same scores; *search* "
        "compares the scores of",
        "steps, asked for one by one and all together, with those of each path alone, *sampling* compares "
        "greedy draws with `generate` and",
        "their log-probs with those of the whole text. Texts are longer than the windows (40 tokens) and "
        "than the short length of LongRoPE",
        "(64).",
        "",
        "✓ done and equal · – refused in one line before a training begins, for the reason below · ✗ error · "
        "✗ᵂ other numbers · empty: not",
        "reached",
        "",
        "| architecture | " + " | ".join(COLUMNS[column] for column in shown) + " | publish |",
        "|---" * (len(shown) + 2) + "|",
    ]
    for name in names:
        row = cells[name]
        kinds = [
            row[f"publish_{kind}"]["outcome"] == "done" for kind in PUBLISHED if f"publish_{kind}" in row
        ]
        signs = [SIGNS[row[column]["outcome"]] if column in row else "" for column in shown]
        escaped = name.replace("|", ", ")
        lines.append(f"| {escaped} | " + " | ".join(signs) + f" | {sum(kinds)} of {len(kinds)} |")
    number = counts(cells)
    lines += [
        "",
        f"Trained: PRM {number['prm']}, ORM {number['orm']}, revision model {number['revision']}, verifier "
        f"{number['verifier']}, implicit",
        f"PRM {number['implicit']} of {number['n']}. All their scores in search equal those of whole paths "
        f"in {number['search']}, draws",
        f"equal `generate` in {number['engine']}. Errors and other numbers: {number['errors']}.",
        "",
        "## What is refused",
        "",
    ]
    reasons: dict[str, list[str]] = {}
    for name in names:
        for column, cell in cells[name].items():
            if cell["outcome"] == "refused":
                reason = cell["said"].replace("model base: ", "").replace(f" for {name}", "")
                reasons.setdefault(f"{COLUMNS[column]}: {reason}", []).append(name.replace("|", ", "))
    lines += [f"- {reason} ({', '.join(of)})" for reason, of in reasons.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="name")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    unknown = set(options.names) - set(SIZES)
    if unknown:
        parser.error(f"no architecture {', '.join(sorted(unknown))}; expected some of {', '.join(SIZES)}")
    if options.list:
        print(*SIZES, sep="\n")
        return
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    transformers_logging.set_verbosity_error()
    for name in options.names or SIZES:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            found = cells_of(name, Path(folder))
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"cells": {}}
        said = {
            column: {**cell, "said": cell["said"].replace(f"{folder}/", "")} for column, cell in found.items()
        }
        cells = results["cells"] | {name: said}
        versions = {package: version(package) for package in ("torch", "transformers", "trl", "peft")}
        results = {
            "command": "python -m benchmarks.architectures",
            "versions": versions,
            **counts(cells),
            "cells": cells,
        }
        write_text(RESULTS, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        write_text(TABLE, table(results))
        faults = {
            column: cell["said"] for column, cell in said.items() if cell["outcome"] in ("error", "wrong")
        }
        print(name, f"{time.perf_counter() - started:.0f} s", faults or "no error", flush=True)


if __name__ == "__main__":
    main()
