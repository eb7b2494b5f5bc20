from pathlib import Path
from typing import Any

import pytest

from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config
from prm_train.rl.settings import GrpoConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("--batch_size", "48"), r"batch_size: got 48, expected a divisor of the 64 completions of a step"),
        (("--outcome_weight", "0"), r"rewards: got outcome_weight 0 and no orm, prm or format_pattern"),
        (("--format_pattern", "(a"), r"format_pattern: got '\(a', expected a regular expression"),
        (("--n_generations", "1"), r"n_generations"),
        (("--prm", "p", "--scale_rewards", "batch"), r"scale_rewards: got batch with a prm"),
        (("--credit", "sum"), r"credit"),
        (("--prompt_template", "Solve it"), r"prompt_template: got 'Solve it', expected a text that holds"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_the_reason(
    settings: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        parse_config(GrpoConfig, ["--output", str(tmp_path / "new"), "--model", "base", *settings])


def test_a_pass_may_hold_more_than_all_completions_of_a_step() -> None:
    more: dict[str, Any] = {"output": Path("new"), "model": "base"}
    assert GrpoConfig(n_prompts=2, n_generations=4, batch_size=64, **more).batch_size == 64
