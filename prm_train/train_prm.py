"""`prm-train train-prm`: a process reward model from labeled steps.

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
    from prm_train.checkpoints.facts import CheckpointFacts
    from prm_train.examples.examples import prm_examples
    from prm_train.training.run import Task, run_training

    rows = read_rows(config.rows, PrmRow)
    task = Task(
        kind="prm",
        examples=lambda encoding, max_length: prm_examples(rows, encoding, config, max_length),
        loss=config,
        facts=lambda encoding: CheckpointFacts("prm", encoding.facts, config.semantics, config.aggregation),
    )
    run_training(task, config)


if __name__ == "__main__":
    run_command(main, "train-prm")
