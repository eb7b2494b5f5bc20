"""`prm-train train-verifier`: a generative verifier, a language model that says Yes or No after each step, from labeled steps.

`accelerate launch -m prm_train.train_verifier --config …` does the same on several processes.
"""

from collections.abc import Sequence

from data_gen.settings.parse import parse_config, run_command
from prm_train.training.config import LossSettings, TrainVerifierConfig, check_named


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(TrainVerifierConfig, argv)
    check_named(config)
    # only now, so that a mistake in the configuration is answered at once
    from data_gen.rows.layouts import PrmRow, read_rows
    from prm_train.checkpoints.verifier import verifier_facts
    from prm_train.examples.verdicts import verdict_examples
    from prm_train.training.run import run_training
    from prm_train.training.verifier import VerifierTask

    rows = read_rows(config.rows, PrmRow)
    task = VerifierTask(
        kind="generative_verifier",
        examples=lambda encoding, max_length: verdict_examples(rows, encoding, max_length),
        loss=LossSettings(),
        facts=lambda encoding: verifier_facts(encoding, config.aggregation),
        ask=config.ask,
    )
    run_training(task, config)


if __name__ == "__main__":
    run_command(main, "train-verifier")
