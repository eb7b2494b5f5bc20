"""A disk that fails under the weights of a model."""

import errno
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from data_gen.process.disk_faults import writing


def test_a_full_disk_is_one_error_whoever_notices_it():
    told: list[OSError] = []
    with (
        pytest.raises(OSError, match="No space left on device: 'runs/prm'") as caught,
        writing(Path("runs/prm")),
    ):
        torch.save({"weights": torch.zeros(9999)}, "/dev/full")
    told.append(caught.value)
    with (
        pytest.raises(OSError, match="No space left on device: 'runs/prm'") as caught,
        writing(Path("runs/prm")),
    ):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    told.append(caught.value)
    assert [error.errno for error in told] == [errno.ENOSPC, errno.ENOSPC]


def test_a_fault_that_is_not_the_disks_stays_what_it_is():
    with pytest.raises(RuntimeError, match="scores differ"), writing(Path("runs/prm")):
        raise RuntimeError("scores differ")
    with pytest.raises(SafetensorError, match="header too small"), writing(Path("runs/prm")):
        raise SafetensorError("Error while deserializing header: header too small")
