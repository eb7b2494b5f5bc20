"""`prm-train grpo`: a policy trained by TRL's GRPO on verdicts, scores of an ORM and credit for steps.

`accelerate launch -m prm_train.grpo --config …` does the same on several processes. The checkpoint is a
plain causal language model: it runs as a policy in `sample` and `search`.
"""

from collections.abc import Sequence

from data_gen.models.names import check_inputs
from data_gen.settings.parse import parse_config, run_command
from prm_train.rl.settings import GrpoConfig


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(GrpoConfig, argv)
    if not (config.output / "training" / "report.json").exists():
        check_inputs(config)
    # only now, so that a mistake in the configuration is answered at once
    from prm_train.rl.training import train_grpo

    train_grpo(config)


if __name__ == "__main__":
    run_command(main, "grpo")
