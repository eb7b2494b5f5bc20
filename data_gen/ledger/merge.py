"""One ledger out of several: the shards of a job, each written on a local disk, or copies of one that went
different ways.

A draw that two ledgers hold is counted once if it is the same draw, and refused by name if it is another:
then one of the two is wrong and nothing here can know which. What a draw cost is not compared (it depends on
what else was in the batch), and log-probabilities may differ by `LOGPROB_TOLERANCE`; the ledger that is named
first is believed in both.
"""

import os
import sqlite3
from array import array
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from data_gen.ledger.file import (
    DRAWN,
    KEY,
    OF_STREAM,
    LedgerError,
    checksum_column,
    create_tables,
    lock_ledger,
    open_for_reading,
    reading_uri,
)
from data_gen.ledger.prefix_blocks import has_blocks
from data_gen.ledger.verification import refuse_damage

LOGPROB_TOLERANCE = 1e-3  # a batch of another shape moves log-probabilities by about 1e-6 in float32


@dataclass(frozen=True)
class MergedShard:
    """What one input gave: its draws and verdicts, and how many of them were new."""

    path: Path
    n_draws: int
    n_new_draws: int
    n_verdicts: int
    n_new_verdicts: int


def merge_ledgers(inputs: Sequence[Path], output: Path) -> list[MergedShard]:
    """Write the union of `inputs`, and of `output` where it exists: what it holds is never lost, and merging
    again changes nothing.

    The file gets its name when it is whole and on disk. Inputs may be written meanwhile: what they had
    committed is taken. Raises LedgerError for rows of one key with different content, for an input that is no
    ledger or damaged, and for an output that is in use.
    """
    sources = [path for path in inputs if path.resolve() != output.resolve()]
    for path in sources:
        open_for_reading(path).close()  # all are there, before work begins
    with lock_ledger(output):
        if output.exists():
            _fold_log(output)
            sources.insert(0, output)
        temporary = output.with_name(f".{output.name}.merging")
        temporary.unlink(missing_ok=True)  # of a merge that was killed
        try:
            merged = _union(sources, temporary)
            temporary.replace(output)
        except sqlite3.OperationalError as error:
            raise LedgerError(f"{output}: {error}; nothing was written") from error
        finally:
            temporary.unlink(missing_ok=True)  # only still there if something above failed
    return merged


def _union(sources: Sequence[Path], path: Path) -> list[MergedShard]:
    with closing(sqlite3.connect(path.absolute().as_uri(), uri=True, isolation_level=None)) as database:
        database.execute("PRAGMA synchronous=OFF")  # the whole file is synchronised once, below
        database.execute("PRAGMA journal_mode=OFF")
        database.execute("PRAGMA cache_size=-65536")  # KiB
        create_tables(database)
        database.create_function("is_close", 2, _is_close, deterministic=True)
        merged = [_take(database, source) for source in sources]
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return merged


def _fold_log(path: Path) -> None:
    """Bring what is in the write-ahead log into the file itself: a log that outlived its file would be taken
    for the next one's.
    """
    open_for_reading(path).close()
    with closing(sqlite3.connect(path)) as database:
        try:
            database.execute("PRAGMA journal_mode=DELETE")
        except sqlite3.OperationalError as error:
            raise LedgerError(
                f"{path}: {error}; another process is reading it: merge when it has finished"
            ) from error


def _take(database: sqlite3.Connection, path: Path) -> MergedShard:
    """Add what is new in one ledger. Raises LedgerError for rows that are there with other content."""
    database.execute("ATTACH ? AS shard", (reading_uri(path),))
    database.execute("BEGIN")
    _refuse_conflicts(database, path)
    refuse_damage(path)
    same_draw = " AND ".join(f"mine.{column} = theirs.{column}" for column in KEY)
    n_new = {}
    database.execute("INSERT OR IGNORE INTO main.params SELECT hash, json FROM shard.params ORDER BY hash")
    of_prefixes = "hash, parent_hash, problem_id, token_ids"
    if has_blocks(database, "shard"):
        of_prefixes += ", base_hash"
        database.execute("INSERT OR IGNORE INTO main.blocks SELECT * FROM shard.blocks ORDER BY hash")
    n_new["prefixes"] = database.execute(
        f"INSERT OR IGNORE INTO main.prefixes ({of_prefixes}, checksum)"
        f" SELECT {of_prefixes}, {checksum_column(database, 'prefixes', 'shard')} FROM shard.prefixes"
        " ORDER BY id"
    ).rowcount
    of_stream, drawn = ", ".join(OF_STREAM), ", ".join(("draw_index", *DRAWN))
    database.execute(
        f"INSERT OR IGNORE INTO main.streams ({of_stream}) SELECT {of_stream} FROM shard.draws"
        f" GROUP BY {of_stream} ORDER BY min(id)"
    )
    n_new["draws"] = database.execute(
        f"INSERT OR IGNORE INTO main.drawn (stream, {drawn}, checksum)"
        f" SELECT mine.id, {drawn}, {checksum_column(database, 'draws', 'shard')}"
        f" FROM shard.draws JOIN main.streams AS mine USING ({of_stream}) ORDER BY draws.id"
    ).rowcount
    n_new["verdicts"] = database.execute(
        "INSERT OR IGNORE INTO main.verdicts SELECT mine.id, gold_hash, grader_version, kind, reason, answer,"
        f" {checksum_column(database, 'verdicts', 'shard')}"
        " FROM shard.verdicts JOIN shard.draws AS theirs ON theirs.id = draw JOIN main.draws AS mine ON "
        f"{same_draw} ORDER BY mine.id"
    ).rowcount
    n_draws, n_verdicts = database.execute(
        "SELECT (SELECT count(*) FROM shard.draws), (SELECT count(*) FROM shard.verdicts)"
    ).fetchone()
    database.execute("COMMIT")
    database.execute("DETACH shard")
    return MergedShard(path, n_draws, n_new["draws"], n_verdicts, n_new["verdicts"])


def _refuse_conflicts(database: sqlite3.Connection, path: Path) -> None:
    same_draw = " AND ".join(f"mine.{column} = theirs.{column}" for column in KEY)
    conflicts = {
        "params {}": "SELECT hash FROM shard.params AS theirs JOIN main.params AS mine USING (hash) WHERE "
        "mine.json != theirs.json",
        "prefix {} (of problem {} here, of {} there)": (
            "SELECT lower(hex(hash)), theirs.problem_id, mine.problem_id"
            " FROM shard.prefixes AS theirs JOIN main.prefixes AS mine USING (hash) WHERE mine.problem_id != "
            "theirs.problem_id"
            " OR mine.parent_hash IS NOT theirs.parent_hash"
        ),
        "draw {4} (policy {1}, prefix {0}, params {2}, base seed {3})": (
            "SELECT lower(hex(theirs.prefix_hash)), theirs.policy_id, theirs.params_hash, theirs.base_seed, "
            "theirs.draw_index"
            f" FROM shard.draws AS theirs JOIN main.draws AS mine ON {same_draw} WHERE mine.token_ids != "
            "theirs.token_ids"
            " OR mine.text != theirs.text OR mine.finish_reason != theirs.finish_reason"
            " OR (mine.logprobs != theirs.logprobs AND NOT is_close(mine.logprobs, theirs.logprobs))"
        ),
        "verdict of {2!r} on draw {1} of prefix {0}": (
            "SELECT lower(hex(theirs.prefix_hash)), theirs.draw_index, said.grader_version FROM "
            "shard.verdicts AS said"
            f" JOIN shard.draws AS theirs ON theirs.id = said.draw JOIN main.draws AS mine ON {same_draw} "
            "JOIN main.verdicts AS known"
            " ON known.draw = mine.id AND known.gold_hash = said.gold_hash AND known.grader_version = "
            "said.grader_version"
            " WHERE known.kind != said.kind OR known.reason != said.reason OR known.answer IS NOT said.answer"
        ),
    }
    for name, query in conflicts.items():
        found = database.execute(query).fetchmany(1000)
        if found:
            at_least = "at least " * (len(found) == 1000)
            raise LedgerError(
                f"{path}: {name.format(*found[0])} has another content in a ledger merged before it "
                f"({at_least}{len(found)} of this kind); "
                "expected equal content under equal keys: find out which of the two is wrong"
            )


def _is_close(mine: bytes, theirs: bytes) -> bool:
    """Whether two blobs of log-probabilities say the same."""
    if len(mine) != len(theirs):
        return False
    return all(
        abs(one - other) <= LOGPROB_TOLERANCE
        for one, other in zip(array("f", mine), array("f", theirs), strict=True)
    )
