"""The ids of prefixes, stored in blocks that prefixes share.

Labeling draws behind every step of a solution, and a prefix begins with all those before it: stored whole,
the prefixes of a solution take the square of its length. So ids up to the last multiple of `BLOCK` lie in the
table `blocks`, each block once: its `hash` is the `prefix_hash` of all ids up to its end, its `base_hash`
names the block before it (NULL: there is none). A prefix names its last block and holds the ids behind it.

Of a solution with 100 steps of 40 ids, prefixes took 800 KB and take 42 KB. A ledger of layout 3 and before
holds whole prefixes, and may go on with blocks.
"""

import hashlib
import sqlite3
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache

from data_gen.records.draw_keys import pack

BLOCK = 128  # ids; most prefixes of short solutions are shorter, and take no second row
N_BLOCKS_IN_MEMORY = 16384
Execute = Callable[[str, tuple[object, ...]], object]


def name_of(packed: bytes) -> bytes:
    """`prefix_hash` of packed ids."""
    return hashlib.sha256(packed).digest()[:16]


class BlockWriter:
    """Stores the blocks of prefixes by `execute`, which may have been stored before."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute
        self._known: OrderedDict[bytes, None] = OrderedDict()  # stored by this process, the oldest first

    def store(self, token_ids: tuple[int, ...]) -> tuple[bytes | None, bytes]:
        """The name of the last block (None: no block is full) and the packed ids behind it."""
        packed = pack("i", token_ids)
        size = 4 * BLOCK
        end = len(packed) // size * size
        last = name_of(packed[:end]) if end else None
        if last is not None and last not in self._known:
            base = None
            for start in range(0, end, size):
                name = name_of(packed[: start + size])
                self._store_block(name, base, packed[start : start + size])
                base = name
        return last, packed[end:]

    def _store_block(self, name: bytes, base: bytes | None, packed: bytes) -> None:
        if name in self._known:
            return
        self._execute("INSERT OR IGNORE INTO blocks VALUES (?, ?, ?)", (name, base, packed))
        self._known[name] = None
        if len(self._known) > N_BLOCKS_IN_MEMORY:
            self._known.popitem(last=False)


def has_blocks(database: sqlite3.Connection, schema: str = "main") -> bool:
    query = "SELECT count(*) FROM pragma_table_info('prefixes', ?) WHERE name = 'base_hash'"
    return bool(database.execute(query, (schema,)).fetchone()[0])


def whole_ids(database: sqlite3.Connection, table: str = "prefixes") -> str:
    """All packed ids of a row of `prefixes`, which the query calls `table`, in SQL: of another type than a
    blob where a block is missing or is none.
    """
    if not has_blocks(database):
        return f"{table}.token_ids"

    @lru_cache(maxsize=64)
    def of_blocks(name: bytes) -> bytes | None:
        found, wanted = dict[bytes, bytes](), name
        while wanted is not None:
            query = "SELECT base_hash, token_ids FROM blocks WHERE hash = ?"
            row = database.execute(query, (wanted,)).fetchone()
            if row is None or wanted in found or not isinstance(row[1], bytes):
                return None
            found[wanted], wanted = row[1], row[0]
        return b"".join(reversed(found.values()))

    def whole(base: bytes | None, token_ids: bytes) -> bytes | None:
        if base is None:
            return token_ids
        begun = of_blocks(base) if isinstance(base, bytes) else None
        return None if begun is None or not isinstance(token_ids, bytes) else begun + token_ids

    database.create_function("whole_ids", 2, whole)
    return f"whole_ids({table}.base_hash, {table}.token_ids)"
