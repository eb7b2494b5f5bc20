"""Tests of the digests that ids of policies and scorers are made of."""

from hashlib import sha256
from pathlib import Path

import pytest
import torch
from torch import nn

from data_gen.models.weights_digest import POLICY_LINE, SCORER_LINE, weight_files_digest, weights_digest
from data_gen.problems.arithmetic.task import BASE_POLICY
from data_gen.settings.errors import InputError


def small_model() -> nn.Module:
    model = nn.Module()
    model.register_buffer("b", torch.tensor([[1, 2]], dtype=torch.uint8))
    model.register_buffer("a", torch.tensor(3, dtype=torch.uint8))
    return model


def test_a_digest_is_that_of_a_line_and_the_bytes_of_each_weight_by_name():
    text = b"a () torch.uint8\x03b (1, 2) torch.uint8\x01\x02"
    assert weights_digest(POLICY_LINE, small_model()) == sha256(text).hexdigest()
    text = b"a torch.uint8 ()\x03b torch.uint8 (1, 2)\x01\x02"
    assert weights_digest(SCORER_LINE, small_model(), small_model()) == sha256(text * 2).hexdigest()


def test_the_digest_of_files_tells_name_size_and_bytes(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_bytes(b"{}")
    assert weight_files_digest(tmp_path) == sha256(b"model.safetensors 7weightsconfig.json 2{}").hexdigest()
    with pytest.raises(InputError, match=r"tests: holds no \*.safetensors"):
        weight_files_digest(Path("tests"))


def test_ids_that_ledgers_and_published_figures_name_stay():
    from data_gen.policies.config import load_policy

    assert load_policy("base").policy_id == "3a43f09c868360216bea7eac8f26a0e1"
    assert (
        weight_files_digest(BASE_POLICY) == "e182bf95d6c74074dfe445023fa300fb3599fa96e2a61ec3f5b6123bf6b9ee30"
    )
