"""What the tests of searches share."""

from pathlib import Path

import pytest
import torch

from prm_train.checkpoints.facts import CheckpointFacts, Kind
from prm_train.training.scorer_network import build_scorer, save_scorer
from prm_train.training.settings import ScorerConfig


@pytest.fixture(scope="session")
def random_scorers(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of a random PRM and a random ORM."""
    kinds: tuple[Kind, ...] = ("prm", "orm")
    folders: dict[str, str] = {}
    for kind in kinds:
        folder = tmp_path_factory.mktemp(kind)
        torch.manual_seed(0)
        model, encoding = build_scorer(
            kind, ScorerConfig(rows=Path("unused"), output=folder, model=str(tiny_policy))
        )
        save_scorer(
            model, encoding, CheckpointFacts(kind, encoding.facts, "none, it is random", "min"), folder
        )
        folders[kind] = str(folder)
    return folders
