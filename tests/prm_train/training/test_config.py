"""Settings that a training could not use are refused with the configuration, before anything is read or loaded."""

from pathlib import Path
from typing import Any

import pytest

from prm_train.training.config import TrainImplicitPrmConfig, TrainingConfig, TrainOrmConfig, TrainRevisionConfig, TrainVerifierConfig

NOTHING: dict[str, Any] = {"rows": Path("no rows"), "output": Path("no output"), "model": "base"}


@pytest.mark.parametrize(
    ("kind", "more", "trained"),
    [
        (TrainOrmConfig, {"objective": "pairs"}, "objective pairs"),
        (TrainImplicitPrmConfig, {}, "an implicit PRM"),
        (TrainVerifierConfig, {}, "a generative verifier"),
        (TrainRevisionConfig, {}, "a revision model"),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_candidates_are_for_prms_and_pointwise_orms(kind: type[TrainingConfig], more: dict[str, Any], trained: str) -> None:
    with pytest.raises(ValueError, match=f"candidates: got results.jsonl with {trained}, expected null"):
        kind(**NOTHING, **more, candidates=Path("results.jsonl"))


def test_a_revision_model_has_nothing_to_calibrate() -> None:
    with pytest.raises(ValueError, match="calibration: got platt, expected none: a revision model has no scores"):
        TrainRevisionConfig(**NOTHING, calibration="platt")
