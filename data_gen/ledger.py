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
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

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

SCHEMA = """
CREATE TABLE IF NOT EXISTS params (hash TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS prefixes (
    hash BLOB PRIMARY KEY, parent_hash BLOB, problem_id TEXT NOT NULL, token_ids BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS draws (
    policy_id TEXT NOT NULL, prefix_hash BLOB NOT NULL, params_hash TEXT NOT NULL, base_seed INTEGER NOT NULL, draw_index INTEGER NOT NULL,
    token_ids BLOB NOT NULL, text TEXT NOT NULL, logprobs BLOB NOT NULL, finish_reason TEXT NOT NULL,
    n_generated INTEGER NOT NULL, n_prefilled INTEGER NOT NULL, n_cached INTEGER NOT NULL,
    PRIMARY KEY (prefix_hash, policy_id, params_hash, base_seed, draw_index)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS verdicts (
    policy_id TEXT NOT NULL, prefix_hash BLOB NOT NULL, params_hash TEXT NOT NULL, base_seed INTEGER NOT NULL, draw_index INTEGER NOT NULL,
    gold_hash TEXT NOT NULL, grader_version TEXT NOT NULL, kind TEXT NOT NULL, reason TEXT NOT NULL, answer TEXT,
    PRIMARY KEY (prefix_hash, policy_id, params_hash, base_seed, draw_index, gold_hash, grader_version)) WITHOUT ROWID;
"""
COMMIT_EVERY_DRAWS = 512
COMMIT_EVERY_SECONDS = 0.5


class LedgerError(InputError):
    """The ledger cannot be written (disk full, or another process is writing it). What was committed before is safe."""


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # outside of one, whoever adds commits
        return None


class DrawKey(NamedTuple):
    """What a draw is: the ledger holds one row for each."""

    policy_id: str
    prefix_hash: bytes
    params_hash: str
    base_seed: int
    draw_index: int


def _pack(kind: str, values: Sequence[int] | Sequence[float]) -> bytes:
    return array(kind, values).tobytes()


def prefix_hash(token_ids: tuple[int, ...]) -> bytes:
    """16 bytes that stand for a token prefix."""
    return sha256(_pack("i", token_ids)).digest()[:16]


class Ledger:
    """`with Ledger(path) as ledger:` opens for writing and holds a lock on the file; `read_only` opens beside a writer."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._known_prefixes: set[bytes] = set()
        self._known_params: set[str] = set()
        self.in_flight: dict[DrawKey, asyncio.Event] = {}
        self._n_pending = 0
        self._timer: asyncio.TimerHandle | None = None
        self._lock = None
        if read_only:
            if not path.exists():
                raise FileNotFoundError(f"no ledger at {path}")
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
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
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(SCHEMA)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._lock is not None and kind is not LedgerError:
            self.commit()
        self.close()

    def close(self) -> None:
        """Close without committing what is pending."""
        self._db.close()
        if self._lock is not None:
            self._lock.close()

    def commit(self) -> None:
        """Make everything added so far durable. Raises LedgerError when the disk is full."""
        if self._db.in_transaction:
            self._execute("COMMIT")
        self._n_pending = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _execute(self, sql: str, values: tuple[object, ...] = ()) -> None:
        try:
            self._db.execute(sql, values)
        except sqlite3.OperationalError as error:
            raise LedgerError(
                f"{self.path}: {error}; the last {self._n_pending} draws are not stored, all earlier ones are: "
                "free some space and run the same command again"
            ) from error
        except sqlite3.IntegrityError as error:
            raise LedgerError(f"{self.path}: {error}; expected one row for each key") from error

    def find(self, key: "DrawKey") -> Completion | None:
        """The stored draw, if there is one."""
        row = self._db.execute(
            "SELECT token_ids, text, logprobs, finish_reason, n_generated, n_prefilled, n_cached FROM draws"
            " WHERE policy_id = ? AND prefix_hash = ? AND params_hash = ? AND base_seed = ? AND draw_index = ?",
            key,
        ).fetchone()
        return None if row is None else _completion(row)

    def add(
        self, key: "DrawKey", problem_id: str, prefix_ids: tuple[int, ...], parent: bytes | None, params: SamplingParams, draw: Completion
    ) -> None:
        """Store a new draw. Raises LedgerError if its key exists: a stored draw is never changed."""
        if key.prefix_hash not in self._known_prefixes:
            self._execute(
                "INSERT OR IGNORE INTO prefixes VALUES (?, ?, ?, ?)", (key.prefix_hash, parent, problem_id, _pack("i", prefix_ids))
            )
            self._known_prefixes.add(key.prefix_hash)
        if key.params_hash not in self._known_params:
            self._execute("INSERT OR IGNORE INTO params VALUES (?, ?)", (key.params_hash, json.dumps(asdict(params), sort_keys=True)))
            self._known_params.add(key.params_hash)
        values = (_pack("i", draw.token_ids), draw.text, _pack("f", draw.logprobs), draw.finish_reason.value)
        usage = (draw.usage.n_generated, draw.usage.n_prefilled, draw.usage.n_cached)
        self._execute("INSERT INTO draws VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*key, *values, *usage))
        self._n_pending += 1
        self._commit_soon()

    def _commit_soon(self) -> None:
        """Commit now if much is pending, else in a moment, whether or not another draw comes by then."""
        if self._n_pending >= COMMIT_EVERY_DRAWS:
            self.commit()
        elif self._timer is None and (loop := _running_loop()):
            self._timer = loop.call_later(COMMIT_EVERY_SECONDS, self.commit)

    def find_verdict(self, key: "DrawKey", gold_hash: str, grader_version: str) -> tuple[str | None, Verdict] | None:
        """The stored (answer, verdict) of this grader on a draw, if there is one."""
        row = self._db.execute(
            "SELECT answer, kind, reason FROM verdicts WHERE policy_id = ? AND prefix_hash = ? AND params_hash = ? AND base_seed = ?"
            " AND draw_index = ? AND gold_hash = ? AND grader_version = ?",
            (*key, gold_hash, grader_version),
        ).fetchone()
        return None if row is None else (row[0], Verdict(VerdictKind(row[1]), row[2]))

    def add_verdict(self, key: "DrawKey", gold_hash: str, grader_version: str, answer: str | None, verdict: Verdict) -> None:
        values = (*key, gold_hash, grader_version, verdict.kind.value, verdict.reason, answer)
        self._execute("INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
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
        return list(self._db.execute("SELECT DISTINCT policy_id, grader_version FROM verdicts ORDER BY 1, 2"))

    def total_usage(self) -> Usage:
        """What all stored draws cost."""
        totals = self._db.execute("SELECT total(n_generated), total(n_prefilled), total(n_cached) FROM draws").fetchone()
        return Usage(*map(int, totals))

    def contents(self) -> Iterator[tuple[object, ...]]:
        """Every stored row but the usage counts, in key order: two ledgers with equal contents hold the same evidence."""
        yield from self._db.execute("SELECT * FROM params ORDER BY hash")
        yield from self._db.execute("SELECT * FROM prefixes ORDER BY hash")
        yield from self._db.execute(
            "SELECT policy_id, prefix_hash, params_hash, base_seed, draw_index, token_ids, text, logprobs, finish_reason FROM draws"
            " ORDER BY prefix_hash, policy_id, params_hash, base_seed, draw_index"
        )


def _completion(row: tuple[bytes, str, bytes, str, int, int, int]) -> Completion:
    token_ids, logprobs = array("i"), array("f")
    token_ids.frombytes(row[0])
    logprobs.frombytes(row[2])
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
        self._gold_hash = content_hash(problem.question, problem.gold_answer)
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
        if stored is not None:
            return GradedSolution(solution, *stored)
        graded = await grader.grade(self.problem, solution)
        if graded.verdict.reason != "timeout":
            self._ledger.add_verdict(key, self._gold_hash, grader.grader_version, graded.answer, graded.verdict)
        return graded
