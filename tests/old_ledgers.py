"""A ledger as an earlier version of this program made it, for tests: the draws in one table with their whole
keys.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from data_gen.ledger.prefix_blocks import whole_ids

# The table of layout 4, and what it takes to have it in place of what came after
OF_LAYOUT_4 = """
ALTER TABLE drawn RENAME TO new_drawn;
CREATE TABLE old_draws (
    id INTEGER PRIMARY KEY,
    policy_id TEXT NOT NULL, prefix_hash BLOB NOT NULL, params_hash TEXT NOT NULL, base_seed INTEGER NOT NULL, draw_index INTEGER NOT NULL,
    token_ids BLOB NOT NULL, text TEXT NOT NULL, logprobs BLOB NOT NULL, finish_reason TEXT NOT NULL,
    n_generated INTEGER NOT NULL, n_prefilled INTEGER NOT NULL, n_cached INTEGER NOT NULL, checksum BLOB,
    UNIQUE (prefix_hash, policy_id, params_hash, base_seed, draw_index));
INSERT INTO old_draws SELECT * FROM draws ORDER BY id;
DROP VIEW draws; DROP TABLE new_drawn; DROP TABLE streams;
ALTER TABLE old_draws RENAME TO draws;
"""  # noqa: E501


def make_old(path: Path, layout: int) -> None:
    """4: as it was; 3: without blocks; 2: without checksums, too."""
    with closing(sqlite3.connect(path)) as database:
        changes = OF_LAYOUT_4
        if layout < 4:
            rows = database.execute(f"SELECT {whole_ids(database)}, id FROM prefixes").fetchall()
            database.executemany("UPDATE prefixes SET token_ids = ? WHERE id = ?", rows)
            database.commit()
            changes += "ALTER TABLE prefixes DROP COLUMN base_hash; DROP TABLE blocks;"
        if layout < 3:
            tables = ("prefixes", "draws", "verdicts")
            changes += "".join(f"ALTER TABLE {table} DROP COLUMN checksum;" for table in tables)
        database.executescript(f"{changes} PRAGMA user_version = {layout}")
