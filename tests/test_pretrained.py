"""Models that are not where a command looks for them."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from data_gen.config import InputError
from data_gen.policies.transformers_policy import load_policy
from data_gen.policy_config import BASE_POLICY
from data_gen.pretrained import from_hub_or_folder
from data_gen.tokenizer import load_tokenizer
from prm_train.checkpoints import read_config_facts
from prm_train.incremental import load_scorer
from prm_train.memory_estimate import main as estimate_memory
from prm_train.modeling import load_checkpoint


def test_a_name_that_the_hub_does_not_know_is_one_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"model nobody/none: not loaded: .*; expected a local folder of a model, or a name on the Hub"):
        load_tokenizer("nobody/none")
    with pytest.raises(InputError, match="model nobody/none: not loaded"):
        estimate_memory(["--model", "nobody/none", "--rows", "rows.jsonl", "--output", "out"])


def test_a_folder_without_weights_is_named(tmp_path: Path):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((BASE_POLICY / name).read_bytes())
    with pytest.raises(InputError, match=rf"model {tmp_path}: not loaded: .*model\.safetensors"):
        load_policy(str(tmp_path))


def test_a_failing_disk_is_no_missing_model():
    with pytest.raises(OSError, match="No space left"), from_hub_or_folder("base"):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("load", [load_scorer, load_checkpoint, read_config_facts])
def test_a_scorer_that_is_not_there_is_named(load: Callable[[str], object], tmp_path: Path):
    with pytest.raises(InputError, match=rf"model {tmp_path}/none: not loaded: .*; expected a local folder of a model"):
        load(f"{tmp_path}/none")
