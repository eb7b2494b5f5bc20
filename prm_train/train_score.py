"""`prm-train train-score`: a policy that corrects itself, by reinforcement learning in two stages (SCoRe,
Kumar et al. 2024).

The checkpoint is a plain causal language model: it runs as a policy in `sample`, and as the revision model of
`search`. The report says what it does with problems that it was not trained on.
"""

from collections.abc import Sequence

from data_gen.models.names import check_inputs
from data_gen.settings.parse import parse_config, run_command
from prm_train.self_correction.settings import TrainScoreConfig


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(TrainScoreConfig, argv)
    if not (config.output / "training" / "report.json").exists():
        check_inputs(config)
    # only now, so that a mistake in the configuration is answered at once
    from prm_train.self_correction.run import run_score

    run_score(config)


if __name__ == "__main__":
    run_command(main, "train-score")
