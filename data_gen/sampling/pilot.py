"""The forecast of a run from its first problems, which sample and label share."""

import logging
from pathlib import Path

from data_gen.files.run_folder import read_records
from data_gen.policies.metered import MeteredPolicy
from data_gen.records.solutions import Problem
from data_gen.sampling.forecast import forecast, forecast_text, pilot_positions
from data_gen.sampling.settings import SampleConfig
from data_gen.sampling.summary import ForecastSummary, run_facts

logger = logging.getLogger(__name__)


# --- what label shares with sample


def pilot_problems(run: Path, n_problems: int) -> list[Problem]:
    """The problems of the run that a forecast is made from: the same for sample and label."""
    positions = set(pilot_positions(n_problems))
    return [
        problem
        for number, problem in enumerate(read_records(run / "problems.jsonl", Problem))
        if number in positions
    ]


def report_forecast(
    path: Path, costs: list[dict[str, float]], n_problems: int, policy: MeteredPolicy, config: SampleConfig
) -> None:
    """Write the forecast that the pilot's costs make, and show it."""
    seconds_per_token = policy.seconds / policy.n_generated if policy.n_generated else None
    totals = forecast(costs, n_problems, seconds_per_token)
    ForecastSummary(
        n_problems=n_problems, n_pilot=len(costs), totals=totals, **run_facts(policy, 0, config)
    ).write(path)
    logger.info("%s", forecast_text(totals, n_problems))
    say_if_simulated(config)
    if seconds_per_token is None:
        logger.info("no time: the pilot's draws were all in the ledger; the forecast that drew them had one")


def say_if_simulated(config: SampleConfig) -> None:
    if config.dry_run:
        logger.info(
            "a dry run: tokens and seconds are those of a simulated policy and say nothing of the configured "
            "one"
        )
