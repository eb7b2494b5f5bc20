"""`prm-train convert-config`: a config for `train-prm` from the YAML file of TRL's PRMTrainer.

    prm-train convert-config --trl trl.yaml --rows rows.jsonl --output configs/train_prm/ours.yaml

Reads what `TrlParser` read: the settings of PRMConfig, ModelConfig and ScriptArguments in one file (TRL 1.13,
the last release with a PRMTrainer). Settings that are not there have TRL's defaults, which are written where
they are not ours. What cannot be taken over is refused by its name, all at once, and nothing is written; take
its line out of the file to do without it. What is left out since it changes no weights stands in a comment.
docs/from_trl.md says what differs.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from data_gen.files.jsonl import write_text
from data_gen.models.names import check_inputs
from data_gen.settings.errors import InputError
from data_gen.settings.fields import field_types, type_name
from data_gen.settings.parse import dump_config, parse_config, run_command
from data_gen.settings.values import Yaml12Loader, compose, fits
from prm_train.training.config import TrainPrmConfig
from prm_train.training.from_trl import LEFT_OUT, TrlPrmSettings, converted, misfits, remarks

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ConvertConfigConfig:
    """Turn the config of a PRM training with TRL into one for `train-prm`."""

    trl: Path = field(metadata={"is_input": True, "help": "YAML file of a training with TRL's PRMTrainer"})
    output: Path = field(metadata={"help": "YAML file to write"})
    rows: Path | None = field(
        default=None,
        metadata={
            "help": "PRM rows to train on, in place of dataset_name; null: dataset_name is itself a file of "
            "JSON lines"
        },
    )

    def __post_init__(self) -> None:
        if self.trl.resolve() == self.output.resolve():
            raise ValueError(f"output: {self.output} is the file of TRL; expected another file")


def read_trl(path: Path) -> tuple[TrlPrmSettings, list[str], list[str]]:
    """The settings that the file says, those that change no weights, and a line for each that cannot be read:
    unknown, or of the wrong type (which then has its default).
    """
    try:
        text = path.read_text(encoding="utf-8")
        compose(text)  # bounds it
        values = yaml.load(text, Yaml12Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not usable as YAML text: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected keys and values")
    types = field_types(TrlPrmSettings)
    faults = [
        f"{name}: train-prm has nothing like it"
        if name not in types
        else f"{name}: got {value!r}, expected {type_name(types[name])}"
        for name, value in values.items()
        if name not in LEFT_OUT and not (name in types and fits(value, types[name]))
    ]
    known = {name: value for name, value in values.items() if name in types and fits(value, types[name])}
    return TrlPrmSettings(**known), sorted(values.keys() & LEFT_OUT), faults


def convert_config(config: ConvertConfigConfig) -> TrainPrmConfig:
    """Write the config and return it. Raises InputError with the name of each setting that does not fit."""
    trl, left_out, faults = read_trl(config.trl)
    rows, faults = config.rows, [*faults, *misfits(trl)]
    if rows is None:
        rows = Path(trl.dataset_name or "")
        if rows.suffix not in (".json", ".jsonl"):
            faults.append(
                f"dataset_name: got {trl.dataset_name!r}, expected a .jsonl file, or --rows with its rows"
            )
    if faults:
        raise InputError(f"{config.trl} cannot be taken over: " + "; ".join(faults))
    try:
        found = converted(trl, rows)
    except ValueError as error:
        raise InputError(f"{config.trl}: {error}") from None
    notes = list(remarks(trl))
    if left_out:
        notes.append(f"left out, since they change no weights: {', '.join(left_out)}")
    write_text(config.output, as_yaml(found, config.trl, notes))
    return found


def as_yaml(config: TrainPrmConfig, source: Path, notes: Sequence[str]) -> str:
    """What differs from the defaults of train-prm, below the notes as comments."""
    defaults = dump_config(TrainPrmConfig(rows=Path(), output=Path(), model=""))
    changed = {name: value for name, value in dump_config(config).items() if value != defaults[name]}
    lines = [f"From {source.name}, settings of TRL's PRMTrainer, by `prm-train convert-config`.", *notes]
    return "".join(f"# {line}\n" for line in lines) + yaml.safe_dump(changed, sort_keys=False, width=110)


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(ConvertConfigConfig, argv)
    check_inputs(config)
    convert_config(config)
    logger.info("%s: written; prm-train train-prm --config %s trains with it", config.output, config.output)


if __name__ == "__main__":
    run_command(main, "convert-config")
