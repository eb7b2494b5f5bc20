"""`prm-train train-prm`: a process reward model from labelled steps.

`accelerate launch -m prm_train.train_prm --config …` does the same on several processes.
"""

from collections.abc import Sequence

from data_gen.settings.parse import parse_config, run_command
from prm_train.training.config import TrainPrmConfig, check_named


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(TrainPrmConfig, argv)
    check_named(config)
    # only now, so that a mistake in the configuration is answered at once
    from data_gen.rows.layouts import PrmRow, read_rows
    from prm_train.kinds.prm import PRM
    from prm_train.training.run import Task, run_training

    rows = read_rows(config.rows, PrmRow)
    task = Task(
        kind="prm",
        examples=lambda encoding, max_length: PRM.examples(rows, encoding, max_length, config),
        loss=config,
        facts=lambda encoding: PRM.facts(encoding, config.semantics, config.aggregation),
    )
    run_training(task, config)


if __name__ == "__main__":
    run_command(main, "train-prm")
