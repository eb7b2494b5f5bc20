"""Settings that every test runs under, and the folder of real data."""

import os
from pathlib import Path

import pytest

# Before any test module imports torch or a Hub library: no network, and one thread a process (more are many
# times slower on shared cores).
for name, value in {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "WANDB_MODE": "offline",
}.items():
    os.environ.setdefault(name, value)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with gsm8k/, math/ and samples/, named by PRM_TRAIN_DATA; a test that asks for it is skipped
    where there is none.
    """
    folder = os.environ.get("PRM_TRAIN_DATA")
    if not folder:
        pytest.skip("PRM_TRAIN_DATA is not set: no folder of real data on this machine")
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"PRM_TRAIN_DATA={folder}: no such folder")
    return Path(folder)
