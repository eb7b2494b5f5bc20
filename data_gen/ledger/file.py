"""The ledger as a file: its tables, how it is opened for writing and for reading, and the checksum of each
row.

Rows name each other by hashes of what they stand for, which tell a wrong prefix or wrong params; `checksum`
tells the rest: the text, the ids and the log-probabilities of a draw, what is said of it, whose prefix it is.

What the draws of a stream share of their key stands once in `streams`, and whoever reads finds it again in
the view `draws`. Streams have numbers in the order in which they were begun: so the index of `drawn` grows at
its end, and a draw costs the same in a large ledger as in a small one. Under the hashes themselves, as in
layout 4, each draw changed a random page of the file.

Ledgers of layout 2 have no checksums, of layout 3 no blocks (`data_gen.ledger.prefix_blocks`), and before
layout 5 `draws` is a table: they are read as they are, and get what they lack when they are next written to;
rows without a checksum are not checked.
"""

import sqlite3
from contextlib import closing
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TextIO

from data_gen.files.locks import lock
from data_gen.ledger.prefix_blocks import has_blocks
from data_gen.settings.errors import InputError

# Draws lie in the order in which they were made, so that writing touches the end of the file and not a random
# place of it a draw.
BLOCKS = "CREATE TABLE blocks (hash BLOB PRIMARY KEY, base_hash BLOB, token_ids BLOB NOT NULL) WITHOUT ROWID;"
STREAMS = """
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    policy_id TEXT NOT NULL, prefix_hash BLOB NOT NULL, params_hash TEXT NOT NULL, base_seed INTEGER NOT NULL,
    UNIQUE (prefix_hash, policy_id, params_hash, base_seed));
CREATE TABLE drawn (
    id INTEGER PRIMARY KEY, stream INTEGER NOT NULL REFERENCES streams, draw_index INTEGER NOT NULL,
    token_ids BLOB NOT NULL, text TEXT NOT NULL, logprobs BLOB NOT NULL, finish_reason TEXT NOT NULL,
    n_generated INTEGER NOT NULL, n_prefilled INTEGER NOT NULL, n_cached INTEGER NOT NULL, checksum BLOB,
    UNIQUE (stream, draw_index));
"""
VIEW = """
CREATE VIEW draws AS SELECT drawn.id AS id, policy_id, prefix_hash, params_hash, base_seed, draw_index,
    token_ids, text, logprobs, finish_reason, n_generated, n_prefilled, n_cached, checksum
    FROM drawn JOIN streams ON streams.id = stream;
"""
SCHEMA = f"""
{BLOCKS}
CREATE TABLE params (hash TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE prefixes (
    id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, parent_hash BLOB, problem_id TEXT NOT NULL, token_ids BLOB NOT NULL, checksum BLOB,
    base_hash BLOB);
{STREAMS}{VIEW}
CREATE TABLE verdicts (
    draw INTEGER NOT NULL REFERENCES drawn, gold_hash TEXT NOT NULL, grader_version TEXT NOT NULL,
    kind TEXT NOT NULL, reason TEXT NOT NULL, answer TEXT, checksum BLOB,
    PRIMARY KEY (draw, gold_hash, grader_version)) WITHOUT ROWID;
"""  # noqa: E501
LAYOUT, LAYOUTS = 5, (2, 3, 4, 5)
WITH_CHECKSUMS = ("prefixes", "draws", "verdicts")
# The second where SQLite's message would quote what is damaged
UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)
OF_STREAM = ("policy_id", "prefix_hash", "params_hash", "base_seed")
KEY = (*OF_STREAM, "draw_index")
LONG = 64  # characters of a text that hardly comes twice
DRAWN = ("token_ids", "text", "logprobs", "finish_reason", "n_generated", "n_prefilled", "n_cached")


class LedgerError(InputError):
    """The ledger cannot be read or written (disk full, another process is writing it). What was committed
    before is safe.
    """


class NoTablesError(LedgerError):
    """A file without tables, if with a page of its own: a process was killed, or its disk was full, when it
    had just made it. It holds no draws, and who writes there makes a ledger of it.
    """


Value = str | bytes | int | None


def checksum(*values: Value, begun: bytes = b"") -> bytes:
    """8 bytes over the values of a row and their types: (hash, parent_hash, problem_id) of a prefix, whose
    hash is one of its ids already; the key and what was drawn of a draw; the key of the draw and the other
    columns of a verdict. `begun` is `described` of values that stand before these.
    """
    return blake2b(begun + described(*values), digest_size=8).digest()


def described(*values: Value) -> bytes:
    """Values with their types and lengths, one after the other."""
    parts = list[bytes]()
    for value in values:  # of each draw
        if type(value) is bytes:
            parts += (b"bytes %d " % len(value), value)
        elif type(value) is int:
            parts.append(_described_int(value))
        elif type(value) is str and len(value) <= LONG:
            parts.append(_described_name(value))
        else:
            parts.append(_described_any(value))
    return b"".join(parts)


def _described_any(value: Value) -> bytes:
    data = str(value).encode(errors="surrogateescape")
    return b"%b %d %b" % (type(value).__name__.encode(), len(data), data)


# Counts and names come again and again. One cache for both would take True for 1.
_described_int, _described_name = (lru_cache(4096)(_described_any) for _ in range(2))


def is_as_stored(stored: bytes | None, *values: Value, begun: bytes = b"") -> bool:
    """Whether a row is what its checksum says, or, where it has none, at least holds no text that is no
    UTF-8.
    """
    if stored is not None:
        return stored == checksum(*values, begun=begun)
    try:
        "".join(value for value in values if isinstance(value, str)).encode()
    except UnicodeEncodeError:
        return False
    return True


def any_text(data: bytes) -> str:
    """A text that may be damaged, for a connection's `text_factory`: what is no UTF-8 any more is a fault of
    its row, and not the end of reading. `checksum` knows it again.
    """
    return data.decode(errors="surrogateescape")


def lock_ledger(path: Path) -> TextIO:
    """Makes this process the one that writes a ledger, until the file that it returns is closed. Raises
    LedgerError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock_path = path.with_name(path.name + ".lock")
    held = lock_path.open("w")
    if not lock(held.fileno(), lock_path):
        held.close()
        raise LedgerError(
            f"{path}: another process is writing this ledger; expected one writer (give each process its own "
            "shard)"
        )
    return held


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, also beside the writing process. Raises LedgerError if there is no
    ledger, NoTablesError if there is one to come.
    """
    database = sqlite3.connect(reading_uri(path), uri=True)
    if not _has_tables(database, path):
        database.close()
        raise NoTablesError(f"{path}: an empty file; expected a ledger")
    return database


def reading_uri(path: Path) -> str:
    """What SQLite opens a ledger by to read it. Raises LedgerError if there is none that can be read.

    To read beside a writer it keeps a file of its own next to the ledger. Where it may not make one, as in
    the folder of somebody else, nothing else is writing there either, and the ledger is read as a file that
    does not change.
    """
    if not path.is_file():
        raise LedgerError(f"{path}: no such file; expected a ledger")
    uri = f"{path.absolute().as_uri()}?mode=ro"
    fault = _fault_of_opening(uri)
    log = path.with_name(path.name + "-wal")
    if fault is not None and error_name(fault).startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
        if log.exists() and log.stat().st_size:
            raise LedgerError(
                f"{path}: its last draws are in {log.name}, which cannot be read in this folder: copy both "
                "to one of your own"
            )
        uri += "&immutable=1"
        fault = _fault_of_opening(uri)
    if fault is not None:
        raise LedgerError(f"{path}: not a readable ledger: {fault}") from fault
    return uri


def _fault_of_opening(uri: str) -> Exception | None:
    try:
        with closing(sqlite3.connect(uri, uri=True)) as database:
            database.execute("PRAGMA user_version").fetchone()
    except UNREADABLE as error:
        return error
    return None


def open_for_writing(path: Path, *, with_streams: bool = True) -> sqlite3.Connection:
    """A connection to a ledger, new or old, that commits at few and known places. Raises LedgerError; the
    caller holds the lock. `with_streams` False leaves draws of before layout 5 where they are, as a repair
    does: they may be damaged.
    """
    try:
        database = sqlite3.connect(path)
    except sqlite3.OperationalError as error:
        raise LedgerError(f"{path}: {error}; expected a ledger, or a place for one") from error
    try:
        has_tables = _has_tables(database, path)
        database.execute("PRAGMA journal_mode=WAL")
        database.text_factory = any_text
        # A power cut may cost the last commits, a killed process none
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute("PRAGMA cache_size=-16384")  # KiB
        # Pages of the log after which it is brought into the file: 16 MB, a few commits of a fast run
        database.execute("PRAGMA wal_autocheckpoint=4096")
        if not has_tables:
            create_tables(database)
        else:
            _bring_up_to_date(database, with_streams)
    except UNREADABLE as error:
        database.close()
        raise LedgerError(f"{path}: {error}; nothing was changed") from error
    return database


def _bring_up_to_date(database: sqlite3.Connection, with_streams: bool) -> None:
    """Columns and tables that later layouts have; all or, where the process is killed, none."""
    changes, layout = "", 4
    if not has_checksums(database):
        changes += "".join(f"ALTER TABLE {table} ADD COLUMN checksum BLOB; " for table in WITH_CHECKSUMS)
    if not has_blocks(database):
        changes += f"ALTER TABLE prefixes ADD COLUMN base_hash BLOB; {BLOCKS}"
    if with_streams and not has_streams(database):
        of_stream, layout = ", ".join(OF_STREAM), LAYOUT
        drawn = ", ".join(("draw_index", *DRAWN, "checksum"))
        changes += (
            f"{STREAMS}"
            f"INSERT INTO streams ({of_stream}) SELECT {of_stream} FROM draws GROUP BY {of_stream}"
            " ORDER BY min(id);"
            f"INSERT INTO drawn (id, stream, {drawn}) SELECT draws.id, streams.id, {drawn} FROM draws"
            f" JOIN streams USING ({of_stream}) ORDER BY draws.id; DROP TABLE draws; {VIEW}"
        )
    if changes:
        database.executescript(f"BEGIN; {changes} PRAGMA user_version={layout}; COMMIT")


def create_tables(database: sqlite3.Connection) -> None:
    """All or, where the process is killed, none."""
    database.executescript(f"BEGIN; {SCHEMA}; PRAGMA user_version={LAYOUT}; COMMIT")


def error_name(error: Exception) -> str:
    """SQLite's name of an error, as SQLITE_FULL; empty where Python raised it."""
    return str(getattr(error, "sqlite_errorname", ""))


def has_checksums(database: sqlite3.Connection, schema: str = "main") -> bool:
    query = "SELECT count(*) FROM pragma_table_info('draws', ?) WHERE name = 'checksum'"
    return bool(database.execute(query, (schema,)).fetchone()[0])


def has_streams(database: sqlite3.Connection) -> bool:
    query = "SELECT count(*) FROM sqlite_schema WHERE name = 'streams'"
    return bool(database.execute(query).fetchone()[0])


def checksum_column(database: sqlite3.Connection, table: str, schema: str = "main") -> str:
    """The checksums of a table in SQL: NULL where a ledger has none."""
    return f"{table}.checksum" if has_checksums(database, schema) else "NULL"


def _has_tables(database: sqlite3.Connection, path: Path) -> bool:
    """Whether this is a ledger, not a new file. Raises LedgerError and closes it if it is anything else."""
    try:
        # in one query, since a writer may make the tables between two
        query = "SELECT user_version, (SELECT count(*) FROM sqlite_schema) FROM pragma_user_version"
        version, n_tables = map(int, database.execute(query).fetchone())
    except UNREADABLE as error:
        database.close()
        raise LedgerError(f"{path}: not a readable ledger: {error}") from error
    if n_tables and version not in LAYOUTS:
        database.close()
        raise LedgerError(
            f"{path}: ledger of layout {version}, expected {LAYOUT}; made by another version of this program"
        )
    return n_tables > 0
