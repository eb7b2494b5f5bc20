"""The rows of `data_gen.ledger.export` as a Parquet file, which DuckDB, Polars and `datasets` read column by
column. `params` is JSON text there: the settings that were made since would be columns of their own.
"""

import json
import os
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

ROWS_IN_GROUP = 10_000  # in memory at a time; of a few thousand tokens each they take about a gigabyte


def write_parquet(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write exported draws and return how many. The file gets its name only when it is complete and on
    disk.
    """
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    ids, text, number = pyarrow.list_(pyarrow.int32()), pyarrow.string(), pyarrow.int64()
    verdict = [(name, text) for name in ("grader_version", "gold_hash", "kind", "reason", "answer")]
    schema = pyarrow.schema(
        [(name, text) for name in ("policy_id", "problem_id", "prefix_hash", "parent_hash")]
        + [("prefix_ids", ids), ("params", text), ("base_seed", number), ("index", number)]
        + [("token_ids", ids), ("text", text), ("logprobs", pyarrow.list_(pyarrow.float32()))]
        + [("finish_reason", text), ("n_generated", number), ("n_prefilled", number), ("n_cached", number)]
        + [("verdicts", pyarrow.list_(pyarrow.struct(verdict)))]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, left, n_rows = path.with_name(f".{path.name}.{os.getpid()}.tmp"), iter(rows), 0
    try:
        with temporary.open("wb") as file:
            with ParquetWriter(file, schema, compression="zstd") as writer:
                while group := list(islice(left, ROWS_IN_GROUP)):
                    flat = [{**row, "params": json.dumps(row["params"], sort_keys=True)} for row in group]
                    writer.write_table(pyarrow.Table.from_pylist(flat, schema=schema))
                    n_rows += len(flat)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # only still there if something above failed
    return n_rows
