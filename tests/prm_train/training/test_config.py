"""Settings that a training could not use are refused with the configuration, before anything is read or
loaded.
"""

from pathlib import Path
from typing import Any

import pytest

from data_gen.settings.errors import ConfigError
from data_gen.settings.fields import field_types, field_words
from data_gen.settings.parse import parse_config
from prm_train.training.config import (
    TrainImplicitPrmConfig,
    TrainOrmConfig,
    TrainPrmConfig,
    TrainRevisionConfig,
    TrainVerifierConfig,
)
from prm_train.training.settings import TrainingConfig

NOTHING: dict[str, Any] = {"rows": Path("no rows"), "output": Path("no output"), "model": "base"}
GROUPS = {
    "batch_tokens": "2000",
    "packing": "true",
    "head_learning_rate": "0.1",
    "head_dropout": "0.1",
    "quantization": "nf4",
    "calibration": "platt",
    "candidates": "results.jsonl",
    "n_candidates": "4",
    "n_candidate_problems": "4",
    "monitoring_share": "0.1",
}
A_HEAD = {"batch_tokens", "head_learning_rate", "head_dropout", "quantization", "calibration"}
CHOICES = {"candidates", "n_candidates", "n_candidate_problems", "monitoring_share"}
TAKEN: dict[type[TrainingConfig], set[str]] = {
    TrainPrmConfig: A_HEAD | CHOICES | {"packing"},
    TrainOrmConfig: A_HEAD | CHOICES,
    TrainImplicitPrmConfig: {"batch_tokens", "calibration"},
    TrainVerifierConfig: {"quantization", "calibration"},
    TrainRevisionConfig: {"quantization"},
}


@pytest.mark.parametrize("kind", TAKEN, ids=lambda kind: kind.__name__)
def test_each_kind_knows_the_settings_of_its_groups_and_no_others(kind: type[TrainingConfig]) -> None:
    words = [word for name, value in NOTHING.items() for word in (f"--{name}", str(value))]
    for name, value in GROUPS.items():
        given = [*words, "--lora.rank", "2", f"--{name}", value]  # LoRA, since 4 bits are for it alone
        if name in TAKEN[kind]:
            assert parse_config(kind, given) != parse_config(kind, given[:-2])
        else:
            with pytest.raises(ConfigError, match=rf"unknown key {name} \(command line\)"):
                parse_config(kind, given)


def test_pairs_are_not_chosen_by_candidates() -> None:
    with pytest.raises(
        ValueError, match=r"candidates: got results\.jsonl with objective pairs, expected null"
    ):
        TrainOrmConfig(**NOTHING, objective="pairs", candidates=Path("results.jsonl"))


def test_a_calibration_needs_validation_questions() -> None:
    with pytest.raises(ValueError, match="validation_share: got 0 with calibration platt, expected more"):
        TrainVerifierConfig(**NOTHING, validation_share=0.0, calibration="platt")


@pytest.mark.parametrize("kind", TAKEN, ids=lambda kind: kind.__name__)
def test_every_setting_says_what_it_is_and_no_help_needs_a_name_before_it(kind: type[TrainingConfig]) -> None:
    words = field_words(kind)
    assert [name for name in field_types(kind) if not words[name] or words[name].startswith("of ")] == []
