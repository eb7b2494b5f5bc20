"""What a scorer's config.json says besides the network: how to encode for it and what its scores mean. One
key, `prm_train`.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from data_gen.files.jsonl import write_text
from data_gen.files.stored_record import read_object
from data_gen.models.pretrained import load_model_config
from data_gen.settings.errors import InputError
from prm_train.checkpoints.calibration import UNCALIBRATED as UNCALIBRATED
from prm_train.checkpoints.calibration import Calibration as Calibration
from prm_train.checkpoints.calibration import Reliability as Reliability
from prm_train.checkpoints.calibration import Threshold as Threshold
from prm_train.encoding.aggregation import Aggregation
from prm_train.encoding.paths import EncodingFacts

CONFIG_KEY = "prm_train"
Kind = str  # the name of a model kind: a key of `prm_train.kinds.lookup.KINDS`
Facts = TypeVar("Facts", bound="CheckpointFacts")


@dataclass(frozen=True)
class CheckpointFacts:
    """`labels` tells a reader what the training labels were; `aggregation` makes one score of a path's step
    scores (an ORM has one).

    Of an ORM: `is_reward` says that it was trained on pairs, so that its logit is a Bradley-Terry reward,
    whose differences within a question mean something and whose zero point does not; `has_attempts` that its
    prompts show earlier attempts.

    Checkpoints written before there was calibration lack it, and their scores are those of the network.
    `reliability` is None where nothing was held out, and in those of earlier versions.
    """

    kind: Kind
    encoding: EncodingFacts
    labels: str
    aggregation: Aggregation
    calibration: Calibration = UNCALIBRATED
    thresholds: tuple[Threshold, ...] = ()
    is_reward: bool = False
    has_attempts: bool = False
    reliability: Reliability | None = None


def score_facts(facts: CheckpointFacts) -> dict[str, Any]:
    """What of the facts decides a score: thresholds, reliability and what only describes do not, nor does a
    calibration that changes nothing.
    """
    found = asdict(facts)
    for name in ("thresholds", "is_reward", "has_attempts", "reliability"):
        del found[name]
    if facts.calibration == UNCALIBRATED:
        del found["calibration"]
    return found


def read_facts(model_config: Any) -> CheckpointFacts:
    """Raises InputError if the model is no checkpoint of this project."""
    return read_facts_of(model_config, CheckpointFacts)


def read_facts_of(model_config: Any, kind: type[Facts]) -> Facts:
    """The facts of a kind that has more of them. Raises InputError if the checkpoint is of another kind."""
    found, name = getattr(model_config, CONFIG_KEY, None), model_config.name_or_path
    if found is None:
        raise InputError(
            f"{name}: its config.json has no {CONFIG_KEY!r}; expected a model that train-prm or train-orm "
            "has written"
        )
    try:
        return TypeAdapter(kind).validate_python(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (CONFIG_KEY, *first["loc"])))
        raise InputError(f"{name}: config.json: {where}: {first['msg']}, got {first['input']!r}") from None


def read_config_facts(path: str, trust_remote_code: bool = False) -> CheckpointFacts:
    """The facts of a checkpoint's config.json alone, of a folder or a Hub name."""
    return read_facts(load_model_config(path, trust_remote_code))


def store_calibration(
    folder: Path,
    calibration: Calibration,
    thresholds: tuple[Threshold, ...],
    reliability: Reliability | None = None,
) -> None:
    """Write a calibration into the config.json of a checkpoint. Thresholds and reliability are of calibrated
    scores: earlier ones are dropped.
    """
    _store(
        folder,
        {
            "calibration": asdict(calibration),
            "thresholds": [asdict(threshold) for threshold in thresholds],
            "reliability": asdict(reliability) if reliability else None,
        },
    )


def store_threshold(folder: Path, threshold: Threshold) -> None:
    """Write one threshold into the config.json of a checkpoint; an earlier one that was tuned on the same set
    is replaced.
    """
    others = [
        each
        for each in _read(folder)[CONFIG_KEY].get("thresholds", ())
        if each["tuned_on"] != threshold.tuned_on
    ]
    _store(folder, {"thresholds": [*others, asdict(threshold)]})


def _store(folder: Path, new: dict[str, Any]) -> None:
    config = _read(folder)
    config[CONFIG_KEY] |= new
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")


def _read(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(
            f"{folder}: no config.json there; expected the folder of a checkpoint, on this machine"
        )
    config = read_object(path)
    if CONFIG_KEY not in config:
        raise InputError(
            f"{path}: no {CONFIG_KEY!r}; expected a model that train-prm or train-orm has written"
        )
    return config
