"""The folder of a GRPO training: held by one training at a time, refused to another than began there."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from trl import GRPOConfig as GrpoArguments

from data_gen.files.run_identity import check_run, claim_run
from data_gen.files.stored_record import StoredRecord
from data_gen.problems.tasks import model_path
from data_gen.records.draw_keys import content_hash
from data_gen.settings.errors import InputError
from prm_train.rl.settings import GrpoConfig
from prm_train.training.folder import (
    PROCESSES,
    base_digests,
    check_output,
    last_whole_checkpoint,
    remove_resume_files,
    training_lock,
)

REPORT = "report.json"


@dataclass(frozen=True)
class BegunIn(StoredRecord):
    """processes.json: in how many processes a training was begun."""

    WRITTEN_BY = "`prm-train grpo`"

    n_processes: int


@contextmanager
def claimed_folder(config: GrpoConfig, arguments: GrpoArguments) -> Iterator[None]:
    """Hold the folder for this training; the main process claims it before the others look at it."""
    folder = config.output / "training"
    with ExitStack() as held:
        with arguments.main_process_first(desc="claim the output folder"):
            if arguments.process_index == 0:
                held.enter_context(training_lock(config.output))
                check_output(config.output, model_path(config.model))
                if (folder / REPORT).exists():
                    check_run(folder, config)
                    remove_resume_files(folder)  # where it was killed before it had
                else:
                    is_begun = last_whole_checkpoint(folder) is not None
                    check_processes(folder / PROCESSES, arguments.world_size, is_begun=is_begun)
                    claim_run(folder, config, _models(config), is_begun=is_begun)
                    BegunIn(arguments.world_size).write(folder / PROCESSES)
        yield


def check_processes(path: Path, n_processes: int, *, is_begun: bool) -> None:
    """Raises InputError where a training that there is something to go on from began in another number of
    processes: each draws its share of the completions with random numbers of its own.
    """
    # A training of a version that wrote none goes on as it did
    if not is_begun or not path.exists():
        return
    before = BegunIn.read(path).n_processes
    if before != n_processes:
        raise InputError(
            f"{path}: this training was broken off with {before} processes, got {n_processes}: completions "
            "would be others; expected as many, or another output to start over"
        )


def _models(config: GrpoConfig) -> dict[str, str]:
    """What the policy at the start and the scorers are, by their files."""
    named = {"model": config.model, "orm": config.orm, "prm": config.prm}
    return {
        role: content_hash(base_digests(model_path(name))) for role, name in named.items() if name is not None
    }
