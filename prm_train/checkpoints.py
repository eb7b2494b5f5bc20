"""What a scorer's config.json says besides the network: how to encode for it and what its scores mean. One key, `prm_train`."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from data_gen.config import InputError
from prm_train.aggregation import Aggregation
from prm_train.encoding import EncodingFacts

CONFIG_KEY = "prm_train"
Kind = Literal["prm", "orm", "implicit_prm", "generative_verifier"]
Facts = TypeVar("Facts", bound="CheckpointFacts")


@dataclass(frozen=True)
class CheckpointFacts:
    """`labels` tells a reader what the training labels were; `aggregation` makes one score of a path's step scores (an ORM has one)."""

    kind: Kind
    encoding: EncodingFacts
    labels: str
    aggregation: Aggregation


def write_facts(facts: CheckpointFacts, model_config: Any) -> None:
    """Put the facts into a transformers config, which saves them with the model."""
    setattr(model_config, CONFIG_KEY, asdict(facts))


def read_facts(model_config: Any, kind: type[Facts] = CheckpointFacts) -> Facts:  # type: ignore[assignment]
    """Raises InputError if the model is no checkpoint of this project, or of another kind."""
    found, name = getattr(model_config, CONFIG_KEY, None), model_config.name_or_path
    if found is None:
        raise InputError(f"{name}: its config.json has no {CONFIG_KEY!r}; expected a model that train-prm or train-orm has written")
    try:
        return TypeAdapter(kind).validate_python(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (CONFIG_KEY, *first["loc"])))
        raise InputError(f"{name}: config.json: {where}: {first['msg']}, got {first['input']!r}") from None
