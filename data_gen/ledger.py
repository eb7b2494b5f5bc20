"""The durable record of every draw: labels, pass rates, votes and difficulty are views of it.

One SQLite file in WAL mode on a local disk, one writing process. A draw is stored once under (policy_id, prefix_hash, params_hash,
base_seed, index) and never changed. Draws are committed in groups, at the latest half a second after they were made: a killed run loses
at most one group, and since the noise of a draw is a function of its key, the next run makes the same ones again. `LedgerPolicy` puts a
ledger in front of any policy.
"""

import asyncio
import fcntl
import json
import logging
import sqlite3
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from data_gen.accepted_answers import grade_any
from data_gen.config import InputError
from data_gen.grading import Grader
from data_gen.policies.protocol import Policy
from data_gen.records import (
    Completion,
    FinishReason,
    GradedSolution,
    Problem,
    SamplingParams,
    Solution,
    Usage,
    Verdict,
    VerdictKind,
    content_hash,
)

logger = logging.getLogger(__name__)

# Draws lie in the order in which they were made, so that writing touches the end of the file and not a random place of it a draw.
SCHEMA = """
CREATE TABLE params (hash TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE prefixes (
    id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, parent_hash BLOB, problem_id TEXT NOT NULL, token_ids BLOB NOT NULL);
CREATE TABLE draws (
    id INTEGER PRIMARY KEY,
    policy_id TEXT NOT NULL, prefix_hash BLOB NOT NULL, params_hash TEXT NOT NULL, base_seed INTEGER NOT NULL, draw_index INTEGER NOT NULL,
    token_ids BLOB NOT NULL, text TEXT NOT NULL, logprobs BLOB NOT NULL, finish_reason TEXT NOT NULL,
    n_generated INTEGER NOT NULL, n_prefilled INTEGER NOT NULL, n_cached INTEGER NOT NULL,
    UNIQUE (prefix_hash, policy_id, params_hash, base_seed, draw_index));
CREATE TABLE verdicts (
    draw INTEGER NOT NULL REFERENCES draws, gold_hash TEXT NOT NULL, grader_version TEXT NOT NULL,
    kind TEXT NOT NULL, reason TEXT NOT NULL, answer TEXT,
    PRIMARY KEY (draw, gold_hash, grader_version)) WITHOUT ROWID;
"""
SCHEMA_VERSION = 2
COMMIT_EVERY_DRAWS = 512
COMMIT_EVERY_SECONDS = 0.5
N_STREAMS_IN_MEMORY = 16384  # of which the ledger remembers what they hold; about 20 MB


class LedgerError(InputError):
    """The ledger cannot be read or written (disk full, another process is writing it). What was committed before is safe."""


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # outside of one, whoever adds commits
        return None


class DrawKey(NamedTuple):
    """What a draw is: the ledger holds one row for each. All but the index name the stream that the draw belongs to."""

    policy_id: str
    prefix_hash: bytes
    params_hash: str
    base_seed: int
    draw_index: int


def pack(kind: str, values: Sequence[int] | Sequence[float]) -> bytes:
    """Token ids ("i", 4 bytes each) or log-probabilities ("f", 4 bytes each) as the ledger stores them."""
    return array(kind, values).tobytes()


@lru_cache(maxsize=256)  # policy and ledger both ask, for every draw; the ids of a long prefix take 300 KB
def prefix_hash(token_ids: tuple[int, ...]) -> bytes:
    """16 bytes that stand for a token prefix."""
    return sha256(pack("i", token_ids)).digest()[:16]


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection that cannot write, also beside the writing process. Raises LedgerError if there is no ledger."""
    if not path.is_file():
        raise LedgerError(f"{path}: no such file; expected a ledger")
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.OperationalError as error:
        raise LedgerError(f"{path}: {error}") from error
    if not _has_tables(database, path):
        database.close()
        raise LedgerError(f"{path}: an empty file; expected a ledger")
    return database


def has_draws(path: Path) -> bool:
    """Whether there is a ledger, and anything in it. Raises LedgerError where the file is something else."""
    if not path.is_file() or not path.stat().st_size:  # empty: of a process that was killed when it made the file
        return False
    with Ledger(path, read_only=True) as ledger:
        return ledger.n_draws() > 0


def create_tables(database: sqlite3.Connection) -> None:
    """All or, where the process is killed, none."""
    database.executescript(f"BEGIN; {SCHEMA}; PRAGMA user_version={SCHEMA_VERSION}; COMMIT")


def _has_tables(database: sqlite3.Connection, path: Path) -> bool:
    """Whether this is a ledger, not a new file. Raises LedgerError and closes it if it is anything else."""
    try:
        # in one query, since a writer may make the tables between two
        query = "SELECT user_version, (SELECT count(*) FROM sqlite_schema) FROM pragma_user_version"
        version, n_tables = map(int, database.execute(query).fetchone())
    except sqlite3.DatabaseError as error:
        database.close()
        raise LedgerError(f"{path}: not a readable ledger: {error}") from error
    if n_tables and version != SCHEMA_VERSION:
        database.close()
        raise LedgerError(f"{path}: ledger of layout {version}, expected {SCHEMA_VERSION}; made by another version of this program")
    return n_tables > 0


class Ledger:
    """`with Ledger(path) as ledger:` opens for writing and holds a lock on the file; `read_only` opens beside a writer."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._rows: OrderedDict[tuple[object, ...], dict[int, int]] = OrderedDict()  # of some streams: draw index to row
        self._known_params: set[str] = set()
        self._ungraded: set[int] = set()  # rows added here that have no verdict yet: no need to look for one
        self.in_flight: dict[DrawKey, asyncio.Event] = {}
        self._n_pending = 0
        self._timer: asyncio.TimerHandle | None = None
        self._failure: LedgerError | None = None
        self._lock = None
        if read_only:
            self._db = open_for_reading(path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = path.with_name(path.name + ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise LedgerError(
                f"{path}: another process is writing this ledger; expected one writer (give each process its own shard)"
            ) from None
        self._db = sqlite3.connect(path)
        has_tables = _has_tables(self._db, path)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")  # a power cut may cost the last commits, a killed process none
        self._db.execute("PRAGMA cache_size=-16384")  # KiB
        if not has_tables:
            create_tables(self._db)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._lock is not None and kind is not LedgerError:
                self.commit()
        finally:
            self.close()

    def close(self) -> None:
        """Close without committing what is pending."""
        self._db.close()
        if self._lock is not None:
            self._lock.close()

    def commit(self) -> None:
        """Make everything added so far durable. Raises LedgerError when the disk is full, also if a commit by the clock found it so."""
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
        try:
            self.commit()
        except LedgerError as error:
            self._failure = error  # the event loop would only log it: the next call raises it

    def _execute(self, sql: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(sql, values)
        except sqlite3.OperationalError as error:
            raise LedgerError(
                f"{self.path}: {error}; the last {self._n_pending} draws are not stored, all earlier ones are: "
                "free some space and run the same command again"
            ) from error
        except sqlite3.IntegrityError as error:
            raise LedgerError(f"{self.path}: {error}; expected one row for each key") from error

    def _stream(self, key: "DrawKey") -> dict[int, int]:
        """Row of each stored draw of the key's stream, by draw index: one query a stream instead of one a draw."""
        stream = key[:4]
        rows = self._rows.get(stream)
        if rows is None:
            found = self._db.execute(
                "SELECT draw_index, id FROM draws WHERE policy_id = ? AND prefix_hash = ? AND params_hash = ? AND base_seed = ?", stream
            )
            rows = self._rows[stream] = dict(found.fetchall())
            if len(self._rows) > N_STREAMS_IN_MEMORY:
                self._rows.popitem(last=False)  # to look for the first key of a dict takes longer the more were deleted before it
        return rows

    def find(self, key: "DrawKey") -> Completion | None:
        """The stored draw, if there is one."""
        row_id = self._stream(key).get(key.draw_index)
        if row_id is None:
            return None
        columns = "token_ids, text, logprobs, finish_reason, n_generated, n_prefilled, n_cached"
        return _completion(self._db.execute(f"SELECT {columns} FROM draws WHERE id = ?", (row_id,)).fetchone())

    def add(
        self, key: "DrawKey", problem_id: str, prefix_ids: tuple[int, ...], parent: bytes | None, params: SamplingParams, draw: Completion
    ) -> None:
        """Store a new draw. `parent` is the hash of the prompt that the prefix continues, None for a prompt.

        Raises LedgerError if its key exists: a stored draw is never changed.
        """
        rows = self._stream(key)
        if not rows:
            values = (key.prefix_hash, parent, problem_id, pack("i", prefix_ids))
            self._execute("INSERT OR IGNORE INTO prefixes (hash, parent_hash, problem_id, token_ids) VALUES (?, ?, ?, ?)", values)
        if key.params_hash not in self._known_params:
            self._execute("INSERT OR IGNORE INTO params VALUES (?, ?)", (key.params_hash, json.dumps(asdict(params), sort_keys=True)))
            self._known_params.add(key.params_hash)
        what = (pack("i", draw.token_ids), draw.text, pack("f", draw.logprobs), draw.finish_reason.value)
        usage = (draw.usage.n_generated, draw.usage.n_prefilled, draw.usage.n_cached)
        cursor = self._execute("INSERT INTO draws VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*key, *what, *usage))
        assert cursor.lastrowid is not None
        rows[key.draw_index] = cursor.lastrowid
        self._ungraded.add(cursor.lastrowid)
        if len(self._ungraded) > N_STREAMS_IN_MEMORY:  # draws that nobody grades, as the steps of a search
            self._ungraded.clear()
        self._n_pending += 1
        self._commit_soon()

    def _commit_soon(self) -> None:
        """Commit now if much is pending, else in a moment, whether or not another draw comes by then."""
        if self._n_pending >= COMMIT_EVERY_DRAWS or self._failure is not None:
            self.commit()
        elif self._timer is None and (loop := _running_loop()):
            self._timer = loop.call_later(COMMIT_EVERY_SECONDS, self._commit_by_clock)

    def find_verdict(self, key: "DrawKey", gold_hash: str, grader_version: str) -> tuple[str | None, Verdict] | None:
        """The stored (answer, verdict) of this grader on a draw, if there is one."""
        row_id = self._stream(key).get(key.draw_index)
        if row_id in self._ungraded:
            return None
        row = self._db.execute(
            "SELECT answer, kind, reason FROM verdicts WHERE draw = ? AND gold_hash = ? AND grader_version = ?",
            (row_id, gold_hash, grader_version),
        ).fetchone()
        return None if row is None else (row[0], Verdict(VerdictKind(row[1]), row[2]))

    def add_verdict(self, key: "DrawKey", gold_hash: str, grader_version: str, answer: str | None, verdict: Verdict) -> None:
        """Store what this grader says of a stored draw. Raises LedgerError if the ledger has no such draw, or this verdict already."""
        row_id = self._stream(key).get(key.draw_index)
        if row_id is None:
            raise LedgerError(f"{self.path}: a verdict on draw {key.draw_index} of prefix {key.prefix_hash.hex()}, which is not stored")
        self._ungraded.discard(row_id)
        values = (row_id, gold_hash, grader_version, verdict.kind.value, verdict.reason, answer)
        self._execute("INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?)", values)
        self._commit_soon()

    def n_pages(self) -> int:
        return int(self._db.execute("PRAGMA page_count").fetchone()[0])

    def limit_size(self, n_pages: int) -> None:
        """From here on the file may not grow beyond so many pages: a draw that does not fit is a full disk."""
        self._db.execute(f"PRAGMA max_page_count = {n_pages:d}")

    def n_draws(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM draws").fetchone()[0])

    def sources(self) -> list[tuple[str, str]]:
        """(policy_id, grader_version) of the graded draws, each once."""
        return list(
            self._db.execute("SELECT DISTINCT policy_id, grader_version FROM verdicts JOIN draws ON draws.id = verdicts.draw ORDER BY 1, 2")
        )

    def total_usage(self) -> Usage:
        """What all stored draws cost."""
        totals = self._db.execute("SELECT total(n_generated), total(n_prefilled), total(n_cached) FROM draws").fetchone()
        return Usage(*map(int, totals))

    def contents(self) -> Iterator[tuple[object, ...]]:
        """Every stored row but the usage counts, each after the name of its table, in key order: equal contents are equal evidence."""
        yield from self._db.execute("SELECT 'params', * FROM params ORDER BY hash")
        yield from self._db.execute("SELECT 'prefixes', hash, parent_hash, problem_id, token_ids FROM prefixes ORDER BY hash")
        key = "policy_id, prefix_hash, params_hash, base_seed, draw_index"
        yield from self._db.execute(
            f"SELECT 'draws', {key}, token_ids, text, logprobs, finish_reason FROM draws"
            " ORDER BY prefix_hash, policy_id, params_hash, base_seed, draw_index"
        )
        yield from self._db.execute(
            f"SELECT 'verdicts', {key}, gold_hash, grader_version, kind, reason, answer FROM verdicts JOIN draws ON draws.id = draw"
            " ORDER BY prefix_hash, policy_id, params_hash, base_seed, draw_index, gold_hash, grader_version"
        )


def _completion(row: tuple[bytes, str, bytes, str, int, int, int]) -> Completion:
    token_ids, logprobs = array("i", row[0]), array("f", row[2])
    return Completion(tuple(token_ids), row[1], tuple(logprobs), FinishReason(row[3]), Usage(*row[4:]))


class LedgerPolicy:
    """A policy whose draws for one problem come from the ledger where it has them, and go into it where it has not."""

    def __init__(self, policy: Policy, ledger: Ledger, problem: Problem) -> None:
        self.policy_id, self.base_seed, self.context_length = policy.policy_id, policy.base_seed, policy.context_length
        self.problem = problem
        self.usage = Usage()  # what the distinct draws that were asked for cost when they were made, in this run or an earlier one
        self.n_draws = 0  # how many they are
        self._charged: set[DrawKey] = set()
        self._policy, self._ledger = policy, ledger
        self._gold_hash = content_hash(problem.question, problem.gold_answer, *problem.other_answers)
        self._root = prefix_hash(policy.encode_prompt(problem.question))

    def encode_prompt(self, question: str) -> tuple[int, ...]:
        return self._policy.encode_prompt(question)

    def token_bytes(self) -> list[bytes]:
        return self._policy.token_bytes()

    def key(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> DrawKey:
        return DrawKey(self.policy_id, prefix_hash(prefix_ids), params.params_hash, self.base_seed, index)

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        key = self.key(prefix_ids, params, index)
        while key in self._ledger.in_flight:  # another task is making this very draw
            await self._ledger.in_flight[key].wait()
        draw = self._ledger.find(key)
        if draw is None:
            made = self._ledger.in_flight[key] = asyncio.Event()
            try:
                draw = await self._policy.sample(prefix_ids, params, index)
                parent = None if key.prefix_hash == self._root else self._root
                self._ledger.add(key, self.problem.problem_id, prefix_ids, parent, params, draw)
            finally:
                del self._ledger.in_flight[key]
                made.set()
        if key not in self._charged:
            self._charged.add(key)
            self.n_draws += 1
            self.usage += draw.usage
        return draw

    async def grade(self, grader: Grader, key: DrawKey, solution: Solution) -> GradedSolution:
        """The grader's verdict on the solution that a draw completed, graded once per grader version and gold answer.

        A time-out is not stored: a later run, on a machine that is less busy, may know better.
        """
        stored = self._ledger.find_verdict(key, self._gold_hash, grader.grader_version)
        if stored is None:
            graded = await grade_any(grader, self.problem, solution)
            stored = self._ledger.find_verdict(key, self._gold_hash, grader.grader_version)  # of another task that graded it meanwhile
            if stored is None:
                if graded.verdict.reason != "timeout":
                    self._ledger.add_verdict(key, self._gold_hash, grader.grader_version, graded.answer, graded.verdict)
                return graded
        return GradedSolution(solution, *stored)
