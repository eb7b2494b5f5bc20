"""A run folder and what commands share: records as JSON lines, many problems at a time with a progress bar.

A run folder holds config.json, problems.jsonl, ledger.sqlite and the views made from them (solutions.jsonl, labels.jsonl, summaries).
"""

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from tqdm import tqdm

from data_gen.config import InputError, dump_config
from data_gen.jsonl import write_text

logger = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")


def claim_run(folder: Path, config: Any) -> None:
    """Write `config.json`, or check that the run that is already there has the same configuration. Raises InputError where it has not."""
    wanted, path = dump_config(config), folder / "config.json"
    if path.exists():
        found = json.loads(path.read_text())
        different = [key for key in wanted if key != "output" and found.get(key) != wanted[key]]  # a run may be moved
        if different:
            key = different[0]
            raise InputError(
                f"{path}: this folder holds a run with another configuration: {key} is {found.get(key)!r}, got {wanted[key]!r}; "
                "choose another output folder, or delete this one"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(wanted, indent=1) + "\n")


def write_records(path: Path, kind: type, records: Iterable[object]) -> None:
    """One JSON line a record, written whole or not at all."""
    adapter: TypeAdapter[object] = TypeAdapter(kind)
    write_text(path, "".join(adapter.dump_json(record).decode() + "\n" for record in records))


def read_records(path: Path, kind: type[Result]) -> Iterator[Result]:
    """The records that `write_records` wrote. Raises InputError naming file and line."""
    adapter = TypeAdapter(kind)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the command before this one to have written it")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield adapter.validate_json(line)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(map(str, first["loc"]))
                raise InputError(
                    f"{path}:{number}: not a {kind.__name__}: {where}: {first['msg']}, got {str(first['input'])[:80]!r}"
                ) from error


async def for_each(
    items: Iterable[Item], work: Callable[[Item], Awaitable[Result]], *, what: str, unit: str, at_once: int = 1024
) -> list[Result]:
    """`work` on every item, up to `at_once` concurrently, results in the order of the items, with rate and time left.

    The first failure ends the others and is raised as it is.
    """
    items = list(items)
    places = asyncio.Semaphore(at_once)
    is_log = not sys.stderr.isatty()
    with tqdm(total=len(items), desc=what, unit=f" {unit}", mininterval=5 if is_log else 0.2, dynamic_ncols=True) as progress:

        async def one(item: Item) -> Result:
            async with places:
                result = await work(item)
            progress.update()
            return result

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(item)) for item in items]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
