"""The training benchmark against the estimate of its memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.training import MAX_LENGTH, network
from prm_train.estimate_memory import GIB, EstimateMemoryConfig, estimate_memory, read_network

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_peak_of_a_real_training_is_near_the_estimate() -> None:
    """28 million parameters on a CPU: peak memory above the loaded model, as the training benchmark measures
    it (about a minute).
    """
    command = [sys.executable, "-m", "benchmarks.training", "--side", "ours"]
    out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY).stdout
    measured = json.loads(out.splitlines()[-1])["peak_mib_above_model"] * 2**20
    found = estimate_memory(
        read_network(network().config, None),
        EstimateMemoryConfig(model="base", batch_tokens=MAX_LENGTH, max_length=MAX_LENGTH),
    )
    assert found.total - found.weights == pytest.approx(measured, rel=0.25)
    assert found.total < GIB
