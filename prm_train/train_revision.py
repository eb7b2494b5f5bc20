"""`prm-train train-revision`: a model that revises its attempts, by SFT on revision trajectories (Snell et
al. 2024, section 6.1, App. H).

`accelerate launch -m prm_train.train_revision --config …` does the same on several processes. The checkpoint
is a plain causal language model: it runs as a policy in `sample` and `search`. The report says what it does
with held-out chains.
"""

from collections.abc import Sequence

from data_gen.settings.parse import parse_config, run_command
from prm_train.training.config import TrainRevisionConfig, check_named


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(TrainRevisionConfig, argv)
    check_named(config)
    # only now, so that a mistake in the configuration is answered at once
    from data_gen.rows.layouts import RevisionRow, read_rows
    from prm_train.training.revision import RevisionTraining, report_rates
    from prm_train.training.run import run_training

    rows = read_rows(config.rows, RevisionRow)
    run_training(RevisionTraining(rows, config))
    if not config.forecast:
        report_rates(rows, config)


if __name__ == "__main__":
    run_command(main, "train-revision")
