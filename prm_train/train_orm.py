"""`prm-train train-orm`: an outcome reward model from whole solutions that are right or wrong, one by one or in pairs.

`accelerate launch -m prm_train.train_orm --config …` does the same on several processes.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command
from prm_train.training.config import LossSettings, TrainOrmConfig, check_named

if TYPE_CHECKING:
    from prm_train.encoding.paths import ScorerEncoding
    from prm_train.examples.examples import Example, ExampleSet
    from prm_train.examples.outcome import Pair
    from prm_train.training.run import Task

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(TrainOrmConfig, argv)
    check_named(config)
    # only now, so that a mistake in the configuration is answered at once
    from prm_train.training.run import run_training

    if config.objective == "pairs" and config.calibration == "none":
        config = with_platt(config)
    run_training(orm_task(config), config)


def with_platt(config: TrainOrmConfig) -> TrainOrmConfig:
    """Pairs fix differences of logits alone: without a calibration their sigmoids mean nothing."""
    if config.validation_share:
        return replace(config, calibration="platt")
    logger.warning(
        "objective pairs with validation_share 0: no calibration; scores rank the solutions of a question and are no probabilities"
    )
    return config


def orm_task(config: TrainOrmConfig) -> "Task":
    """Raises InputError if the rows are malformed or cannot be paired."""
    from data_gen.rows.layouts import OrmHistoryRow, OrmPair
    from prm_train.checkpoints.facts import CheckpointFacts
    from prm_train.examples.outcome import pairs_of_rows, pairs_within_questions
    from prm_train.kinds.orm import ORM
    from prm_train.training.run import Task

    rows = ORM.read_rows(config.rows)
    has_attempts = any(isinstance(row, OrmHistoryRow) for row in rows)
    if has_attempts and config.candidates is not None:
        raise InputError(
            f"candidates {config.candidates}: {config.rows} holds solutions after earlier attempts, which candidates are not; expected null"
        )
    is_reward = config.objective == "pairs"

    def examples(encoding: "ScorerEncoding", max_length: int) -> "ExampleSet":
        return ORM.examples(rows, encoding, max_length)

    def facts(encoding: "ScorerEncoding") -> CheckpointFacts:
        return ORM.facts(encoding, is_reward, has_attempts)

    if not is_reward:
        return Task("orm", examples, LossSettings(), facts)
    if has_attempts:
        raise InputError(
            f"{config.rows}: rows with earlier attempts, which differ in them, so that pairs would too; expected objective pointwise"
        )

    from prm_train.training.pair_trainer import PairTask

    def pairs(solutions: Sequence["Example"], encoding: "ScorerEncoding") -> "list[Pair]":
        given = [row for row in rows if isinstance(row, OrmPair)]
        return (
            pairs_of_rows(given, solutions, encoding)
            if given
            else pairs_within_questions(solutions, config.max_pairs_per_question, config.seed)
        )

    return PairTask("orm", examples, LossSettings(), facts, pairs)


if __name__ == "__main__":
    run_command(main, "train-orm")
