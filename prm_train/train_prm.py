"""`prm-train train-prm`: a process reward model from labelled steps.

`accelerate launch -m prm_train.train_prm --config …` does the same on several processes.
"""

from collections.abc import Sequence

from data_gen.config import parse_config, run_command
from prm_train.training_config import TrainPrmConfig

LABELS = {
    "hard": "whether the step is right, from Monte Carlo rollouts: 1 up to the first error, 0 at it",
    "soft": "value of the prefix that ends with the step: share of right rollouts from it",
}


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(TrainPrmConfig, argv)
    # only now, so that a mistake in the configuration is answered at once
    from data_gen.rows import PrmRow, read_rows
    from prm_train.checkpoints import CheckpointFacts
    from prm_train.examples import prm_examples
    from prm_train.training_run import Task, run_training

    rows = read_rows(config.rows, PrmRow)
    task = Task(
        kind="prm",
        examples=lambda encoding, max_length: prm_examples(rows, encoding, config.label_kind, max_length),
        facts=lambda encoding: CheckpointFacts("prm", encoding.facts, LABELS[config.label_kind], config.aggregation),
    )
    run_training(task, config)


if __name__ == "__main__":
    run_command(main, "train-prm")
