"""The settings of `prm-train launch`. Loads without torch, and without any engine's packages."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt

EngineName = Literal["local", "ray", "datatrove", "slurm"]


@dataclass(frozen=True)
class ReplicaSettings:
    """Servers of a policy that are started with the shards, by the engines local and ray."""

    command: str | None = field(
        default=None,
        metadata={
            "help": "command line of a server, with {port} for the port to listen on and {host} for the "
            "address, as 'prm-train serve-policy --model base --host {host} --port {port}'; the shards "
            "draw from these and no others; null: none is started"
        },
    )
    n: Annotated[int, Ge(1)] = field(default=1, metadata={"help": "how many are started"})
    cpus: Annotated[float, Ge(0)] = field(default=1.0, metadata={"help": "cores of each (ray)"})
    gpus: Annotated[float, Ge(0)] = field(default=0.0, metadata={"help": "GPUs of each (ray)"})
    ready_seconds: Annotated[float, Gt(0)] = field(
        default=900.0, metadata={"help": "longest time until the first one answers"}
    )


@dataclass(frozen=True)
class LaunchConfig:
    """Run the shards of a command with an engine."""

    command: str = field(
        metadata={
            "help": "the command line that is divided, without its output and its shard, as 'sample --config "
            "configs/sample/gsm8k.yaml'; on the command line it may stand last, behind --"
        }
    )
    n_shards: Annotated[int, Ge(1)] = field(
        metadata={"help": "how many parts the problems are divided into; the same for all commands of a run"}
    )
    output: str | None = field(
        default=None,
        metadata={
            "help": "folder of the shards and of what is gathered from them, also s3://bucket/folder and "
            "whatever else fsspec opens; null: the output (or run) of the command"
        },
    )
    engine: EngineName = field(default="local", metadata={"help": "what starts the shards, and where"})
    n_parallel: Annotated[int, Ge(1)] | None = field(
        default=None,
        metadata={
            "help": "how many shards run at a time; null: with local one a core, elsewhere what the cluster "
            "has room for"
        },
    )
    n_attempts: Annotated[int, Ge(1)] = field(
        default=3, metadata={"help": "how often a shard is started before it counts as failed"}
    )
    work: Path | None = field(
        default=None,
        metadata={
            "help": "folder on a node's own disk where its shards are worked on, with copies into output: "
            "for outputs in object storage or on a network file system, where SQLite must not write; null: "
            "in output itself"
        },
    )
    save_every_seconds: Annotated[float, Gt(0)] = field(
        default=600.0, metadata={"help": "time between two copies of a shard from work to output"}
    )
    cpus_per_shard: Annotated[float, Ge(0)] = field(
        default=1.0, metadata={"help": "cores of a shard (ray, slurm)"}
    )
    gpus_per_shard: Annotated[float, Ge(0)] = field(
        default=0.0, metadata={"help": "GPUs of a shard that holds its model itself (ray, slurm)"}
    )
    address: str | None = field(
        default=None,
        metadata={
            "help": "for ray: address of a running cluster, as auto; null: one on this machine, which ends "
            "with the launch"
        },
    )
    executor: Literal["local", "slurm", "ray"] = field(
        default="local", metadata={"help": "for datatrove: which of its executors runs the tasks"}
    )
    partition: str | None = field(
        default=None, metadata={"help": "for slurm, and for datatrove's slurm: partition of the jobs"}
    )
    time: str = field(
        default="24:00:00", metadata={"help": "for slurm, and for datatrove's slurm: longest time of a job"}
    )
    replicas: ReplicaSettings = field(default_factory=ReplicaSettings)

    def __post_init__(self) -> None:
        if not self.command.strip():
            raise ValueError("command: got none, expected a command line such as 'sample --config file.yaml'")
        if self.output is not None and "://" in self.output and self.work is None:
            raise ValueError(
                f"work: got null with output {self.output}, which is no folder of this machine; expected a "
                "folder on each node's own disk"
            )
        if self.replicas.command is not None and self.engine not in ("local", "ray"):
            raise ValueError(
                f"replicas.command: has no effect with the engine {self.engine}; expected local or ray, or "
                "servers that were started before"
            )
        if self.replicas.command is not None and "{port}" not in self.replicas.command:
            raise ValueError(
                f"replicas.command: got {self.replicas.command!r}, expected {{port}} in it, for each has "
                "another"
            )
