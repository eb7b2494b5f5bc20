"""What the runs behind a report cost, from the summaries that each command left in its folder.

Seconds of a search are those of all its processes. Of a sampling or labeling that was broken off they are those of its last process.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_gen.files.run_identity import read_object
from data_gen.settings.errors import InputError
from prm_train.evaluation.results import StageCost


def costs_of_runs(
    labeled: Sequence[Path],
    checkpoints: Mapping[str, Path | None],
    searches: Mapping[str, Sequence[Path]],
    n_policy: int,
    n_scorer: int,
) -> tuple[StageCost, ...]:
    """One entry a command and folder, in the order of the pipeline; a folder without its summary has none.

    `checkpoints` are trained scorers by name, `searches` folders by split. FLOPs are 2 a parameter and token, 6 in training (Kaplan et al.
    2020); 0 where the number of parameters is.
    """
    return (
        *_stages("sample", labeled, "sample.json", n_policy, n_scorer),
        *_stages("label", labeled, "label.json", n_policy, n_scorer),
        *(cost for name, folder in checkpoints.items() if folder is not None for cost in _training(f"train {name}", folder, n_scorer)),
        *(cost for name, some in searches.items() for cost in _stages(f"search {name}", some, "search.json", n_policy, n_scorer)),
    )


def read_summary(path: Path, *names: str) -> dict[str, Any]:
    """The JSON object that a command leaves at its end. Raises InputError unless it is there with these names."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected what the command writes when it has finished")
    facts = read_object(path)
    missing = [name for name in names if name not in facts]
    if missing:
        raise InputError(f"{path}: no {', '.join(missing)}; expected what the command writes when it has finished")
    return facts


def _stages(name: str, folders: Sequence[Path], file: str, n_policy: int, n_scorer: int) -> Iterator[StageCost]:
    for folder in folders:
        if not (folder / file).is_file():
            continue
        facts = read_summary(folder / file, "n_generated", "n_prefilled", "n_cached", "seconds")
        generated, prefilled, scored = facts["n_generated"], facts["n_prefilled"], facts.get("n_scorer_new", 0)
        yield StageCost(
            name if len(folders) == 1 else f"{name}, {folder.name}",
            facts["seconds"],
            facts.get("cpu_seconds") or facts.get("this_process", {}).get("cpu_seconds", 0.0),
            generated,
            prefilled,
            facts["n_cached"],
            scored,
            facts.get("n_scorer_reused", 0),
            float(2 * n_policy * (generated + prefilled) + 2 * n_scorer * scored),
        )


def _training(name: str, folder: Path, n_scorer: int) -> Iterator[StageCost]:
    path = folder / "training" / "report.json"
    if path.is_file():
        report = read_summary(path, "n_training_tokens", "config", "cost")
        n_tokens = report["n_training_tokens"] * report["config"]["n_epochs"]
        yield StageCost(name, report["cost"]["wall_seconds"], report["cost"]["cpu_seconds"], flops=6 * n_scorer * n_tokens)
