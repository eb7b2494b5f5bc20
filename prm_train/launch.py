"""`prm-train launch`: a command on many processes or machines, each with a shard of the problems, by an engine
that is there: processes of this machine, Ray, datatrove, Slurm.

    prm-train launch --n_shards 8 --engine ray -- sample --config configs/sample/gsm8k.yaml --n_samples 16

What stands behind `--` is the command line as one types it; each shard runs it with its own shard and folder.
Divided are sample, label, search and score. A shard that fails is started again, a launch that was killed goes on
with what is missing, and at the end there is one ledger (one file of scores). docs/scaling_out.md shows each engine.
"""  # noqa: E501

import logging
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data_gen.files.locks import lock
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command
from prm_train.launching.engines.choice import engine_of
from prm_train.launching.gather import gather
from prm_train.launching.launched import Launched, LaunchSummary, log_view
from prm_train.launching.settings import LaunchConfig
from prm_train.launching.shards import DIVIDED, Job, plan
from prm_train.launching.storage import is_local, joined, put_text, read_record

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(LaunchConfig, as_options(sys.argv[1:] if argv is None else argv))
    job = plan(config)
    check_division(job, config)
    if not is_local(job.output):
        launch(job, config)
        return
    folder = Path(job.output)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".launch.lock").open("w") as held:
        if not lock(held.fileno(), folder / ".launch.lock"):
            raise InputError(f"{folder}: another launch is running there")
        launch(job, config)


def as_options(argv: Sequence[str]) -> list[str]:
    """`--n_shards 8 -- sample --n_samples 4` as `--n_shards 8 --command "sample --n_samples 4"`."""
    if "--" not in argv:
        return list(argv)
    place = list(argv).index("--")
    return [*argv[:place], f"--command={shlex.join(argv[place + 1 :])}"]


def check_division(job: Job, config: LaunchConfig) -> None:
    """Raises InputError where another command of this run was divided into another number of shards."""
    for command in DIVIDED:
        earlier = read_record(summary_file(job, command), LaunchSummary)
        if earlier is not None and earlier.n_shards != config.n_shards:
            raise InputError(
                f"{job.output}: was divided into {earlier.n_shards} shards by launch -- {command}, got "
                f"n_shards {config.n_shards}; expected {earlier.n_shards}, or another output"
            )


def summary_file(job: Job, command: str) -> str:
    return joined(job.output, f"launch-{command}.json")


def launch(job: Job, config: LaunchConfig) -> None:
    """Run all shards, and gather. Raises InputError where some have failed."""
    begun = time.monotonic()
    if job.n_empty:
        logger.info("%d of %d shards have no problem and are left out", job.n_empty, config.n_shards)
    engine = engine_of(config, job.output)
    launched = Launched(job, engine, config)
    summary = LaunchSummary(
        config.command, config.engine, config.n_shards, job.n_empty, 0.0, tuple(launched.reports())
    )
    put_text(summary.to_json(), summary_file(job, job.command))
    try:
        launched.run(log_view(job.command))
    finally:
        engine.stop()
        seconds = round(time.monotonic() - begun, 1)
        summary = replace(summary, seconds=seconds, shards=tuple(launched.reports()))
        put_text(summary.to_json(), summary_file(job, job.command))
    if launched.failed:
        first = launched.failed[0]
        raise InputError(
            f"{len(launched.failed)} of {len(job.specs)} shards failed, first {first.name}: "
            f"{first.faults[-1]}; the others are done, and the same command goes on (log: "
            f"{joined(job.output, first.name, 'log.txt')})"
        )
    for report in launched.reports():
        n, n_answered = report.n_servers, report.n_servers_answered
        if n is not None and n_answered is not None and n_answered < n:
            logger.warning("%s: reached %d of its %d servers", report.name, n_answered, n)
    gathered = gather(job)
    put_text(replace(summary, gathered=gathered).to_json(), summary_file(job, job.command))
    logger.info("%s: %s", job.output, ", ".join(f"{name} {value:,}" for name, value in gathered.items()))


if __name__ == "__main__":
    run_command(main, "launch")
