"""`prm-train train-verifier`: a generative verifier, a language model that says Yes or No after each step,
from labeled steps.

`accelerate launch -m prm_train.train_verifier --config …` does the same on several processes.
"""

from collections.abc import Sequence

from data_gen.settings.parse import parse_config, run_command
from prm_train.training.config import TrainVerifierConfig, check_named


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(TrainVerifierConfig, argv)
    check_named(config)
    # only now, so that a mistake in the configuration is answered at once
    from data_gen.rows.layouts import PrmRow, read_rows
    from prm_train.training.run import run_training
    from prm_train.training.verifier import VerifierTraining

    run_training(VerifierTraining(read_rows(config.rows, PrmRow), config))


if __name__ == "__main__":
    run_command(main, "train-verifier")
