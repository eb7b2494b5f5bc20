"""The old name of `prm_train.estimate_memory`, which people have typed after `python -m`."""

import warnings

from data_gen.settings.parse import run_command
from prm_train.estimate_memory import estimate_memory, main

__all__ = ["estimate_memory", "main"]
warnings.warn("prm_train.memory_estimate is now prm_train.estimate_memory", FutureWarning, stacklevel=2)

if __name__ == "__main__":
    run_command(main, "estimate-memory")
