"""The paper of Snell et al. (2024, arXiv 2408.03314) in one command on the built-in task, as
docs/reproduce_analysis.md says.

`python -m benchmarks.reproduce run --output runs/reproduce/seed-11 --seed 11` makes one seed; an interrupted
run goes on. `… collect FOLDERS` makes benchmarks/results/reproduce.json and RESULTS.md of one or more seeds.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from benchmarks.reproduce.jobs import JobQueue
from benchmarks.reproduce.plan import ReproduceConfig, jobs
from data_gen.files.locks import lock
from data_gen.files.run_identity import claim_run
from data_gen.settings.errors import InputError
from data_gen.settings.parse import run_command


def run(config: ReproduceConfig) -> None:
    """Raises InputError where a command fails, or a run goes on in the folder."""
    claim_run(config.output, config, is_begun=config.stages.exists())
    claim_run(config.revisions.output, config.revisions)
    path = config.output / ".lock"
    with path.open("w") as held:
        if not lock(held.fileno(), path):
            raise InputError(f"{config.output}: a run goes on there, or a process of a killed one is ending")
        JobQueue(config.stages, held.fileno()).run(jobs(config))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run", help="make one seed")
    one.add_argument("--output", type=Path, required=True, help="folder for everything that is made")
    one.add_argument("--seed", type=int, default=11, help="seed of problems, draws and trainings")
    one.add_argument("--revision_policy", help="another policy that does not revise by itself")
    one.add_argument("--small", action="store_true", help="few problems, to try the command")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    config = ReproduceConfig(arguments.output, seed=arguments.seed)
    if arguments.revision_policy is not None:
        config = ReproduceConfig(arguments.output, arguments.seed, revision_policy=arguments.revision_policy)
    run(config.small() if arguments.small else config)


if __name__ == "__main__":
    run_command(main, "reproduce")
