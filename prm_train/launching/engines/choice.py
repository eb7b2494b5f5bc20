"""The engine of a config. Only the chosen one's packages are loaded."""

import os
from pathlib import Path

from data_gen.records.draw_keys import content_hash
from data_gen.settings.errors import InputError
from prm_train.launching.engines.local_processes import LocalProcesses
from prm_train.launching.engines.protocol import Engine
from prm_train.launching.settings import LaunchConfig
from prm_train.launching.storage import is_local


def engine_of(config: LaunchConfig, output: str) -> Engine:
    """For shards that end up in `output`. Raises InputError where something of it is not installed."""
    n_replicas = config.replicas.n if config.replicas.command is not None else 0
    if config.engine == "local":
        n_parallel = config.n_parallel or min(config.n_shards, os.cpu_count() or 1)
        return LocalProcesses(n_parallel + n_replicas)
    if config.engine == "slurm":
        from prm_train.launching.engines.slurm_array import SlurmArray

        return SlurmArray(config, shared_folder(config.engine, output))
    try:
        if config.engine == "ray":
            from prm_train.launching.engines.ray_actors import RayActors

            return RayActors(config.address, config.n_parallel and config.n_parallel + n_replicas)
        from prm_train.launching.engines.datatrove_tasks import DatatroveTasks

        return DatatroveTasks(config, shared_folder(config.engine, output))
    except ImportError as error:
        raise InputError(
            f"engine: {config.engine} is not installed ({error}): pip install 'prm-train[launch]'"
        ) from error


def shared_folder(engine: str, output: str) -> Path:
    """For the files by which tasks reach other nodes: in the output, or where that is a URL, beside the runs
    of the folder from which the launch is started.
    """
    if is_local(output):
        return Path(output, engine)
    return Path.cwd() / "runs" / f"launch-{content_hash(output)[:12]}" / engine
