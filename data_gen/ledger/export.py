"""The draws of a ledger as plain rows, one a draw, with everything that is known of it::

{"policy_id": "763c…", "problem_id": "arithmetic-…", "prefix_hash": "5f1d…", "parent_hash": null, "prefix_ids": [41, …],
 "params": {"max_new_tokens": 256, "stop": null, "temperature": 1.0}, "base_seed": 0, "index": 3,
 "token_ids": [17, …], "text": "…", "logprobs": [-0.31, …], "finish_reason": "eos",
 "n_generated": 64, "n_prefilled": 0, "n_cached": 26,
 "verdicts": [{"grader_version": "arithmetic-1", "gold_hash": "c9da…", "kind": "correct", "reason": "", "answer": "9 1"}]}
"""  # noqa: E501

import json
import math
from array import array
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from data_gen.ledger.file import open_for_reading
from data_gen.ledger.prefix_blocks import whole_ids
from data_gen.ledger.verification import refuse_damage


def exported_draws(path: Path) -> Iterator[dict[str, Any]]:
    """In key order. `parent_hash` names the prompt that the prefix continues, null for a prompt; a
    log-probability that is NaN is null.

    Raises LedgerError for a ledger that is damaged.
    """
    refuse_damage(path)
    with closing(open_for_reading(path)) as database:
        params = {name: json.loads(text) for name, text in database.execute("SELECT hash, json FROM params")}
        rows = database.execute(
            f"SELECT draws.id, policy_id, problem_id, prefix_hash, parent_hash, {whole_ids(database)}, "
            "params_hash, base_seed, draw_index,"
            " draws.token_ids, text, logprobs, finish_reason, n_generated, n_prefilled, n_cached,"
            " grader_version, gold_hash, kind, reason, answer"
            " FROM draws JOIN prefixes ON prefixes.hash = prefix_hash LEFT JOIN verdicts ON verdicts.draw = "
            "draws.id"
            " ORDER BY prefix_hash, policy_id, params_hash, base_seed, draw_index, gold_hash, grader_version"
        )
        for _, of_draw in groupby(rows, key=itemgetter(0)):
            same = list(of_draw)
            verdict_names = ("grader_version", "gold_hash", "kind", "reason", "answer")
            row = same[0]
            yield {
                "policy_id": row[1],
                "problem_id": row[2],
                "prefix_hash": row[3].hex(),
                "parent_hash": None if row[4] is None else row[4].hex(),
                "prefix_ids": list(array("i", row[5])),
                "params": params[row[6]],
                "base_seed": row[7],
                "index": row[8],
                "token_ids": list(array("i", row[9])),
                "text": row[10],
                "logprobs": [value if math.isfinite(value) else None for value in array("f", row[11])],
                "finish_reason": row[12],
                "n_generated": row[13],
                "n_prefilled": row[14],
                "n_cached": row[15],
                "verdicts": [
                    dict(zip(verdict_names, each[16:], strict=True)) for each in same if each[16] is not None
                ],
            }
