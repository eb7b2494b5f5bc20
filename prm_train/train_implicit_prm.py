"""`prm-train train-implicit-prm`: step rewards from whole solutions that are right or wrong.

`accelerate launch -m prm_train.train_implicit_prm --config …` does the same on several processes.
"""

from collections.abc import Sequence

from data_gen.settings.parse import parse_config, run_command
from prm_train.training.config import TrainImplicitPrmConfig, check_named


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(TrainImplicitPrmConfig, argv)
    check_named(config)
    # only now, so that a mistake in the configuration is answered at once
    from data_gen.rows.layouts import OrmRow, read_rows
    from prm_train.training.implicit import ImplicitPrmTraining
    from prm_train.training.run import run_training

    run_training(ImplicitPrmTraining(read_rows(config.rows, OrmRow), config))


if __name__ == "__main__":
    run_command(main, "train-implicit-prm")
