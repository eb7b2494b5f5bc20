"""Is a ledger what it says? The file, the hashes, and that everything that a row names is there.

Every name in a ledger is a hash of what it stands for, so each is worked out again. What a check finds is a `Fault`; a sound ledger has
none. Draws that look like copies of each other (`data_gen.draw_independence`) are faults too.
"""

import json
import sqlite3
from array import array
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from data_gen.draw_independence import examine_draws
from data_gen.ledger import open_for_reading, prefix_hash
from data_gen.records import FinishReason, SamplingParams, VerdictKind

ROUNDING = 1e-3  # a log-probability of a certain token may come out this much above 0


@dataclass(frozen=True)
class Fault:
    """`kind` is what is wrong, `where` which row and what it holds."""

    kind: str
    where: str


def find_faults(path: Path) -> Iterator[Fault]:
    """Everything that is wrong with a ledger; it may be written meanwhile. Raises LedgerError if it cannot be opened."""
    with closing(open_for_reading(path)) as database:
        try:
            database.execute("BEGIN")  # one moment of a ledger that may be growing
            damage = [Fault("damaged file", line) for (line,) in database.execute("PRAGMA integrity_check") if line != "ok"]
            yield from damage
            for check in (_check_params, _check_prefixes, _check_draws, _check_verdicts, *(() if damage else (_check_independence,))):
                yield from check(database)
        except sqlite3.DatabaseError as error:
            yield Fault("damaged file", f"not everything could be read: {error}")


def _check_params(database: sqlite3.Connection) -> Iterator[Fault]:
    for name, text in database.execute("SELECT hash, json FROM params ORDER BY hash"):
        try:
            found = SamplingParams(**json.loads(text)).params_hash
        except (TypeError, ValueError) as error:  # unknown names, no JSON, values out of range
            yield Fault("unreadable params", f"{name}: {error}")
            continue
        if found != name:
            yield Fault("params_hash is not that of the params", f"{name}: {text}")


def _check_prefixes(database: sqlite3.Connection) -> Iterator[Fault]:
    rows = database.execute(
        "SELECT prefixes.hash, prefixes.token_ids, parents.hash, parents.token_ids FROM prefixes"
        " LEFT JOIN prefixes AS parents ON parents.hash = prefixes.parent_hash ORDER BY prefixes.id"
    )
    for name, token_ids, parent, parent_ids in rows:
        if len(token_ids) % 4 or prefix_hash(tuple(array("i", token_ids))) != name:
            yield Fault("prefix_hash is not that of the token ids", f"prefix {name.hex()}")
        if parent is not None and not (token_ids.startswith(parent_ids) and len(token_ids) > len(parent_ids)):
            yield Fault("a prefix does not continue its parent", f"prefix {name.hex()} of parent {parent.hex()}")


def _check_draws(database: sqlite3.Connection) -> Iterator[Fault]:
    rows = database.execute(
        "SELECT draws.id, prefix_hash, draw_index, draws.token_ids, logprobs, finish_reason, n_generated, n_prefilled, n_cached,"
        " prefixes.hash IS NOT NULL, params.hash IS NOT NULL FROM draws"
        " LEFT JOIN prefixes ON prefixes.hash = prefix_hash LEFT JOIN params ON params.hash = params_hash ORDER BY draws.id"
    )
    for row_id, prefix, index, token_ids, logprobs, finish_reason, n_generated, n_prefilled, n_cached, has_prefix, has_params in rows:
        where = f"draw {row_id} (index {index} of prefix {prefix.hex()})"
        if not has_prefix:
            yield Fault("a draw without its prefix", where)
        if not has_params:
            yield Fault("a draw without its params", where)
        if finish_reason not in set(FinishReason):
            yield Fault("unknown finish reason", f"{where}: {finish_reason!r}")
        n_ids = len(token_ids) // 4
        if len(token_ids) % 4 or n_generated != n_ids:
            yield Fault("n_generated is not the number of ids", f"{where}: {n_generated} for {n_ids} ids")
        if min(n_prefilled, n_cached) < 0:
            yield Fault("negative token count", f"{where}: {n_prefilled} prefilled, {n_cached} cached")
        if len(logprobs) != len(token_ids):
            yield Fault("log-probabilities and ids differ in number", f"{where}: {len(logprobs) // 4} for {n_ids} ids")
        elif logprobs and max(array("f", logprobs)) > ROUNDING:
            yield Fault("a log-probability above 0", f"{where}: {max(array('f', logprobs))}")


def _check_verdicts(database: sqlite3.Connection) -> Iterator[Fault]:
    for draw, grader_version, kind, reason, has_draw in database.execute(
        "SELECT draw, grader_version, kind, reason, draws.id IS NOT NULL FROM verdicts LEFT JOIN draws ON draws.id = draw ORDER BY draw"
    ):
        where = f"verdict of {grader_version!r} on draw {draw}"
        if not has_draw:
            yield Fault("a verdict without its draw", where)
        if kind not in set(VerdictKind):
            yield Fault("unknown kind of verdict", f"{where}: {kind!r}")
        elif bool(reason) != (kind == VerdictKind.UNKNOWN):
            yield Fault("a reason belongs to an unknown verdict and to no other", f"{where}: {kind}, reason {reason!r}")


def _check_independence(database: sqlite3.Connection) -> Iterator[Fault]:
    for report in examine_draws(database):
        for finding in report.findings:
            yield Fault("draws are not independent", f"policy {report.policy_id}, params {report.params_hash}: {finding}")
