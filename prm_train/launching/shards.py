"""A shard: the part of a command's work that one process does, as a command line that a person could type.

It is idempotent: what the shard's folder holds is not done again, so any engine may start it again, anywhere.
"""

import importlib
import json
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from data_gen.files.jsonl import read_objects
from data_gen.files.stored_record import StoredRecord
from data_gen.problems.sources import select_problems, shard_of, stretch_of_shard
from data_gen.records.draw_keys import content_hash
from data_gen.settings.errors import InputError
from data_gen.settings.parse import dump_config, parse_config
from prm_train.launching.settings import LaunchConfig
from prm_train.launching.storage import absolute, exists, is_local, joined, read_record

REPLICAS = "replicas.txt"  # in the output: the URLs of servers that are started with the shards
FOLDER = "{folder}"  # in arguments, where the shard's folder on the node is put


class Divided(NamedTuple):
    """How a command is divided: its config class, the setting with its folder, the file in that folder (""
    for the folder itself), the setting that names the shard ("": the folder is one already), and the one that
    names the servers that do the work.
    """

    module: str
    config: str
    folder: str
    file: str
    shard: str
    servers: str = "policy.servers"


DIVIDED = {
    "sample": Divided(
        "data_gen.sample", "data_gen.sampling.settings:SampleConfig", "output", "", "problems.shard"
    ),
    "label": Divided("data_gen.label", "data_gen.label:LabelConfig", "run", "", ""),
    "search": Divided(
        "prm_train.search.run", "prm_train.search.settings:SearchConfig", "output", "", "problems.shard"
    ),
    "score": Divided(
        "prm_train.search.score_rows",
        "prm_train.search.score_rows:ScoreConfig",
        "output",
        "scores.jsonl",
        "shard",
        "scorer.servers",
    ),
}
REFUSED = {
    "benchmark": "its intervals and thresholds are those of all rows together; divide the scoring alone: "
    "`prm-train benchmark … --export_rows rows.jsonl`, `prm-train launch … -- score --rows rows.jsonl …`, "
    "`prm-train benchmark … --scores OUTPUT/scores.jsonl`",
    "grade": "a file of solutions is graded in minutes",
    "evaluate": "it reads all shards of a search at once (--test shard-0,shard-1)",
    "build": "it reads all shards of a run at once (--runs shard-0,shard-1), and splits by question",
}


@dataclass(frozen=True)
class ShardSpec(StoredRecord):
    """One shard: `arguments` of the command `module`, with {folder} for its folder on the node, and the hash
    of all `settings` that they and their YAML files make. `folder` is
    where it ends up, a path or URL; `work` the folder on a node's own disk, where one is used. `ledger`: its
    draws are in ledger.sqlite there.
    """

    WRITTEN_BY = "`prm-train launch`"

    command: str
    module: str
    arguments: tuple[str, ...]
    settings: str
    index: int
    n_shards: int
    folder: str
    directory: str  # where the command is run, if the node has it: relative paths are of there
    n_items: int | None = None
    work: str | None = None
    save_every_seconds: float = 600.0

    @property
    def name(self) -> str:
        return f"shard-{self.index}"

    @property
    def end_file(self) -> str:
        """Where the end of this command is told, in the shard's folder."""
        return joined(self.folder, f"launched-{self.command}.json")


@dataclass(frozen=True)
class ShardEnd(StoredRecord):
    """How an attempt of a shard ended: `fault` "" where its work is done. `settings` as of its spec."""

    WRITTEN_BY = "`prm-train launch`"

    index: int
    fault: str
    seconds: float
    host: str = ""
    settings: str = ""


def is_done(spec: ShardSpec) -> bool:
    """Whether an earlier launch has finished this shard, with these settings."""
    end = read_record(spec.end_file, ShardEnd)
    return end is not None and not end.fault and end.settings == spec.settings


@dataclass(frozen=True)
class Job:
    """All shards of a launch that have something to do, and where they end up."""

    command: str
    words: tuple[str, ...]
    config: Any  # of the command
    output: str
    specs: tuple[ShardSpec, ...]
    n_empty: int


def plan(config: LaunchConfig) -> Job:
    """The shards of a launch. Raises InputError for a command that cannot be divided, settings that it
    refuses, and those that the shards need for themselves.
    """
    command, *words = shlex.split(config.command)
    divided = _divided(command, words)
    has_replicas = config.replicas.command is not None
    parsed = _parsed(divided, [*words, *((f"--{divided.servers}", f"@{REPLICAS}") * has_replicas)], config)
    output = absolute(config.output or str(getattr(parsed, divided.folder)))
    if "{" in output:
        raise InputError(f"output: got {output!r}, expected no brace in it")
    if has_replicas:
        if not is_local(output):
            raise InputError(f"replicas.command: got one with output {output}, expected a shared folder")
        words += [f"--{divided.servers}", f"@{output}/{REPLICAS}"]
    settings = content_hash(json.dumps(dump_config(parsed)))
    specs = []
    for index, n_items in sorted(_items(divided, parsed, config.n_shards, output).items()):
        target = f"{FOLDER}/{divided.file}" if divided.file else FOLDER
        shard = (f"--{divided.shard}", f"{index}/{config.n_shards}") if divided.shard else ()
        own = (f"--{divided.folder}", target, *shard)
        specs.append(
            ShardSpec(
                command=command,
                module=divided.module,
                arguments=(*words, *own),
                settings=settings,
                index=index,
                n_shards=config.n_shards,
                folder=joined(output, f"shard-{index}"),
                directory=str(Path.cwd()),
                n_items=n_items,
                work=str(config.work) if config.work else None,
                save_every_seconds=config.save_every_seconds,
            )
        )
    return Job(command, tuple(words), parsed, output, tuple(specs), config.n_shards - len(specs))


def _divided(command: str, words: Sequence[str]) -> Divided:
    """Raises InputError for a command that cannot be divided, and for words that each shard has itself."""
    divided = DIVIDED.get(command)
    if divided is None:
        reason = REFUSED.get(command, "its work is one whole")
        raise InputError(
            f"command: {command} cannot be divided: {reason}; expected one of {', '.join(DIVIDED)}"
        )
    for name in (divided.shard, "ledger"):
        if name and any(word == f"--{name}" or word.startswith(f"--{name}=") for word in words):
            raise InputError(f"command: holds --{name}, which each shard has for itself; expected none")
    return divided


def _parsed(divided: Divided, words: Sequence[str], config: LaunchConfig) -> Any:
    """The command's own config, checked as the command will check it."""
    module, _, name = divided.config.partition(":")
    config_class = getattr(importlib.import_module(module), name)
    if any(word in ("--help", "-h") for word in words):
        raise InputError(f"command: holds --help; expected `prm-train {config.command}` for that")
    given = (f"--{divided.folder}", config.output) if config.output else ()
    parsed = parse_config(config_class, [*words, *given])
    for name in ("ledger", "dry_run", "show"):
        if getattr(parsed, name, None):
            raise InputError(f"command: sets {name}, which shards cannot share; expected it to be left out")
    source = getattr(parsed, "problems", None)
    if source is not None and source.shard is not None:
        raise InputError(f"command: sets problems.shard to {source.shard}; expected it to be left out")
    return parsed


def _items(divided: Divided, parsed: Any, n_shards: int, output: str) -> dict[int, int | None]:
    """The number of problems (None: not known) of each shard that has any. The problems are read once here,
    so a fault of theirs is told before anything starts.
    """
    if divided.shard == "problems.shard":
        problems = select_problems(replace(parsed.problems, shard=None)).problems
        return dict(Counter(shard_of(problem, n_shards) for problem in problems))
    if divided.shard:
        n_rows = sum(1 for _ in read_objects(parsed.rows))
        sizes = {index: len(stretch_of_shard(n_rows, index, n_shards)) for index in range(n_shards)}
        return {index: size for index, size in sizes.items() if size}
    found = {
        index: None for index in range(n_shards) if exists(joined(output, f"shard-{index}", "config.json"))
    }
    if not found:
        raise InputError(f"{output}: holds no shard-0, …; expected what `prm-train launch … -- sample` made")
    return dict(found)
