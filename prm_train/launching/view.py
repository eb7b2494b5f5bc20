"""All shards of a launch in one view: what each is at, and what the whole has cost and will cost.

::

    sample: 2 of 4 shards done, 5,210 of 7,000 problems, 21,004 draws, 2,310,442 tokens, 8,412 tokens/s, 03:32 left;
    in all about 3,104,000 tokens
"""  # noqa: E501

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from data_gen.files.progress_file import ProgressRecord
from data_gen.settings.errors import InputError
from prm_train.launching.run_shard import PROGRESS
from prm_train.launching.shards import Job, ShardSpec
from prm_train.launching.storage import joined, read_record


@dataclass(frozen=True)
class ShardState:
    """What is known of a shard: `state` is waiting, running, done or failed."""

    spec: ShardSpec
    state: str
    n_attempts: int
    fault: str = ""
    progress: ProgressRecord | None = None

    @property
    def n_items(self) -> int | None:
        return self.spec.n_items or (self.progress.n_items if self.progress else None)

    @property
    def n_done(self) -> int:
        if self.state == "done":
            return self.n_items or 0
        return self.progress.n_done if self.progress else 0

    @property
    def items_per_second(self) -> float:
        """Of the attempt that runs."""
        if self.state != "running" or self.progress is None or not self.progress.seconds:
            return 0.0
        return (self.progress.n_done - self.progress.n_before) / self.progress.seconds

    @property
    def tokens_per_second(self) -> float:
        """Of the attempt that runs."""
        return self.count("n_generated_now") / self.progress.seconds if self.progress else 0.0

    def count(self, name: str) -> float:
        return self.progress.counts.get(name, 0) if self.progress else 0

    def server_count(self, name: str) -> int | None:
        """None where the shard has no servers, or has not said so yet."""
        counts = self.progress.counts if self.progress else {}
        return int(counts[name]) if name in counts else None

    def line(self) -> str:
        of_all = f" of {self.n_items:,}" if self.n_items is not None else ""
        attempts = f", attempt {self.n_attempts}" if self.n_attempts > 1 else ""
        fault = f": {self.fault}" if self.fault and self.state != "done" else ""
        return f"{self.spec.name:>10}  {self.state}{attempts}, {self.n_done:,}{of_all}{fault}"


def read_states(job: Job, states: Mapping[int, tuple[str, int, str]]) -> list[ShardState]:
    """The states of (state, attempts, fault) by shard, with what each shard says itself."""
    return [ShardState(spec, *states[spec.index], progress=_progress(spec)) for spec in job.specs]


def _progress(spec: ShardSpec) -> ProgressRecord | None:
    try:
        return read_record(joined(spec.folder, PROGRESS), ProgressRecord)
    except InputError:  # half written, on a file system where that is seen
        return None


def total_line(command: str, states: Sequence[ShardState]) -> str:
    """One line for all shards, with the time left and the tokens of the whole by the rates so far."""
    n_shards = sum(state.state == "done" for state in states)
    n_done, known = sum(state.n_done for state in states), [state.n_items for state in states]
    n_items = sum(n for n in known if n is not None) if None not in known else None
    tokens = sum(state.count("n_generated") for state in states)
    n_counted = sum(state.n_done for state in states if state.count("n_generated"))
    parts = [f"{n_shards} of {len(states)} shards done"]
    parts.append(f"{n_done:,}{'' if n_items is None else f' of {n_items:,}'} items")
    running = [state for state in states if state.items_per_second and state.progress]
    speed = sum(
        state.count("n_generated_now") / state.progress.seconds for state in running if state.progress
    )
    if tokens:
        parts.append(f"{tokens:,.0f} tokens")
    if speed:
        parts.append(f"{speed:,.0f} tokens/s")
    rate = sum(state.items_per_second for state in running)
    if rate and n_items is not None:
        parts.append(f"{tqdm.format_interval((n_items - n_done) / rate)} left")
    whole = ""
    if tokens and n_counted and n_items is not None and n_done < n_items:
        whole = f"; in all about {tokens / n_counted * n_items:,.0f} tokens"
    failed = ", ".join(state.spec.name for state in states if state.state == "failed")
    return f"{command}: {', '.join(parts)}{whole}{f'; failed: {failed}' if failed else ''}"
