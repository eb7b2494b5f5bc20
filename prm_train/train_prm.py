"""`prm-train train-prm`: a process reward model from labeled steps.

`accelerate launch -m prm_train.train_prm --config …` does the same on several processes.

How it works is in seven files, in this order:

    train_prm.py                  settings and rows become a training
    training/run.py               begin, train, finish: what every kind of training does
    training/scorer_training.py   PrmTraining: what is special about a PRM
    training/reward_trainer.py    RewardTrainer: one optimizer step, validation, optimizer
    examples/examples.py          rows become ids, with a target at the end of each labeled step
    training/scorer_network.py    a language model gets a head for scores, and is written
    training/save.py              the checkpoint is compared with the model in memory
"""

from collections.abc import Sequence

from data_gen.settings.parse import parse_config, run_command
from prm_train.training.config import TrainPrmConfig, check_named


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(TrainPrmConfig, argv)
    check_named(config)
    # only now, so that a mistake in the configuration is answered at once
    from data_gen.rows.layouts import PrmRow, read_rows
    from prm_train.training.run import run_training
    from prm_train.training.scorer_training import PrmTraining

    run_training(PrmTraining(read_rows(config.rows, PrmRow), config))


if __name__ == "__main__":
    run_command(main, "train-prm")
