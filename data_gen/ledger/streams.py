"""What is stored of the streams that were asked for last, so that a draw takes no query of its own. A stream
is all draws whose keys differ in the index alone.
"""

import sqlite3
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from data_gen.ledger.file import OF_STREAM, described
from data_gen.records.draw_keys import DrawKey

N_STREAMS_IN_MEMORY = 16384  # about 20 MB
SAME_STREAM = " AND ".join(f"{column} = ?" for column in OF_STREAM)
NAMES = (
    "SELECT EXISTS (SELECT 1 FROM prefixes WHERE hash = ?) AND EXISTS (SELECT 1 FROM params WHERE hash = ?)"
)
Select = Callable[[str, tuple[object, ...]], list[tuple[Any, ...]]]
Execute = Callable[[str, tuple[object, ...]], sqlite3.Cursor]


@dataclass(slots=True)
class StoredStream:
    """The row id of each stored draw of a stream by its index, and whether its prefix and params are stored
    too. `described` begins the checksum of each of its rows; `number` is None where none was read.
    """

    rows: dict[int, int]
    is_named: bool
    described: bytes
    number: int | None = None


class StoredStreams:
    """Reads streams by `select` and numbers them by `execute`. What is added to the file, the caller adds to
    the stream.
    """

    def __init__(self, select: Select, execute: Execute) -> None:
        self._select, self._execute = select, execute
        self._streams: OrderedDict[tuple[object, ...], StoredStream] = OrderedDict()

    def __len__(self) -> int:
        return len(self._streams)

    def of(self, key: DrawKey) -> StoredStream:
        """The key's stream, with one query for the stream instead of one for each draw."""
        name = key[:4]
        stream = self._streams.get(name)
        if stream is None:
            rows: dict[int, int] = dict(
                self._select(f"SELECT draw_index, id FROM draws WHERE {SAME_STREAM}", name)
            )
            is_named = bool(rows) and bool(self._select(NAMES, (key.prefix_hash, key.params_hash))[0][0])
            stream = self._streams[name] = StoredStream(rows, is_named, described(*name))
            # An OrderedDict, since finding the first key of a dict takes longer the more keys were deleted
            # before it.
            if len(self._streams) > N_STREAMS_IN_MEMORY:
                self._streams.popitem(last=False)
        return stream

    def number(self, key: DrawKey) -> int:
        """Of the key's stream in the file; a new one where it has none."""
        added = self._execute("INSERT OR IGNORE INTO streams VALUES (NULL, ?, ?, ?, ?)", key[:4])
        if added.rowcount:
            assert added.lastrowid is not None
            return added.lastrowid
        return int(self._select(f"SELECT id FROM streams WHERE {SAME_STREAM}", key[:4])[0][0])
