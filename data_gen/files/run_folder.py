"""What commands share: records as JSON lines, and many problems at a time. Whose a run folder is:
`data_gen.files.run_identity`.

A run folder holds config.json, models.json, problems.jsonl, ledger.sqlite and the views made from them
(solutions.jsonl, labels.jsonl, summaries). What grows with the number of problems stays on disk: they are
read, worked on and written as they come.
"""

import asyncio
import gc
import tempfile
from array import array
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from data_gen.files.jsonl import whole_file
from data_gen.files.progress_bar import Progress
from data_gen.settings.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
N_OPEN = 512  # problems at a time: each has several draws under way


# --- records as JSON lines


def write_records(path: Path, kind: type, records: Iterable[object]) -> None:
    """One JSON line a record, written whole or not at all."""
    adapter: TypeAdapter[object] = TypeAdapter(kind)
    with whole_file(path) as file:
        for record in records:
            file.write(adapter.dump_json(record).decode() + "\n")


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
                    f"{path}:{number}: not a {kind.__name__}: {where}: {first['msg']}, got "
                    f"{str(first['input'])[:80]!r}"
                ) from error


def count_lines(path: Path) -> int:
    """How many records a file holds."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the command before this one to have written it")
    with path.open("rb") as file:
        return sum(1 for _ in file)


@contextmanager
def records_in_order(path: Path, kind: type) -> Iterator[Callable[[int, Iterable[object]], None]]:
    """`with records_in_order(path, kind) as add:` and `add(number, records)` for each group, in any order of
    the numbers 0, 1, ….

    The file has the groups in the order of their numbers and appears whole, when the block ends without an
    error. A group waits on disk for those before it, not in memory: a problem that takes an hour holds up
    nobody.
    """
    adapter: TypeAdapter[object] = TypeAdapter(kind)
    starts, sizes = array("q"), array("q")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent) as spool:

        def add(number: int, records: Iterable[object]) -> None:
            missing = array("q", [-1] * (number + 1 - len(starts)))
            starts.extend(missing)
            sizes.extend(missing)
            assert starts[number] < 0, f"{path}: group {number} came twice"
            starts[number] = spool.tell()
            sizes[number] = spool.write(b"".join(adapter.dump_json(record) + b"\n" for record in records))

        yield add
        assert min(starts, default=0) >= 0, f"{path}: group {starts.index(-1)} never came"
        with whole_file(path) as file:
            for start, size in zip(starts, sizes, strict=True):
                spool.seek(start)
                file.write(spool.read(size).decode())


# --- many problems at a time


async def work_through(
    items: Iterable[Item],
    work: Callable[[Item], Awaitable[Result]],
    take: Callable[[int, Result], None],
    n_open: int = N_OPEN,
) -> None:
    """`work` on every item, `n_open` of them at any time; `take` gets an item's number and result as soon as
    there is one.

    An item is asked for when a place is free, so `items` may be longer than what memory holds, and whoever is
    done takes the next one: a slow item holds up no other. The first failure ends the others and is raised as
    it is.
    """
    numbered = enumerate(items)

    async def worker() -> None:
        for number, item in numbered:
            take(number, await work(item))
            # Work that never waits must not keep the others, the ledger's clock and Ctrl-C out
            await asyncio.sleep(0)

    try:
        with _rare_collections():
            async with asyncio.TaskGroup() as group:
                for _ in range(n_open):
                    group.create_task(worker())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Look for garbage in cycles, of which draws leave next to none, after 50,000 new objects instead of 700.

    Each look walks through the long tuples of token ids of all that is under way: it took a sixth of the CPU
    of a draw.
    """
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


async def for_each(
    items: Iterable[Item],
    work: Callable[[Item], Awaitable[Result]],
    *,
    what: str,
    unit: str,
    at_once: int = N_OPEN,
    counts: Callable[[], Mapping[str, float]] = dict,
) -> list[Result]:
    """`work_through` for items and results that fit in memory: the results in the order of the items, with a
    line of progress.
    """
    items = list(items)
    results: dict[int, Result] = {}
    with Progress(what, len(items), unit=unit, counts=counts) as progress:

        def take(number: int, result: Result) -> None:
            results[number] = result
            progress.update()

        await work_through(items, work, take, at_once)
    return [results[number] for number in range(len(items))]
