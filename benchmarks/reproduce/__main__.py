"""The paper of Snell et al. (2024, arXiv 2408.03314) in one command on the built-in task, as
docs/reproduce_analysis.md says.

`python -m benchmarks.reproduce run --output runs/reproduce/seed-11 --seed 11` makes one seed, with its own
RESULTS.md and reproduce.json in the folder; an interrupted run goes on. `… collect FOLDERS` makes
benchmarks/results/reproduce.json and RESULTS.md of several seeds.
"""

import argparse
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.reproduce.jobs import JobQueue, read_jobs
from benchmarks.reproduce.measured import FILE, Measured
from benchmarks.reproduce.plan import ReproduceConfig, jobs, sizes_folder
from data_gen.files.jsonl import write_text
from data_gen.files.locks import lock
from data_gen.files.run_identity import claim_run
from data_gen.process.machine import machine_name, shown_path
from data_gen.settings.errors import InputError
from data_gen.settings.parse import run_command

logger = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]


def run(config: ReproduceConfig) -> None:
    """Raises InputError where a command fails, or a run goes on in the folder."""
    claim_run(config.output, config, is_begun=config.stages.exists())
    claim_run(config.revisions.output, config.revisions)
    path = config.output / ".lock"
    with path.open("w") as held:
        if not lock(held.fileno(), path):
            raise InputError(f"{config.output}: a run goes on there, or a process of a killed one is ending")
        JobQueue(config.stages, held.fileno()).run(jobs(config))
        file = config.output / FILE
        measured = Measured.read(file) if file.exists() else measure(config)
        with_costs(measured, config.stages).write(file)
    collect([config.output], config.output / "RESULTS.md", config.output / "reproduce.json")


def measure(config: ReproduceConfig) -> Measured:
    """Of the files of a run that has ended; its costs are those of measuring alone."""
    # torch and what needs it come after the settings were read
    from benchmarks.reproduce.measure_revisions import measure_revisions
    from benchmarks.reproduce.measure_search import measure_search

    logger.info("measuring")
    before = time.process_time()
    search, revisions = measure_search(config), measure_revisions(config.revisions.output)
    costs = {"measure": round(time.process_time() - before, 1)}
    return Measured(config.seed, search, revisions, costs, machine_name())


def with_costs(measured: Measured, stages: Path) -> Measured:
    """With those of all jobs, of which a finished run that is given a large policy has more than before."""
    costs = {each.name: each.cpu_seconds for each in read_jobs(stages)}
    return replace(measured, cpu_seconds={**costs, "measure": measured.cpu_seconds["measure"]})


def collect(folders: Sequence[Path], page_file: Path, figures_file: Path) -> None:
    """F6 is told where each seed has it. Raises InputError where a folder holds no finished run."""
    from benchmarks.reproduce.page import figures, page
    from prm_train.allocation.compare_sizes import FILE as SIZES_FILE
    from prm_train.allocation.size_results import SizeReport

    seeds = [Measured.read(folder / FILE) for folder in folders]
    files = [sizes_folder(ReproduceConfig(folder)) / SIZES_FILE for folder in folders]
    sizes = [SizeReport.read(file) for file in files] if all(file.exists() for file in files) else []
    command = " ".join(("python -m benchmarks.reproduce collect", *map(shown_path, folders)))
    write_text(figures_file, json.dumps(figures(seeds, command, sizes), indent=1, ensure_ascii=False) + "\n")
    write_text(page_file, page(seeds, command, sizes))
    logger.info("%s", page_file)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run", help="make one seed")
    one.add_argument("--output", type=Path, help="folder for everything; default: runs/reproduce/seed-SEED")
    one.add_argument("--seed", type=int, default=11, help="seed of problems, draws and trainings")
    one.add_argument("--revision_policy", help="another policy that does not revise by itself")
    one.add_argument("--large_policy", type=Path, help="policy of about 14 times the parameters, for F6")
    one.add_argument("--small", action="store_true", help="few problems, to try the command")
    several = commands.add_parser("collect", help="figures and page of finished seeds")
    several.add_argument("folders", type=Path, nargs="+", help="outputs of run")
    arguments = parser.parse_args(argv)
    if arguments.command == "collect":
        results = ROOT / "benchmarks/results/reproduce.json"
        collect(arguments.folders, ROOT / "RESULTS.md", results)
        return
    output = arguments.output or Path(f"runs/reproduce/seed-{arguments.seed}")
    config = ReproduceConfig(output, arguments.seed, large_policy=arguments.large_policy)
    if arguments.revision_policy is not None:
        config = replace(config, revision_policy=arguments.revision_policy)
    run(config.small() if arguments.small else config)


if __name__ == "__main__":
    run_command(main, "reproduce")
