"""`prm-train train-policy`: a language model that solves problems as the solutions it is shown do (SFT).

`accelerate launch -m prm_train.train_policy --config …` does the same on several processes. The checkpoint is
a plain causal language model: it runs as a policy in `sample` and `search`, and is a base for scorers.
"""

from collections.abc import Sequence

from data_gen.settings.parse import parse_config, run_command
from prm_train.training.config import TrainPolicyConfig, check_named


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(TrainPolicyConfig, argv)
    check_named(config)
    # only now, so that a mistake in the configuration is answered at once
    from prm_train.training.policy import PolicyTraining, read_solutions
    from prm_train.training.run import run_training

    run_training(PolicyTraining(read_solutions(config.rows), config))


if __name__ == "__main__":
    run_command(main, "train-policy")
