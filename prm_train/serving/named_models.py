"""Further models of a server beside its own policy and scorer: each has a name, by which clients choose it,
and a YAML file with its settings.

    policies: {large: configs/policies/large.yaml}      # what stands under `policy`: model, dtype, servers, …
    scorers: {orm: configs/scorers/orm.yaml}            # prm or orm, and what stands under `scorer`

The large policy of a router is one of them, named as its model is (of a folder the last part).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from data_gen.models.names import check_inputs
from data_gen.policies.config import PolicyConfig
from data_gen.policies.protocol import Policy
from data_gen.settings.errors import InputError
from data_gen.settings.parse import load_yaml
from prm_train.scoring.foreign.settings import AUTO, PrmFormat
from prm_train.scoring.protocol import Scorer
from prm_train.search.scorer_config import ScorerConfig


@dataclass(frozen=True)
class NamedScorerConfig:
    """A file of `scorers`. One that is no PRM of this process's policy takes its device and type from it all
    the same.
    """

    scorer: ScorerConfig = field(default_factory=ScorerConfig)
    prm: str | None = field(default=None, metadata={"is_model": True, "help": "folder or Hub name of a PRM"})
    prm_format: PrmFormat = field(
        default=AUTO, metadata={"help": "how to read a PRM of another project, as for serve"}
    )
    orm: str | None = field(default=None, metadata={"is_model": True, "help": "folder or Hub name of an ORM"})

    def __post_init__(self) -> None:
        if (self.prm is None) == (self.orm is None):
            raise ValueError("prm, orm: expected one of them")
        self.scorer.check_one(self.prm, self.orm)

    def load(self, policy: PolicyConfig) -> Scorer:
        path = self.prm or self.orm
        assert path is not None
        return self.scorer.load(path, policy, self.prm_format)


def shown_name(model: str) -> str:
    """By which clients know a model that was given no name: a folder's or a file's last part, since where it
    lies on this machine is not for them; a Hub name whole.
    """
    place = model.removeprefix("gguf:")
    is_path = (
        place != model or Path(place).is_absolute() or place.startswith((".", "~")) or Path(place).exists()
    )
    return Path(place).absolute().name if is_path else model


def read_policies(files: Mapping[str, Path]) -> dict[str, PolicyConfig]:
    """By name. Raises InputError for a file that is not there or cannot be read, and for one without a
    model.
    """
    found = {name: load_yaml(PolicyConfig, _existing(name, path)) for name, path in files.items()}
    for name, config in found.items():
        if config.model is None:
            raise InputError(f"policies: {name}: {files[name]} names no model, expected one")
    return found


def read_scorers(files: Mapping[str, Path]) -> dict[str, NamedScorerConfig]:
    return {name: load_yaml(NamedScorerConfig, _existing(name, path)) for name, path in files.items()}


def check_named(policies: Mapping[str, Path], scorers: Mapping[str, Path]) -> None:
    """Raises InputError for files and models that are not there, without loading anything."""
    for policy in read_policies(policies).values():
        policy.check()
    for scorer in read_scorers(scorers).values():
        check_inputs(scorer)
        check_inputs(scorer.scorer, "scorer.")


def load_policies(files: Mapping[str, Path]) -> dict[str, Policy]:
    return {name: config.load() for name, config in read_policies(files).items()}


def load_scorers(files: Mapping[str, Path], policy: PolicyConfig) -> dict[str, Scorer]:
    return {name: config.load(policy) for name, config in read_scorers(files).items()}


def check_names(names: Iterable[str | None]) -> None:
    """Raises ValueError for one that two models have: clients could not tell them apart."""
    seen = set[str]()
    for name in names:
        if name in seen:
            raise ValueError(
                f"policies, scorers: {name!r} names two models, expected a name of its own for each (`name` "
                "gives one to the server's policy)"
            )
        seen |= {name} if name is not None else set()


def _existing(name: str, path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"policies, scorers: {name}: {path}: no such file")
    return path
