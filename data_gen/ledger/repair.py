"""`prm-train ledger repair`: a damaged ledger made sound again. What can be rebuilt is, what cannot is moved
out, and all of it is counted.

Params are rebuilt from the settings in the run's config.json, a prefix from its neighbours: it is the
beginning of a prefix that continues it, or of another prefix and a draw from there. Rows that are not what
was stored, and draws whose prefix or params stay unknown, go into `ledger.moved-out.jsonl` beside the ledger,
one line a row with the reason (bytes in hex); the command that made the run draws them again.
"""

import hashlib
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from data_gen.files.stored_record import read_object
from data_gen.ledger.file import (
    LedgerError,
    checksum,
    has_streams,
    lock_ledger,
    open_for_reading,
    open_for_writing,
)
from data_gen.ledger.prefix_blocks import whole_ids
from data_gen.ledger.verification import OF_OTHER_ROWS, Fault, find_damage
from data_gen.records.sampling import SamplingParams

ROW_OF = {
    "params": "hash = CAST(? AS TEXT)",
    "blocks": "hash = ?",
    "prefixes": "id = ?",
    "draws": "id = ?",
    "drawn": "id = ?",
    "verdicts": "draw = ?",
}


@dataclass(frozen=True)
class Repaired:
    """How many rows were rebuilt and moved out, by table, and where the latter are (None: nowhere, there are
    none).
    """

    rebuilt: Counter[str]
    moved_out: Counter[str]
    path: Path | None


def repair_ledger(path: Path) -> Repaired:
    """Make a ledger sound, or, where that is interrupted, leave it as it is. Raises LedgerError where pages
    of the file are damaged.
    """
    open_for_reading(path).close()
    with lock_ledger(path), closing(open_for_writing(path, with_streams=False)) as database:
        database.isolation_level = None
        database.execute("BEGIN IMMEDIATE")
        _mend_indices(database, path)
        of_rows = [fault for fault in find_damage(database) if fault.kind not in OF_OTHER_ROWS]
        moved = list(_move_out(database, of_rows, path))
        rebuilt = Counter(
            params=_rebuild_params(database, path.with_name("config.json")),
            prefixes=_rebuild_prefixes(database),
        )
        while faults := list(find_damage(database)):
            moved += _move_out(database, faults, path)
        kept = path.with_suffix(".moved-out.jsonl")
        if moved:
            with kept.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in moved)
                file.flush()
                os.fsync(file.fileno())
        database.execute("COMMIT")
    return Repaired(+rebuilt, Counter(row["table"] for row in moved), kept if moved else None)


def _mend_indices(database: sqlite3.Connection, path: Path) -> None:
    """An index says nothing that its table does not say. Raises LedgerError if the tables are damaged too."""
    if any(fault.table == "" for fault in find_damage(database)):
        try:
            database.execute("REINDEX")
        except sqlite3.DatabaseError as error:
            raise LedgerError(
                f"{path}: its pages are damaged ({error}): take a copy, or what `.recover` of sqlite3 reads"
            ) from error
        for fault in find_damage(database):
            if fault.table == "":
                raise LedgerError(
                    f"{path}: its pages are damaged ({fault.where}): take a copy, or what `.recover` of "
                    "sqlite3 reads"
                )


def _move_out(database: sqlite3.Connection, faults: Iterable[Fault], path: Path) -> Iterator[dict[str, Any]]:
    """Delete the rows of these faults, and give what they held and why they went, each once."""
    reasons: dict[tuple[str, Any], str] = {}
    for fault in faults:
        reasons.setdefault((fault.table, fault.row), fault.kind)
    for (table, row), reason in reasons.items():
        value = row.encode(errors="surrogateescape") if isinstance(row, str) else row
        found = database.execute(f"SELECT * FROM {table} WHERE {ROW_OF[table]}", (value,))
        names = [column[0] for column in found.description]
        for values in found.fetchall():
            shown = [value.hex() if isinstance(value, bytes) else value for value in values]
            yield {"table": table, "reason": reason, **dict(zip(names, shown, strict=True))}
        if table == "draws" and has_streams(database):
            table = "drawn"
        if not database.execute(f"DELETE FROM {table} WHERE {ROW_OF[table]}", (value,)).rowcount:
            raise LedgerError(
                f"{path}: {table} row {row!r} ({reason}) cannot be moved out; take a copy of the ledger"
            )


def _rebuild_params(database: sqlite3.Connection, config: Path) -> int:
    """Store the params that draws name and the table lacks, if the settings of the run make them. Returns how
    many.
    """
    query = "SELECT DISTINCT params_hash FROM draws WHERE params_hash NOT IN (SELECT hash FROM params)"
    missing = {name for (name,) in database.execute(query)}
    found = {each.params_hash: each for each in _params_of(config)} if missing else {}
    rows = [(name, json.dumps(found[name].facts, sort_keys=True)) for name in missing & found.keys()]
    database.executemany("INSERT INTO params VALUES (?, ?)", rows)
    return len(rows)


def _params_of(config: Path) -> Iterator[SamplingParams]:
    """Everything that `sample`, `label` or `search` with these settings draws with: whole solutions and
    steps, sampled and greedy.
    """
    if not config.is_file():
        return
    settings = read_object(config)
    if "max_new_tokens" not in settings:
        return
    params = SamplingParams(
        **{each.name: settings[each.name] for each in fields(SamplingParams) if each.name in settings}
    )
    for temperature in (params.temperature, 0.0, *settings.get("other_temperatures", ())):
        for stop in (None, settings.get("step_separator")):
            yield replace(params, temperature=temperature, stop=stop)


def _rebuild_prefixes(database: sqlite3.Connection) -> int:
    """Store the prefixes that draws name and the table lacks, as far as others lead to them. Returns how
    many.
    """
    n_rebuilt = 0
    query = "SELECT DISTINCT prefix_hash FROM draws WHERE prefix_hash NOT IN (SELECT hash FROM prefixes)"
    while missing := {name for (name,) in database.execute(query)}:
        n_found = 0
        for name, parent, problem_id, begun, drawn in database.execute(
            f"SELECT hash, parent_hash, problem_id, {whole_ids(database)}, draws.token_ids FROM prefixes "
            "LEFT JOIN draws ON prefix_hash = hash"
        ).fetchall():
            prompt, is_behind = parent or name, False
            for found, ids in _beginnings(begun + (drawn or b"")):
                if found in missing:
                    missing.discard(found)
                    # A chat begins with those that show fewer of its attempts, which are prompts as it is
                    values = (found, prompt if is_behind else None, problem_id)
                    database.execute(
                        "INSERT INTO prefixes (hash, parent_hash, problem_id, token_ids, checksum) VALUES "
                        "(?, ?, ?, ?, ?)",
                        (*values, ids, checksum(*values)),
                    )
                    n_found += 1
                is_behind = is_behind or found == prompt
        n_rebuilt += n_found
        if not n_found:
            break
    return n_rebuilt


def _beginnings(token_ids: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(`prefix_hash`, ids) of every beginning of packed token ids, in one pass."""
    digest = hashlib.sha256()
    for end in range(4, len(token_ids) + 1, 4):
        digest.update(token_ids[end - 4 : end])
        yield digest.copy().digest()[:16], token_ids[:end]
