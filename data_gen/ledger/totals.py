"""What a ledger holds as a whole, whoever asks: the process that writes it or one that only reads."""

import sqlite3
from collections.abc import Iterator

from data_gen.ledger.file import KEY
from data_gen.ledger.prefix_blocks import whole_ids
from data_gen.records.sampling import Usage


class LedgerTotals:
    """The part of `data_gen.ledger.store.Ledger` that looks at all rows and changes none."""

    _db: sqlite3.Connection

    def has_draws(self) -> bool:
        return bool(self._db.execute("SELECT EXISTS (SELECT 1 FROM draws)").fetchone()[0])

    def n_draws(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM draws").fetchone()[0])

    def sources(self) -> list[tuple[str, str]]:
        """(policy_id, grader_version) of the graded draws, each once."""
        return list(
            self._db.execute(
                "SELECT DISTINCT policy_id, grader_version FROM verdicts JOIN draws ON draws.id = "
                "verdicts.draw ORDER BY 1, 2"
            )
        )

    @property
    def n_bytes(self) -> int:
        """Of its tables, what is still in the log of the file included."""
        pages, size = (
            int(self._db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "page_size")
        )
        return pages * size

    def total_usage(self) -> Usage:
        """What all stored draws cost."""
        totals = self._db.execute(
            "SELECT total(n_generated), total(n_prefilled), total(n_cached) FROM draws"
        ).fetchone()
        return Usage(*map(int, totals))

    def contents(self) -> Iterator[tuple[object, ...]]:
        """Every stored row but the usage counts, each after the name of its table, in key order: equal
        contents are equal evidence.
        """
        yield from self._db.execute("SELECT 'params', hash, json FROM params ORDER BY hash")
        yield from self._db.execute(
            f"SELECT 'prefixes', hash, parent_hash, problem_id, {whole_ids(self._db)} FROM prefixes ORDER BY "
            "hash"
        )
        key = ", ".join(KEY)
        yield from self._db.execute(
            f"SELECT 'draws', {key}, token_ids, text, logprobs, finish_reason FROM draws"
            " ORDER BY prefix_hash, policy_id, params_hash, base_seed, draw_index"
        )
        yield from self._db.execute(
            f"SELECT 'verdicts', {key}, gold_hash, grader_version, kind, reason, answer FROM verdicts JOIN "
            "draws ON draws.id = draw"
            " ORDER BY prefix_hash, policy_id, params_hash, base_seed, draw_index, gold_hash, grader_version"
        )
