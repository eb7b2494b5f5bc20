"""What a ledger holds, in numbers: by policy the problems, prefixes, draws, tokens, finish reasons and
verdicts, and an i.i.d. report.
"""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

from data_gen.ledger.file import open_for_reading
from data_gen.ledger.independence import examine_draws
from data_gen.ledger.verification import refuse_damage


def ledger_statistics(path: Path) -> dict[str, Any]:
    """Counts of one ledger, also while it is written. Tokens are generated, prefilled and read from a cache;
    a verdict counts once for each grader version and gold answer that it was asked with. Raises LedgerError
    for a ledger that is damaged.
    """
    refuse_damage(path)
    with closing(open_for_reading(path)) as database:
        database.execute("BEGIN")  # one moment of a ledger that may be growing
        policies: dict[str, dict[str, Any]] = {}
        for policy_id, *counts in database.execute(
            "SELECT policy_id, count(DISTINCT problem_id), count(DISTINCT prefix_hash), count(*), "
            "total(n_generated), total(n_prefilled),"
            " total(n_cached) FROM draws LEFT JOIN prefixes ON prefixes.hash = prefix_hash GROUP BY "
            "policy_id ORDER BY policy_id"
        ):
            names = ("n_problems", "n_prefixes", "n_draws", "n_generated", "n_prefilled", "n_cached")
            policies[policy_id] = {
                **{name: int(count) for name, count in zip(names, counts, strict=True)},
                "finish_reasons": {},
            }
            policies[policy_id] |= {"verdicts": {}, "draws": []}
        for policy_id, reason, count in database.execute(
            "SELECT policy_id, finish_reason, count(*) FROM draws GROUP BY policy_id, finish_reason ORDER BY "
            "policy_id, finish_reason"
        ):
            policies[policy_id]["finish_reasons"][reason] = count
        for policy_id, grader_version, kind, reason, count in database.execute(
            "SELECT policy_id, grader_version, kind, reason, count(*) FROM verdicts JOIN draws ON draws.id = "
            "draw"
            " GROUP BY policy_id, grader_version, kind, reason ORDER BY policy_id, grader_version, kind, "
            "reason"
        ):
            verdicts = policies[policy_id]["verdicts"].setdefault(grader_version, {})
            verdicts[f"{kind}:{reason}" if reason else kind] = count
        params = {
            params_hash: json.loads(text)
            for params_hash, text in database.execute("SELECT hash, json FROM params")
        }
        for report in examine_draws(database):
            policies[report.policy_id]["draws"].append(
                {**params.get(report.params_hash, {}), **report.summary()}
            )
    return {"path": str(path), "policies": policies}
