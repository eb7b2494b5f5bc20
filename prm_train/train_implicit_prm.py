"""`prm-train train-implicit-prm`: step rewards from whole solutions that are right or wrong.

`accelerate launch -m prm_train.train_implicit_prm --config …` does the same on several processes.
"""

from collections.abc import Sequence

from data_gen.settings.parse import parse_config, run_command
from prm_train.training.config import LossSettings, TrainImplicitPrmConfig, check_named


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(TrainImplicitPrmConfig, argv)
    check_named(config)
    # only now, so that a mistake in the configuration is answered at once
    from data_gen.rows.layouts import OrmRow, read_rows
    from prm_train.kinds.implicit_prm import IMPLICIT_PRM
    from prm_train.training.implicit import ImplicitPrmTask, implicit_examples
    from prm_train.training.run import run_training

    rows = read_rows(config.rows, OrmRow)
    task = ImplicitPrmTask(
        kind="implicit_prm",
        examples=lambda encoding, max_length: implicit_examples(rows, encoding, max_length),
        loss=LossSettings(),
        facts=lambda encoding: IMPLICIT_PRM.facts(encoding, config.beta),
        beta=config.beta,
    )
    run_training(task, config)


if __name__ == "__main__":
    run_command(main, "train-implicit-prm")
