"""The whole pipeline with a real language model on problems that people wrote: `make word-problems`, and
`make gsm8k` for a machine with a card.

The analysis, written before any of its figures was made; what changed afterwards stands under Deviations.

Question: what is a verifier worth that was trained from a small language model's own rollouts, on problems
like those it was trained on and on others?

Policy: SmolLM2-135M-Instruct, shown solutions of MAWPS and ASDiv problems once (one operation a line, made of
the published equations). Scorers: a PRM (first errors located by rollouts) and an ORM, both from that policy,
from the same solutions of other MAWPS and ASDiv problems. Tests: 300 MAWPS and ASDiv problems of two or more
operations, and 300 of SVAMP, which was written to be unlike them. No variant of a test problem (other names
and numbers) is in any other file; a test holds at most two variants of one problem. Gold answers are as
published; some are wrong, which lowers every method alike.

Methods at N = 1, 4, 16 and 64, T = 0.7: PRM- and ORM-weighted and plain best-of-N, majority, log-prob and
self-certainty with T (0.4 or 0.7) and form chosen for each N on 60 validation problems (of MAWPS and ASDiv,
for both tests), and untuned particle filter, DVTS and beam search with the PRM; greedy decoding beside them.
What makes one score of step scores is chosen on validation, too. pass@N is the ceiling.

Known before: a policy made in a like way from 1,600 problems of another split had pass@1 .248 on problems of
two or more operations and .150 on 60 of SVAMP at T = 0.7, which is why these are the tests. No scorer was
trained before.

Figures: accuracy with a 95 % bootstrap interval over problems, paired differences on the same problems,
tokens and FLOPs a problem, AUROC within problems, calibration of the score at a solution's end (Brier score,
ECE in bins of equal width) on both tests. Two seeds vary draws and trainings, not problems; differences over
both have an interval that holds both sources of variance, too narrow for so few. Read with a bar, at N = 64,
shown if the whole interval of each seed lies above 0:

1. PRM-weighted minus majority on MAWPS and ASDiv: a verifier helps where it was trained.
2. The same on SVAMP: it helps elsewhere.
3. ORM-weighted minus majority, on both.

Without a bar, since there are too many comparisons for one: searches in a tree against PRM-weighted
best-of-N, PRM against ORM, and smaller N. Thirty located first errors are read by hand against the text
(first_errors.md); the share in which the reader sees the same first wrong line is reported as it is.

What this cannot show: what a larger model does. A policy of 135 M parameters errs in which operation a text
asks for as often as in computing it, most solutions have two or three lines, and where they have one a PRM
has nothing on an ORM. One recipe, untuned.

Deviations: the figures were made on a card (bfloat16 draws, trainings under bfloat16 autocast, more rows at a
time), since two cores were not to be had for as long as two seeds take; the PRM's lowest step was looked at
beside its last one for calibration, and AUROC over all candidates, after the figures were there.

    python -m benchmarks.word_problems run --output runs/word-problems/seed-0 --seed 0
    python -m benchmarks.word_problems collect runs/word-problems/seed-0 runs/word-problems/seed-1

`run` prints a plan, then before each stage what that will take by its own first part, and writes the figures
of this seed to figures.json at its end; an interrupted run goes on with the same command. `collect` writes
benchmarks/results/word_problems.json (of GSM8K: gsm8k.json).
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.word_problems.first_errors import write_errors
from benchmarks.word_problems.problems import Sizes, write_gsm8k, write_word_problems
from benchmarks.word_problems.stages import (
    RunConfig,
    Stage,
    plan,
    policy_stages,
    run_stage,
    scorer_stages,
    search_stage,
)
from data_gen.files.jsonl import write_text
from data_gen.files.locks import lock
from data_gen.files.run_identity import claim_run
from data_gen.files.stored_record import read_object
from data_gen.models.names import check_inputs
from data_gen.settings.errors import InputError
from data_gen.settings.parse import load_yaml, parse_config, run_command

RESULTS = Path(__file__).parents[1] / "results"
SMALL_SIZES = Sizes(n_test=8, n_svamp=8, n_validation=6, n_train=10, n_train_simple=4, n_solutions_simple=20)


@dataclass(frozen=True)
class ProblemsConfig:
    """Write the problem files alone, for the commands of configs/README.md."""

    output: Path = field(metadata={"help": "folder for the files"})
    data: Path | None = field(
        default=None,
        metadata={"is_input": True, "help": "folder with svamp/; null: that of PRM_TRAIN_DATA"},
    )
    sizes: Sizes = field(default_factory=Sizes)


def data_folder(given: Path | None) -> Path:
    """Raises InputError where nothing names one."""
    folder = given or Path(os.environ.get("PRM_TRAIN_DATA") or "")
    if given is None and not os.environ.get("PRM_TRAIN_DATA"):
        raise InputError(
            "data: got none, and PRM_TRAIN_DATA is not set; expected a folder with svamp/svamp.json and "
            "svamp/mawps_asdiv_train.jsonl (arkilpatel/SVAMP), for gsm8k with gsm8k/train.jsonl and "
            "gsm8k/test.jsonl"
        )
    return folder


def write_problems(config: RunConfig) -> dict[str, int]:
    """The problem files, unless they are there, and how many problems each holds."""
    folder = config.output / "problems"
    if not (folder / "counts.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        data, sizes = data_folder(config.data), config.sizes
        if config.task == "gsm8k":
            write_gsm8k(data, folder, sizes.n_validation, sizes.n_test)
        else:
            write_word_problems(data, folder, sizes)
    counts: dict[str, int] = read_object(folder / "counts.json")["problems"]
    return counts


def stages_before_choosing(config: RunConfig, counts: dict[str, int]) -> list[Stage]:
    validation = search_stage(config, "validation", counts["validation"], None, None)
    return [
        *policy_stages(config, counts["solutions"]),
        *scorer_stages(config, counts["train"]),
        validation,
    ]


def run(config: RunConfig, lock_descriptor: int) -> None:
    counts = write_problems(config)
    first = stages_before_choosing(config, counts)
    tests = [search_stage(config, name, counts[name], None, None) for name in config.test_sets]
    print(plan([*first, *tests]), flush=True)
    (config.output / "stages").mkdir(exist_ok=True)
    for stage in first:
        run_stage(stage, config.output, lock_descriptor, config.forecast)
    write_errors(config.shards("train"), config.output)

    from prm_train.evaluation.choosing import choose_settings
    from prm_train.evaluation.evaluate import main as evaluate
    from prm_train.evaluation.shards import read_search

    chosen = choose_settings(read_search(config.shards("validation")).results)
    chosen.write(config.output / "chosen.json")
    for name in config.test_sets:
        stage = search_stage(config, name, counts[name], chosen.temperatures, chosen.vote_aggregation)
        run_stage(stage, config.output, lock_descriptor, config.forecast)
        folders = {
            "validation": config.shards("validation"),
            "test": config.shards(name),
            "labeled": config.shards("train"),
        }
        joined = [word for key, paths in folders.items() for word in (f"--{key}", ",".join(map(str, paths)))]
        scorers = ("--prm", str(config.output / "prm"), "--orm", str(config.output / "orm"))
        evaluate([*joined, *scorers, "--output", str(config.output / f"report-{name}")])
    show([config.output], config.output / "figures.json")


def show(runs: Sequence[Path], file: Path) -> None:
    """The figures of some runs into a file, and their tables on the terminal."""
    from benchmarks.word_problems.figures import collected, table

    figures = collected(runs)
    write_text(file, json.dumps(figures, indent=1) + "\n")
    for name in figures["seeds"][0]["sets"]:
        print(table(figures, name) + "\n")


def run_main(argv: Sequence[str]) -> None:
    config = parse_config(RunConfig, argv)
    if config.small:
        config = replace(config, sizes=SMALL_SIZES, n_samples=4, n_solutions=4)
    check_inputs(config)
    claim_run(config.output, config)
    path = config.output / ".lock"
    with path.open("w") as held:
        if not lock(held.fileno(), path):
            raise InputError(f"{config.output}: a run is under way there, or a process of a killed one ends")
        run(config, held.fileno())


def problems_main(argv: Sequence[str]) -> None:
    config = parse_config(ProblemsConfig, argv)
    config.output.mkdir(parents=True, exist_ok=True)
    write_word_problems(data_folder(config.data), config.output, config.sizes)
    print((config.output / "counts.json").read_text())


def collect_main(argv: Sequence[str]) -> None:
    if not argv:
        raise InputError("collect: got no folder, expected those of finished runs")
    runs = [Path(name) for name in argv]
    tasks = {load_yaml(RunConfig, run / "config.json").task for run in runs}
    if len(tasks) > 1:
        raise InputError(f"collect: got runs of {' and '.join(sorted(tasks))}, expected those of one task")
    show(runs, RESULTS / f"{tasks.pop()}.json")


COMMANDS = {"run": run_main, "problems": problems_main, "collect": collect_main}


def main() -> None:
    command, *rest = sys.argv[1:] or ["--help"]
    if command not in COMMANDS:
        print(__doc__)
        raise SystemExit(0 if command in ("-h", "--help") else 2)
    COMMANDS[command](rest)


if __name__ == "__main__":
    run_command(main, "word-problems")
