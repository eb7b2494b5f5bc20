"""The stages of a quickstart: what each leaves in stages/ when it is done."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data_gen.files.stored_record import StoredRecord

Command = Literal["sample", "label", "build", "train", "search", "evaluate"]
Split = Literal["validation", "test"]


@dataclass(frozen=True)
class StageRecord(StoredRecord):
    """A command, for the search also the split of the problems, what it took (all its processes), and the
    command lines.
    """

    WRITTEN_BY = "`prm-train quickstart`"

    command: Command
    split: Split | None
    wall_seconds: float
    cpu_seconds: float
    command_lines: tuple[str, ...]

    @property
    def words(self) -> str:
        return stage_words(self.command, self.split)


def stage_words(command: Command, split: Split | None) -> str:
    """For a person: `search test`."""
    return f"{command} {split}" if split else command


def stage_file(run: Path, command: Command, split: Split | None = None) -> Path:
    """Written when the stage is done."""
    return run / "stages" / f"{stage_words(command, split).replace(' ', '-')}.json"


def read_stages(folder: Path) -> list[StageRecord]:
    """In the order in which they ended."""
    return [
        StageRecord.read(path)
        for path in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
    ]
