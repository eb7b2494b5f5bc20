"""The engine of a config. Only the chosen one's packages are loaded."""

import os

from data_gen.settings.errors import InputError
from prm_train.launching.engines.local_processes import LocalProcesses
from prm_train.launching.engines.protocol import Engine
from prm_train.launching.settings import LaunchConfig


def engine_of(config: LaunchConfig) -> Engine:
    """Raises InputError where its packages or programs are not installed."""
    if config.engine == "local":
        return LocalProcesses(config.n_parallel or min(config.n_shards, os.cpu_count() or 1))
    raise InputError(f"engine: {config.engine}")
