"""What a base must be before it is trained: all that a checkpoint holds but its weights is written once and checked."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from data_gen.records.chats import Message
from prm_train.checkpoints.facts import Kind
from prm_train.encoding.paths import ScorerEncoding
from prm_train.networks.special_ids import check_padding
from prm_train.publishing.publishable import PROBES, check_publishable
from prm_train.publishing.scored_paths import ScoredPath
from prm_train.training.config import TrainingConfig


def check_before_training(model: Any, encoding: ScorerEncoding, kind: Kind, questions: Sequence[str], config: TrainingConfig) -> None:
    """Write all of a checkpoint but its weights, and check that. Raises InputError naming the base, as `check_publishable`.

    A tokenizer with code of its own is not loaded again: `publish` takes none.
    """
    source = f"model {config.model}"
    if config.trust_remote_code:
        check_padding(model.config, source)
        return
    paths = [ScoredPath((Message("user", text),), (text,)) for text in (*PROBES, *questions)]
    with TemporaryDirectory() as name:
        model.config.save_pretrained(name)
        encoding.tokenizer.save_pretrained(name)
        check_publishable(Path(name), model.config, encoding, kind, paths, source, "trained")
