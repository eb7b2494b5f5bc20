"""What a pipeline on a card has done and decided so far: pipeline.json in the part's folder."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.word_problems.stages import RunConfig
from data_gen.files.jsonl import write_text
from data_gen.files.stored_record import read_object

TEST = "gsm8k"


@dataclass
class State:
    """`seconds` of finished stages; `broken_off` of those that ended too early, so far."""

    path: Path
    seconds: dict[str, float] = field(default_factory=dict)
    broken_off: dict[str, float] = field(default_factory=dict)
    peak_gib: dict[str, float] = field(default_factory=dict)
    n_rollouts: int | None = None
    chunks: list[list[int]] = field(default_factory=list)  # offset and number of test problems

    @classmethod
    def of(cls, folder: Path) -> "State":
        path = folder / "pipeline.json"
        return cls(path, **(read_object(path) if path.exists() else {}))

    def write(self) -> None:
        held = {name: value for name, value in vars(self).items() if name != "path"}
        write_text(self.path, json.dumps(held, indent=1) + "\n")


def chunk_name(number: int) -> str:
    return f"search-{TEST}-{number}"


def chunk_folder(config: RunConfig, number: int) -> Path:
    return config.output / f"{TEST}-{number}"
