"""`prm-train train-orm`: an outcome reward model from whole solutions that are right or wrong, one by one or
in pairs.

`accelerate launch -m prm_train.train_orm --config …` does the same on several processes.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

from data_gen.settings.parse import parse_config, run_command
from prm_train.training.config import TrainOrmConfig, check_named

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(TrainOrmConfig, argv)
    check_named(config)
    # only now, so that a mistake in the configuration is answered at once
    from prm_train.examples.outcome import read_outcome_rows
    from prm_train.training.run import run_training

    rows = read_outcome_rows(config.rows)
    if config.objective == "pointwise":
        from prm_train.training.scorer_training import OrmTraining

        run_training(OrmTraining(rows, config))
    else:
        from prm_train.training.pair_trainer import PairTraining  # which loads TRL

        run_training(PairTraining(rows, with_calibration(config)))


def with_calibration(config: TrainOrmConfig) -> TrainOrmConfig:
    """Pairs fix differences of logits alone: without a calibration their sigmoids mean nothing."""
    if config.calibration != "none":
        return config
    if config.validation_share:
        return replace(config, calibration="platt")
    logger.warning(
        "objective pairs with validation_share 0: no calibration; scores rank the solutions of a question "
        "and are no probabilities"
    )
    return config


if __name__ == "__main__":
    run_command(main, "train-orm")
