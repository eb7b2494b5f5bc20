"""What is made of the shards at the end: one ledger, one file of scores, the sum of their forecasts."""

import logging
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

from data_gen.ledger.merge import merge_ledgers
from data_gen.ledger.store import Ledger
from data_gen.sampling.forecast import Total, forecast_text
from data_gen.sampling.summary import ForecastSummary
from data_gen.settings.errors import InputError
from prm_train.launching.run_shard import LEDGER
from prm_train.launching.shards import Job
from prm_train.launching.storage import exists, fetch, is_local, joined, put, read_record

logger = logging.getLogger(__name__)
SCORES = "scores.jsonl"


def gather(job: Job) -> dict[str, int]:
    """Make one of all shards, all of which are done; says what it holds. Raises InputError (LedgerError)
    where two shards contradict each other.
    """
    if getattr(job.config, "forecast", False):
        return _sum_forecasts(job)
    if job.command == "score":
        return _join_scores(job)
    return _merge_ledgers(job)


def _merge_ledgers(job: Job) -> dict[str, int]:
    """Of the shards' ledgers one in the output, in which each draw is once."""
    with tempfile.TemporaryDirectory(prefix="prm-train-launch-") as temporary:
        inputs = []
        for spec in job.specs:
            url = joined(spec.folder, LEDGER)
            if is_local(url):
                inputs.append(Path(url))
            elif exists(url):
                inputs.append(Path(temporary) / f"{spec.name}.sqlite")
                fetch(url, inputs[-1])
        inputs = [path for path in inputs if path.exists()]
        if not inputs:
            raise InputError(f"{job.output}: no shard has a ledger")
        target = joined(job.output, LEDGER)
        whole = Path(target) if is_local(target) else Path(temporary) / LEDGER
        merged = [each for each in merge_ledgers(inputs, whole) if each.path != whole]
        with Ledger(whole, read_only=True) as ledger:
            n_draws = ledger.n_draws()
        if not is_local(target):
            put(whole, target)
    # Shards of problems have no draw in common: what several have drawn was drawn for nothing
    n_repeated = sum(each.n_draws for each in merged) - n_draws
    return {"n_ledgers": len(merged), "n_draws": n_draws, "n_repeated_draws": n_repeated}


def _join_scores(job: Job) -> dict[str, int]:
    """The rows of all shards in the order of the undivided file, of which each shard is a stretch."""
    n_rows = 0
    with tempfile.NamedTemporaryFile("wb", prefix="prm-train-launch-", suffix=".jsonl") as whole:
        for spec in job.specs:
            part = Path(whole.name).with_name(f"{Path(whole.name).stem}-{spec.name}.jsonl")
            fetch(joined(spec.folder, SCORES), part)
            with part.open("rb") as rows:
                for row in rows:
                    whole.write(row)
                    n_rows += 1
            part.unlink()
        whole.flush()
        put(Path(whole.name), joined(job.output, SCORES))
    return {"n_rows": n_rows}


def _sum_forecasts(job: Job) -> dict[str, int]:
    """Totals over all shards. Their errors are taken as independent: each shard has a pilot of its own."""
    name = f"forecast-{job.command}.json"
    found = [read_record(joined(spec.folder, name), ForecastSummary) for spec in job.specs]
    forecasts = [each for each in found if each is not None]
    if len(forecasts) < len(found):
        raise InputError(f"{job.output}: {len(found) - len(forecasts)} shards have no {name}")
    names = [key for key in forecasts[0].totals if all(key in each.totals for each in forecasts)]
    totals = {key: _sum([each.totals[key] for each in forecasts]) for key in names}
    n_problems = sum(each.n_problems for each in forecasts)
    logger.info("%s", forecast_text(totals, n_problems))
    logger.info("seconds are those of all shards together, as if one ran after the other")
    return {"n_problems": n_problems} | {key: round(total.expected) for key, total in totals.items()}


def _sum(totals: Sequence[Total]) -> Total:
    expected = math.fsum(total.expected for total in totals)
    below, above = (
        math.sqrt(math.fsum((getattr(total, end) - total.expected) ** 2 for total in totals))
        for end in ("low", "high")
    )
    return Total(expected, expected - below, expected + above)
