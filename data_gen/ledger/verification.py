"""Is a ledger what it says? The file, the hashes, the checksums, and that everything that a row names is
there.

Every name in a ledger is a hash of what it stands for, so each is worked out again, and so is the checksum of
each row. What a check finds is a `Fault`; a sound ledger has none. Draws that look like copies of each other
(`data_gen.ledger.independence`) are faults too, but no damage: damage is what a disk did, and a damaged
ledger is not counted, merged or written out.
"""

import json
import sqlite3
from array import array
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_gen.ledger.file import (
    DRAWN,
    KEY,
    UNREADABLE,
    LedgerError,
    any_text,
    checksum_column,
    has_streams,
    is_as_stored,
    open_for_reading,
)
from data_gen.ledger.independence import examine_draws
from data_gen.ledger.prefix_blocks import has_blocks, name_of, whole_ids
from data_gen.records.draw_keys import prefix_hash
from data_gen.records.sampling import FinishReason, SamplingParams
from data_gen.records.verdicts import VerdictKind

ROUNDING = 1e-3  # a log-probability of a certain token may come out this much above 0
REMEDY = "`prm-train ledger verify` lists all that is wrong, `prm-train ledger repair` mends it"
OF_OTHER_ROWS = (  # a row that is as it was stored, beside one that is not or is missing
    "a draw without its prefix",
    "a draw without its params",
    "a verdict without its draw",
    "a prefix does not continue its parent",
)
TYPES = {"s": str, "b": bytes, "i": int}


@dataclass(frozen=True)
class Fault:
    """`kind` is what is wrong, `where` which row and what it holds; `table` and `row` (the draw's of a
    verdict) name the row itself.
    """

    kind: str
    where: str
    table: str = ""
    row: Any = None


def find_faults(path: Path) -> Iterator[Fault]:
    """Everything that is wrong with a ledger; it may be written meanwhile. Raises LedgerError if it cannot be
    opened.
    """
    with closing(open_for_reading(path)) as database:
        database.execute("BEGIN")  # one moment of a ledger that may be growing
        damage = list(find_damage(database))
        yield from damage
        if not damage:
            yield from _check_independence(database)


def refuse_damage(path: Path) -> None:
    """Raises LedgerError naming the first damage, and if there is no ledger."""
    with closing(open_for_reading(path)) as database:
        for fault in find_damage(database):
            raise LedgerError(f"{path}: {fault.kind}: {fault.where}; {REMEDY}")


def find_damage(database: sqlite3.Connection) -> Iterator[Fault]:
    """What is not as it was written, or names what is not there."""
    text_factory = database.text_factory
    database.text_factory = any_text
    try:
        yield from (
            Fault("damaged file", line)
            for (line,) in database.execute("PRAGMA integrity_check")
            if line != "ok"
        )
        for check in (
            _check_params,
            _check_blocks,
            _check_prefixes,
            _check_streams,
            _check_draws,
            _check_verdicts,
        ):
            yield from check(database)
    except UNREADABLE as error:
        yield Fault("damaged file", f"not everything could be read: {error}")
    finally:
        database.text_factory = text_factory


def _check_params(database: sqlite3.Connection) -> Iterator[Fault]:
    for name, text in database.execute("SELECT hash, json FROM params ORDER BY hash"):
        try:
            found = SamplingParams(**json.loads(text)).params_hash
        except (TypeError, ValueError) as error:  # unknown names, no JSON, values out of range
            yield Fault("unreadable params", f"{name}: {error}", "params", name)
            continue
        if found != name:
            yield Fault("params_hash is not that of the params", f"{name}: {text}", "params", name)


def _check_blocks(database: sqlite3.Connection) -> Iterator[Fault]:
    """A block that is not what it was makes its own name and all that follow it wrong."""
    if not has_blocks(database):
        return
    for name, token_ids in database.execute(f"SELECT hash, {whole_ids(database, 'blocks')} FROM blocks"):
        if not isinstance(name, bytes):
            yield Fault("a value of a wrong type", f"block {name!r}", "blocks", name)
        elif not isinstance(token_ids, bytes):
            yield Fault("a block does not continue another", f"block {name.hex()}", "blocks", name)
        elif name_of(token_ids) != name:
            yield Fault("hash is not that of the token ids", f"block {name.hex()}", "blocks", name)


def _check_prefixes(database: sqlite3.Connection) -> Iterator[Fault]:
    rows = database.execute(
        "SELECT prefixes.id, prefixes.hash, prefixes.parent_hash, prefixes.problem_id, "
        f"{whole_ids(database)}, {checksum_column(database, 'prefixes')}, {whole_ids(database, 'parents')} "
        "FROM prefixes"
        " LEFT JOIN prefixes AS parents ON parents.hash = prefixes.parent_hash ORDER BY prefixes.id"
    )
    for row_id, name, parent, problem_id, token_ids, stored, parent_ids in rows:
        of_row = ("prefixes", row_id)
        if token_ids is None:
            yield Fault("a prefix without its blocks", f"prefix row {row_id}", *of_row)
            continue
        if not _are((name, problem_id, token_ids), "bsb") or not isinstance(parent, bytes | None):
            yield Fault("a value of a wrong type", f"prefix row {row_id}", *of_row)
            continue
        if len(token_ids) % 4 or prefix_hash(tuple(array("i", token_ids))) != name:
            yield Fault("prefix_hash is not that of the token ids", f"prefix {name.hex()}", *of_row)
        if not is_as_stored(stored, name, parent, problem_id):
            yield Fault("not what was stored", f"prefix {name.hex()}", *of_row)
        if (
            parent is not None
            and isinstance(parent_ids, bytes)
            and not (token_ids.startswith(parent_ids) and len(token_ids) > len(parent_ids))
        ):
            yield Fault(
                "a prefix does not continue its parent",
                f"prefix {name.hex()} of parent {parent.hex()}",
                *of_row,
            )


def _check_streams(database: sqlite3.Connection) -> Iterator[Fault]:
    """The rows of `drawn` that the view `draws` does not show."""
    if not has_streams(database):
        return
    query = "SELECT drawn.id FROM drawn LEFT JOIN streams ON streams.id = stream WHERE streams.id IS NULL"
    for (row_id,) in database.execute(query):
        yield Fault("a draw without its stream", f"draw {row_id}", "drawn", row_id)


def _check_draws(database: sqlite3.Connection) -> Iterator[Fault]:
    rows = database.execute(
        f"SELECT draws.id, {', '.join(KEY)}, draws.{', '.join(DRAWN)}, {checksum_column(database, 'draws')},"
        " prefixes.hash IS NOT NULL, params.hash IS NOT NULL FROM draws"
        " LEFT JOIN prefixes ON prefixes.hash = prefix_hash LEFT JOIN params ON params.hash = params_hash "
        "ORDER BY draws.id"
    )
    for row_id, *values, stored, has_prefix, has_params in rows:
        of_row = ("draws", row_id)
        if not _are(values, "sbsiibsbsiii"):
            yield Fault("a value of a wrong type", f"draw {row_id}", *of_row)
            continue
        where = f"draw {row_id} (index {values[4]} of prefix {values[1].hex()})"
        for kind, is_named in zip(OF_OTHER_ROWS, (has_prefix, has_params), strict=False):
            if not is_named:
                yield Fault(kind, where, *of_row)
        if not is_as_stored(stored, *values):
            yield Fault("not what was stored", where, *of_row)
        yield from (Fault(kind, f"{where}: {found}", *of_row) for kind, found in _wrong_in_draw(*values[5:]))


def _wrong_in_draw(
    token_ids: bytes,
    text: str,
    logprobs: bytes,
    finish_reason: str,
    n_generated: int,
    n_prefilled: int,
    n_cached: int,
) -> Iterator[tuple[str, str]]:
    """What cannot be, with a checksum or without: the kind of fault, and what there is."""
    if finish_reason not in set(FinishReason):
        yield "unknown finish reason", repr(finish_reason)
    n_ids = len(token_ids) // 4
    if len(token_ids) % 4 or n_generated != n_ids:
        yield "n_generated is not the number of ids", f"{n_generated} for {n_ids} ids"
    if min(n_prefilled, n_cached) < 0:
        yield "negative token count", f"{n_prefilled} prefilled, {n_cached} cached"
    values = array("f", logprobs[: len(logprobs) // 4 * 4])
    if len(logprobs) != len(token_ids):
        yield "log-probabilities and ids differ in number", f"{len(values)} for {n_ids} ids"
    elif values and max(values) > ROUNDING:
        yield "a log-probability above 0", str(max(values))


def _check_verdicts(database: sqlite3.Connection) -> Iterator[Fault]:
    of_draws = "drawn ON drawn.id = draw LEFT JOIN streams ON streams.id = stream"
    if not has_streams(database):
        of_draws = "draws AS drawn ON drawn.id = draw"
    rows = database.execute(
        "SELECT draw, gold_hash, grader_version, kind, reason, answer,"
        f" {checksum_column(database, 'verdicts')}, draw_index, {', '.join(KEY)}"
        f" FROM verdicts LEFT JOIN {of_draws} ORDER BY draw"
    )
    for draw, *said, stored, has_draw, policy_id, prefix, params, base_seed, index in rows:
        of_row, where = ("verdicts", draw), f"verdict of {said[1]!r} on draw {draw}"
        if not _are(said[:4], "ssss") or not isinstance(said[4], str | None):
            yield Fault("a value of a wrong type", where, *of_row)
            continue
        _, _, kind, reason, _ = said
        if has_draw is None:
            yield Fault("a verdict without its draw", where, *of_row)
        elif not is_as_stored(stored, policy_id, prefix, params, base_seed, index, *said):
            yield Fault("not what was stored", where, *of_row)
        if kind not in set(VerdictKind):
            yield Fault("unknown kind of verdict", f"{where}: {kind!r}", *of_row)
        elif bool(reason) != (kind == VerdictKind.UNKNOWN):
            yield Fault(
                "a reason belongs to an unknown verdict and to no other",
                f"{where}: {kind}, reason {reason!r}",
                *of_row,
            )


def _are(values: Any, types: str) -> bool:
    """Whether values are text (s), bytes (b) and integers (i), in this order: after a flipped bit a column
    may hold anything.
    """
    return all(isinstance(value, TYPES[kind]) for value, kind in zip(values, types, strict=True))


def _check_independence(database: sqlite3.Connection) -> Iterator[Fault]:
    for report in examine_draws(database):
        for finding in report.findings:
            yield Fault(
                "draws are not independent",
                f"policy {report.policy_id}, params {report.params_hash}: {finding}",
            )
