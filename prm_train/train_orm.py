"""`prm-train train-orm`: an outcome reward model from whole solutions labelled right or wrong.

`accelerate launch -m prm_train.train_orm --config …` does the same on several processes.
"""

from collections.abc import Sequence

from data_gen.config import parse_config, run_command
from prm_train.training_config import LossSettings, TrainOrmConfig


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(TrainOrmConfig, argv)
    # only now, so that a mistake in the configuration is answered at once
    from data_gen.rows import OrmRow, read_rows
    from prm_train.checkpoints import CheckpointFacts
    from prm_train.examples import orm_examples
    from prm_train.training_run import Task, run_training

    rows = read_rows(config.rows, OrmRow)
    task = Task(
        kind="orm",
        examples=lambda encoding, max_length: orm_examples(rows, encoding, max_length),
        loss=LossSettings(),
        facts=lambda encoding: CheckpointFacts("orm", encoding.facts, "whether the whole solution's answer is right", "last"),
    )
    run_training(task, config)


if __name__ == "__main__":
    run_command(main, "train-orm")
