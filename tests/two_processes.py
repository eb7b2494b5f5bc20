"""Two processes that train together, without a launcher: forked from a server that has imported once what a
training imports.

What `accelerate launch` and DeepSpeed make of a training is the subject of prm_train/test_launch.py.
"""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["prm_train.training.run", "trl.trainer.sft_trainer"])


def train_in_two(meeting: Path, train: Callable[..., None], *arguments: Any) -> None:
    """Run `train(*arguments)` in two processes that meet through the file `meeting`, which does not exist
    yet.
    """
    processes = [
        FORKSERVER.Process(target=_one_of_two, args=(rank, meeting, train, *arguments)) for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0]


def _one_of_two(rank: int, meeting: Path, train: Callable[..., None], *arguments: Any) -> None:
    import torch.distributed

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    store = torch.distributed.FileStore(str(meeting), 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    train(*arguments)
