"""The model kinds by their names in config.json; the module of one is loaded when it is first asked for."""

import importlib
from dataclasses import asdict
from typing import Any

from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CONFIG_KEY, CheckpointFacts, read_facts
from prm_train.kinds.model_kind import ModelKind

# Where each kind's object is: module:name.
KINDS = {
    "prm": "prm_train.kinds.prm:PRM",
    "orm": "prm_train.kinds.orm:ORM",
    "implicit_prm": "prm_train.kinds.implicit_prm:IMPLICIT_PRM",
    "generative_verifier": "prm_train.kinds.generative_verifier:GENERATIVE_VERIFIER",
    "revision": "prm_train.kinds.revision:REVISION",
}


def kind_named(name: str) -> ModelKind:
    """Raises KeyError if there is no such kind."""
    module, _, attribute = KINDS[name].partition(":")
    kind: ModelKind = getattr(importlib.import_module(module), attribute)
    return kind


def kind_of(model_config: Any) -> ModelKind:
    """The kind of a checkpoint. Raises InputError if it is none of this project, or of a kind that this
    version does not know.
    """
    name = read_facts(model_config).kind
    if name not in KINDS:
        raise InputError(
            f"{model_config.name_or_path}: config.json: {CONFIG_KEY}.kind: got {name!r}, expected one of "
            f"{', '.join(KINDS)}"
        )
    return kind_named(name)


def write_facts(facts: CheckpointFacts, model_config: Any) -> None:
    """Put the facts into a transformers config, which saves them with the model."""
    setattr(model_config, CONFIG_KEY, asdict(facts) | {"reading": kind_named(facts.kind).reading})
