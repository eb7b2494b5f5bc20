"""A launch under way: shards are started, watched and started again, until each is done or has failed too
often.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from data_gen.files.stored_record import StoredRecord
from data_gen.settings.errors import InputError
from prm_train.launching.engines.protocol import Ended, Engine
from prm_train.launching.replicas import list_replicas, replica_tasks
from prm_train.launching.run_shard import ShardTask
from prm_train.launching.settings import LaunchConfig
from prm_train.launching.shards import Job, ShardSpec, is_done
from prm_train.launching.view import ShardState, read_states, total_line

logger = logging.getLogger(__name__)
LOOK_SECONDS = 0.5
VIEW_SECONDS = 10.0
REPLICA_PAUSE_SECONDS = 2.0  # before a server is started again
FIRST_PAUSE_SECONDS = 1.0  # before a shard is started again; it doubles each time


@dataclass(frozen=True)
class ShardReport(StoredRecord):
    """What became of a shard: `faults` are those of its attempts, in order. `n_servers` were given to it,
    `n_servers_answered` of them answered; None: it had none, or does not say.
    """

    name: str
    state: str
    n_attempts: int
    faults: tuple[str, ...] = ()
    n_servers: int | None = None
    n_servers_answered: int | None = None


@dataclass(frozen=True)
class LaunchSummary(StoredRecord):
    """launch-<command>.json: the command line, its shards, and what was gathered of them."""

    WRITTEN_BY = "`prm-train launch`"

    command_line: str
    engine: str
    n_shards: int
    n_empty_shards: int
    seconds: float
    shards: tuple[ShardReport, ...]
    gathered: Mapping[str, int] = field(default_factory=dict)


class Launched:
    """The shards of a job on an engine, until all have ended."""

    def __init__(self, job: Job, engine: Engine, config: LaunchConfig) -> None:
        self._job, self._engine, self._config = job, engine, config
        self._replicas = {task.key: task for task in replica_tasks(config, job.output)}
        self._specs = {spec.index: spec for spec in job.specs}
        self._states = {index: "waiting" for index in self._specs}
        self._n_started = dict.fromkeys(self._specs, 0)
        self._faults: dict[int, list[str]] = {index: [] for index in self._specs}
        self._again_at: dict[int, float] = {}
        self._replicas_again_at: dict[str, float] = {}

    def run(self, show: Callable[[list[ShardState]], None]) -> None:
        """Until every shard is done or has failed `n_attempts` times; `show` gets the view now and then."""
        todo = [spec for spec in self._job.specs if not self._was_done(spec)]
        if todo and self._replicas:
            self._engine.start(list(self._replicas.values()))
            self._await_first_replica()
        self._start(todo)
        shown_at = 0.0
        while self._is_busy():
            self._look()
            now = time.monotonic()
            self._start([self._specs[index] for index, at in self._again_at.items() if at <= now])
            if now - shown_at >= VIEW_SECONDS:
                show(self.states())
                shown_at = now
            time.sleep(LOOK_SECONDS)
        show(self.states())

    def _look(self) -> None:
        """Note what has ended, and start servers again that have."""
        for ended in self._engine.ended():
            if ended.key in self._replicas:
                logger.warning("%s: %s; started again", ended.key, ended.fault)
                self._replicas_again_at[ended.key] = time.monotonic() + REPLICA_PAUSE_SECONDS
            else:
                self._note(ended)
        due = [key for key, at in self._replicas_again_at.items() if at <= time.monotonic()]
        for key in due:
            del self._replicas_again_at[key]
        self._engine.start([self._replicas[key] for key in due])
        if self._replicas:
            list_replicas(self._job.output)

    def _await_first_replica(self) -> None:
        """Raises InputError where none answers in time."""
        seconds = self._config.replicas.ready_seconds
        deadline = time.monotonic() + seconds
        while not list_replicas(self._job.output):
            self._look()
            if time.monotonic() > deadline:
                raise InputError(
                    f"replicas.command: no server answers in {seconds:g} s; their logs are in "
                    f"{self._job.output}/replicas"
                )
            time.sleep(LOOK_SECONDS)

    def states(self) -> list[ShardState]:
        known = {
            index: (state, self._n_started[index], "; ".join(self._faults[index][-1:]))
            for index, state in self._states.items()
        }
        return read_states(self._job, known)

    def reports(self) -> list[ShardReport]:
        return [
            ShardReport(
                state.spec.name,
                state.state,
                state.n_attempts,
                tuple(self._faults[state.spec.index]),
                state.server_count("n_servers"),
                state.server_count("n_servers_answered"),
            )
            for state in self.states()
        ]

    @property
    def failed(self) -> list[ShardReport]:
        return [report for report in self.reports() if report.state == "failed"]

    def _was_done(self, spec: ShardSpec) -> bool:
        if not is_done(spec):
            return False
        self._states[spec.index] = "done"
        logger.info("%s: done before", spec.name)
        return True

    def _is_busy(self) -> bool:
        return bool(self._again_at) or any(state in ("waiting", "running") for state in self._states.values())

    def _start(self, specs: list[ShardSpec]) -> None:
        for spec in specs:
            self._again_at.pop(spec.index, None)
            self._states[spec.index] = "running"
            self._n_started[spec.index] += 1
        if specs:
            cpus, gpus = self._config.cpus_per_shard, self._config.gpus_per_shard
            self._engine.start([ShardTask(spec, cpus, gpus) for spec in specs])

    def _note(self, ended: Ended) -> None:
        index, name = next((spec.index, spec.name) for spec in self._job.specs if spec.name == ended.key)
        if not ended.fault:
            self._states[index] = "done"
            logger.info("%s: done", name)
            return
        self._faults[index].append(ended.fault)
        n_started = self._n_started[index]
        if n_started >= self._config.n_attempts:
            self._states[index] = "failed"
            logger.error("%s: failed %d times, the last time: %s", name, n_started, ended.fault)
            return
        pause = FIRST_PAUSE_SECONDS * 2 ** (n_started - 1)
        self._states[index], self._again_at[index] = "waiting", time.monotonic() + pause
        logger.warning("%s: %s; trying again in %.0f s", name, ended.fault, pause)


def log_view(command: str) -> Callable[[list[ShardState]], None]:
    """A view for the log: a line for all, and one for each shard that is at work or has failed."""

    def show(states: list[ShardState]) -> None:
        lines = [total_line(command, states)]
        lines += [state.line() for state in states if state.state != "done"]
        logger.info("%s", "\n".join(lines))

    return show
