"""The durable record of every draw: labels, pass rates, votes and difficulty are views of it.

One SQLite file in WAL mode on a local disk, with one writing process. A draw is stored once under its key
(policy_id, prefix_hash, params_hash, base_seed, index) and never changed. The draws that share all of the key
but the index are a *stream*, whose number stands for it in the file (`data_gen.ledger.file`).

Draws are committed in groups, at the latest half a second after they were made. So a killed run loses at most
one group, and since the noise of a draw is a function of its key, the next run makes the same draws again.
Commands commit before they write a file that names draws. After a failed write nothing is written any more.
`LedgerPolicy` (in `policy`) puts a ledger in front of any policy.
"""

import asyncio
import json
import sqlite3
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from data_gen.ledger.file import (
    DRAWN,
    UNREADABLE,
    LedgerError,
    NoTablesError,
    checksum,
    error_name,
    has_streams,
    is_as_stored,
    lock_ledger,
    open_for_reading,
    open_for_writing,
)
from data_gen.ledger.prefix_blocks import BlockWriter
from data_gen.ledger.rows import KINDS, completion, draw_row, verdict_row
from data_gen.ledger.streams import StoredStream, StoredStreams
from data_gen.ledger.totals import LedgerTotals
from data_gen.records.draw_keys import DrawKey
from data_gen.records.sampling import Completion, SamplingParams
from data_gen.records.verdicts import Verdict

COMMIT_EVERY_DRAWS = 4096
COMMIT_EVERY_SECONDS = 0.5
N_UNGRADED_IN_MEMORY = 16384
OF_DRAW = ", ".join(DRAWN)
IN_MEMORY = Path(":memory:")  # what SQLite calls a database without a file


def has_draws(path: Path) -> bool:
    """Whether there is a ledger with at least one draw. Raises LedgerError if the file is something else."""
    if not path.is_file():
        return False
    try:
        with Ledger(path, read_only=True) as ledger:
            return ledger.has_draws()
    except NoTablesError:
        return False


class Ledger(LedgerTotals):
    """`with Ledger(path) as ledger:` opens for writing and holds a lock on the file; `read_only` opens beside
    a writer. `IN_MEMORY` as the path keeps nothing beyond the block, and belongs to the thread that opened
    it.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._streams = StoredStreams(self._select, self._execute)
        self._known_params: set[str] = set()
        self._blocks = BlockWriter(self._execute)
        # Rows that this process added and that have no verdict yet, so that none is looked for. It may be
        # cleared at any time: a row that is not in it is looked up in the file.
        self._ungraded: set[int] = set()
        # Draws that are being made now (`LedgerPolicy` sets the event when one is stored;
        # None: nobody else waits for it).
        self.in_flight: dict[DrawKey, asyncio.Event | None] = {}

        self._n_pending = 0
        self._timer: asyncio.TimerHandle | None = None
        self._failure: LedgerError | None = None
        self._lock: TextIO | None = None
        self._is_written = not read_only
        self._drawn = "drawn"  # the table
        if read_only:
            self._db = open_for_reading(path)
            self._drawn = "drawn" if has_streams(self._db) else "draws"
            return

        self._lock = None if path == IN_MEMORY else lock_ledger(path)
        try:
            self._db = open_for_writing(path)
        except LedgerError:
            if self._lock is not None:
                self._lock.close()
            raise

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._is_written and kind is not LedgerError:
                self.commit()
        finally:
            self.close()

    def close(self) -> None:
        """Close without committing what is pending."""
        self._db.close()
        if self._lock is not None:
            self._lock.close()

    def commit(self) -> None:
        """Make everything added so far durable. Raises LedgerError when the disk is full, also if an earlier
        commit by the clock failed.
        """
        if self._failure is not None:
            raise self._failure
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._db.in_transaction:
            self._execute("COMMIT")
        self._n_pending = 0

    def _commit_by_clock(self) -> None:
        self._timer = None
        # The event loop would only log the error. It is remembered, and the next call of any method raises
        # it.
        with suppress(LedgerError):
            self.commit()

    def _execute(self, sql: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        if self._failure is not None:
            raise self._failure
        try:
            return self._db.execute(sql, values)
        except sqlite3.IntegrityError as error:
            raise LedgerError(f"{self.path}: {error}; expected one row for each key") from error
        except UNREADABLE as error:
            raise self._failed(error) from error

    def _select(self, sql: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        cursor = self._execute(sql, values)
        try:
            return cursor.fetchall()
        except UNREADABLE as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> LedgerError:
        """The error that is raised now and by every later call.

        SQLite may have rolled back everything that was pending. Whatever other tasks added after that would
        refer to rows that are gone.
        """
        is_of_disk = error_name(error).startswith(("SQLITE_FULL", "SQLITE_IOERR"))
        remedy = (
            "free some space and run the same command again"
            if is_of_disk
            else "`prm-train ledger verify` says what is wrong with it"
        )
        self._failure = LedgerError(
            f"{self.path}: {error}; the last {self._n_pending} draws are not stored, all earlier ones are: "
            f"{remedy}"
        )
        return self._failure

    def _stream(self, key: DrawKey) -> StoredStream:
        if self._failure is not None:
            raise self._failure
        return self._streams.of(key)

    def find(self, key: DrawKey) -> Completion | None:
        """The stored draw, if there is one. Raises LedgerError for one that is damaged."""
        stream = self._stream(key)
        row_id = stream.rows.get(key.draw_index)
        if row_id is None:
            return None
        rows = self._select(f"SELECT {OF_DRAW}, checksum FROM {self._drawn} WHERE id = ?", (row_id,))
        begun = stream.described
        if not rows or not is_as_stored(rows[0][-1], key.draw_index, *rows[0][:-1], begun=begun):
            raise self._damaged(key)

        # In an old ledger without checksums damage may show only here.
        try:
            return completion(rows[0][:-1])
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(key) from error

    def _damaged(self, key: DrawKey) -> LedgerError:
        return LedgerError(
            f"{self.path}: draw {key.draw_index} of prefix {key.prefix_hash.hex()} is not what was stored: "
            "the file is damaged; "
            "`prm-train ledger repair` moves out what is, and the same command draws it again"
        )

    def is_named(self, key: DrawKey) -> bool:
        """Whether the prefix and the params of the key's stream are stored."""
        return self._stream(key).is_named

    def name(
        self,
        key: DrawKey,
        problem_id: str,
        prefix_ids: tuple[int, ...],
        parent: bytes | None,
        params: SamplingParams,
    ) -> None:
        """Store the prefix and the params of the key's stream if they are not stored yet.

        That is so before its first draw, and after a full disk lost them. `parent` is the hash of the prompt
        that the prefix continues, None for a prompt.
        """
        stream = self._stream(key)
        if stream.is_named:
            return

        values = (key.prefix_hash, parent, problem_id)
        self._execute(
            "INSERT OR IGNORE INTO prefixes (hash, parent_hash, problem_id, base_hash, token_ids, checksum) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (*values, *self._blocks.store(prefix_ids), checksum(*values)),
        )
        if key.params_hash not in self._known_params:
            self._execute(
                "INSERT OR IGNORE INTO params VALUES (?, ?)",
                (key.params_hash, json.dumps(params.facts, sort_keys=True)),
            )
            self._known_params.add(key.params_hash)
        stream.is_named = True
        self._commit_soon()

    def add(
        self,
        key: DrawKey,
        problem_id: str,
        prefix_ids: tuple[int, ...],
        parent: bytes | None,
        params: SamplingParams,
        draw: Completion,
    ) -> None:
        """Store a new draw, and its stream's prefix and params (see `name`).

        Raises LedgerError if its key exists, since a stored draw is never changed, and for ids and
        log-probabilities that 4 bytes cannot hold.
        """
        stream = self._stream(key)
        try:
            row = draw_row(key.draw_index, draw, stream.described)
        except ValueError as error:
            raise LedgerError(
                f"{self.path}: draw {key.draw_index} for problem {problem_id}: {error}"
            ) from error
        if not stream.is_named:
            self.name(key, problem_id, prefix_ids, parent, params)
        if stream.number is None:
            stream.number = self._streams.number(key)
        cursor = self._execute(
            "INSERT INTO drawn VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (stream.number, *row)
        )
        assert cursor.lastrowid is not None
        stream.rows[key.draw_index] = cursor.lastrowid

        # Some draws are never graded, as the steps of a search: they would fill the memory.
        self._ungraded.add(cursor.lastrowid)
        if len(self._ungraded) > N_UNGRADED_IN_MEMORY:
            self._ungraded.clear()

        self._n_pending += 1
        self._commit_soon()

    def _commit_soon(self) -> None:
        """Commit now if many draws are pending, else after COMMIT_EVERY_SECONDS, whether or not another draw
        comes by then.
        """
        if self._n_pending >= COMMIT_EVERY_DRAWS:
            self.commit()
        elif self._timer is None:
            with suppress(RuntimeError):  # no event loop, no clock: whoever adds draws calls `commit`
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(COMMIT_EVERY_SECONDS, self._commit_by_clock)

    def find_verdict(
        self, key: DrawKey, gold_hash: str, grader_version: str
    ) -> tuple[str | None, Verdict] | None:
        """The stored (answer, verdict) of this grader on a draw, if there is one."""
        stream = self._stream(key)
        row_id = stream.rows.get(key.draw_index)
        if row_id in self._ungraded:
            return None
        rows = self._select(
            "SELECT answer, kind, reason, checksum FROM verdicts WHERE draw = ? AND gold_hash = ? AND "
            "grader_version = ?",
            (row_id, gold_hash, grader_version),
        )
        if not rows:
            return None

        answer, kind, reason, stored = rows[0]
        said = (gold_hash, grader_version, kind, reason, answer)
        if kind not in KINDS or not is_as_stored(stored, key.draw_index, *said, begun=stream.described):
            raise self._damaged(key)
        return answer, Verdict(KINDS[kind], reason)

    def add_verdict(
        self, key: DrawKey, gold_hash: str, grader_version: str, answer: str | None, verdict: Verdict
    ) -> None:
        """Store this grader's verdict on a stored draw. Raises LedgerError if the ledger has no such draw, or
        has this verdict already.
        """
        stream = self._stream(key)
        row_id = stream.rows.get(key.draw_index)
        if row_id is None:
            raise LedgerError(
                f"{self.path}: a verdict on draw {key.draw_index} of prefix {key.prefix_hash.hex()}, which "
                "is not stored"
            )
        self._ungraded.discard(row_id)
        row = verdict_row(key.draw_index, gold_hash, grader_version, verdict, answer, stream.described)
        self._execute("INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?)", (row_id, *row))
        self._commit_soon()
