"""RL of the built-in policy with and without a verifier, as docs/rl_analysis.md says.

`python -m benchmarks.rl run --output runs/rl/seed-0 --seed 0 --verifiers runs/quickstart` makes one seed with
the PRM and the ORM of a finished quickstart; an interrupted run goes on. `… collect FOLDERS` makes
benchmarks/results/rl.json and docs/rl_figures.md of several seeds.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from benchmarks.reproduce.jobs import JobQueue, read_jobs
from benchmarks.rl.plan import RlConfig, jobs
from data_gen.files.jsonl import write_text
from data_gen.files.locks import lock
from data_gen.files.run_identity import claim_run
from data_gen.process.machine import machine_name, shown_path
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command

logger = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
FIGURES, PAGE = ROOT / "benchmarks" / "results" / "rl.json", ROOT / "docs" / "rl_figures.md"


def run(config: RlConfig) -> None:
    """Raises InputError where a command fails, verifiers are missing, or a run goes on in the folder."""
    for kind in ("prm", "orm"):
        if not (config.verifiers / kind / "config.json").exists():
            raise InputError(
                f"verifiers {config.verifiers}: no {kind}; expected the folder of a finished "
                "`make quickstart`"
            )
    claim_run(config.output, config, is_begun=config.stages.exists())
    path = config.output / ".lock"
    with path.open("w") as held:
        if not lock(held.fileno(), path):
            raise InputError(f"{config.output}: a run goes on there, or a process of a killed one is ending")
        JobQueue(config.stages, held.fileno(), config.n_processes).run(jobs(config))
    # torch and what needs it come after the settings were read
    from benchmarks.rl.measure import measure

    seconds = {each.name: each.cpu_seconds for each in read_jobs(config.stages)}
    measured = measure(config, seconds, machine_name())
    measured.write(config.output / "measured.json")
    logger.info("%s", config.output / "measured.json")


def collect(folders: Sequence[Path], figures_file: Path, page_file: Path) -> None:
    """Raises InputError where a folder holds no finished run."""
    from benchmarks.rl.figures import figures
    from benchmarks.rl.measured import Measured
    from benchmarks.rl.page import page

    found = figures([Measured.read(folder / "measured.json") for folder in folders])
    command = " ".join(("python -m benchmarks.rl collect", *map(shown_path, folders)))
    write_text(figures_file, json.dumps({"command": command, **found}, indent=1) + "\n")
    write_text(page_file, page(found, command))
    logger.info("%s", page_file)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rl", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("run", add_help=False)
    collecting = actions.add_parser("collect", help="figures of several seeds")
    collecting.add_argument("folders", nargs="+", type=Path)
    collecting.add_argument("--figures", type=Path, default=FIGURES)
    collecting.add_argument("--page", type=Path, default=PAGE)
    known, rest = parser.parse_known_args(argv)
    if known.action == "run":
        run(parse_config(RlConfig, rest))
    elif rest:
        raise InputError(f"collect: got {' '.join(rest)}, expected folders, --figures and --page")
    else:
        collect(known.folders, known.figures, known.page)


if __name__ == "__main__":
    run_command(main, "benchmarks.rl")
