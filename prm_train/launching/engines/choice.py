"""The engine of a config. Only the chosen one's packages are loaded."""

import os

from data_gen.settings.errors import InputError
from prm_train.launching.engines.local_processes import LocalProcesses
from prm_train.launching.engines.protocol import Engine
from prm_train.launching.settings import LaunchConfig


def engine_of(config: LaunchConfig) -> Engine:
    """Raises InputError where its packages or programs are not installed."""
    n_replicas = config.replicas.n if config.replicas.command is not None else 0
    if config.engine == "local":
        n_parallel = config.n_parallel or min(config.n_shards, os.cpu_count() or 1)
        return LocalProcesses(n_parallel + n_replicas)
    try:
        if config.engine == "ray":
            from prm_train.launching.engines.ray_actors import RayActors

            return RayActors(config.address, config.n_parallel and config.n_parallel + n_replicas)
    except ImportError as error:
        raise InputError(
            f"engine: {config.engine} is not installed ({error}): pip install 'prm-train[launch]'"
        ) from error
    raise InputError(f"engine: {config.engine}")
