"""Models small enough to train or search with in a test."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from data_gen.rows.layouts import OrmRow, write_rows


@pytest.fixture(scope="session")
def tiny_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Qwen2 language model of two layers, with a tokenizer of the project."""
    from transformers import Qwen2Config, Qwen2ForCausalLM, set_seed

    from data_gen.models.tokenizer import train_tokenizer
    from tests.tiny_models import SMALLEST

    folder = tmp_path_factory.mktemp("tiny_policy")
    tokenizer = train_tokenizer(
        ["Start with 3: plus 4, times 2.\n3 plus 4 = 7\n7 times 2 = 14, keep 4\nAnswer: 7 4"], 300, 256
    )
    set_seed(0)
    ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    config = Qwen2Config(
        vocab_size=len(tokenizer), tie_word_embeddings=True, initializer_range=0.2, **ids, **SMALLEST
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def random_scorers(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of a random PRM and a random ORM."""
    import torch

    from prm_train.checkpoints.facts import CheckpointFacts, Kind
    from prm_train.training.scorer_network import build_scorer, save_scorer
    from prm_train.training.settings import ScorerConfig

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


@pytest.fixture
def orm_rows(tmp_path: Path) -> Path:
    """60 solutions of 20 questions; one is wrong where it says 9."""
    made = [
        OrmRow(
            f"p{i // 3}",
            f"Start with {i // 3}",
            f"{i % 10} plus 1 = {'9' if i % 3 else '8'}\nAnswer: {i % 7}",
            i % 3 == 0,
        )
        for i in range(60)
    ]
    write_rows(tmp_path / "orm.jsonl", made)
    return tmp_path / "orm.jsonl"


@pytest.fixture
def unpacked_4bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU with AVX512-BF16 bitsandbytes packs weights by 32 rows when a model scores; tiny models have
    fewer.
    """
    if find_spec("bitsandbytes"):
        monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: False)
