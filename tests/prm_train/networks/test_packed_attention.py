"""Packed passes of tiny models against their rows one by one."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForTokenClassification

from prm_train.networks import packed_attention
from prm_train.networks.packed_attention import ATTENTION, VARLEN_ATTENTION, use_packed_attention
from tests.tiny_models import tiny_config, tiny_model

LENGTHS = (3, 5, 1, 8, 13, 2)  # six rows: four together, then two


def prm(name: str, **changes):
    config = tiny_config(name, 100, pad_token_id=0, num_labels=2, use_cache=False, **changes)
    return tiny_model(AutoModelForTokenClassification, config).double().eval()


@pytest.mark.parametrize("name", ["qwen2", "llama"])
def test_a_packed_pass_gives_the_logits_of_its_rows_alone(name):
    model = prm(name)
    rows = [[1 + (7 * i + n) % 99 for i in range(n)] for n in LENGTHS]
    with torch.no_grad():
        alone = torch.cat([model(input_ids=torch.tensor([row])).logits[0] for row in rows])
        padded = model(input_ids=torch.tensor([rows[3], rows[1] + 3 * [0]])).logits
        use_packed_attention(model, torch.device("cpu"))
        assert model.config._attn_implementation == ATTENTION
        positions = torch.tensor([[i for n in LENGTHS for i in range(n)]])
        packed = model(
            input_ids=torch.tensor([[token for row in rows for token in row]]), position_ids=positions
        ).logits[0]
        torch.testing.assert_close(packed, alone)
        # Rows that are padded, or stand alone, are taken as they were before
        again = model(input_ids=torch.tensor([rows[3], rows[1] + 3 * [0]])).logits
        torch.testing.assert_close(again, padded)
        torch.testing.assert_close(model(input_ids=torch.tensor([rows[4]])).logits[0], alone[17:30])


@pytest.mark.parametrize("name", ["gpt2", "mistral|window", "gemma2", "qwen3_next"])
def test_models_with_attention_of_their_own_keep_it(name):
    model = prm(name)
    before = model.config._attn_implementation
    use_packed_attention(model, torch.device("cpu"))
    assert model.config._attn_implementation == before


def test_a_model_with_small_heads_that_a_trainer_will_move_to_a_gpu_keeps_its_attention():
    model = prm("qwen2", num_attention_heads=8)  # of 4 numbers each, where the kernel takes multiples of 8
    assert model.device.type == "cpu"
    use_packed_attention(model, torch.device("cuda"))
    assert model.config._attn_implementation == "sdpa"


def test_a_gpu_that_is_older_than_the_kernel_keeps_torchs_attention(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    model = prm("qwen2")
    use_packed_attention(model, torch.device("cuda"))
    assert model.config._attn_implementation == "sdpa"


class Kernel:
    """Stands in for `varlen_attn`, which has no CPU version; keeps what it was told of the rows."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[int], int]] = []

    def __call__(self, query, key, value, *rows, window_size=(-1, -1)):
        bounds, key_bounds, longest, longest_key = rows
        assert query.dtype == key.dtype == value.dtype == torch.bfloat16
        assert bounds.dtype == torch.int32
        assert bounds is key_bounds
        assert longest == longest_key
        assert window_size == (-1, 0)
        self.calls.append((bounds.tolist(), longest))
        found = []
        for start, end in pairwise(bounds.tolist()):
            q, k, v = (states[start:end].transpose(0, 1)[None] for states in (query, key, value))
            row = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            found.append(row[0].transpose(0, 1))
        return torch.cat(found)


@pytest.mark.parametrize("is_autocast", [True, False])
@pytest.mark.parametrize("name", ["qwen2", "llama", "qwen3"])
def test_the_kernel_of_a_gpu_is_told_where_rows_begin(name, is_autocast, monkeypatch):
    kernel = Kernel()
    monkeypatch.setattr(
        packed_attention, "varlen_kernel", lambda: (kernel, packed_attention.varlen_options(kernel))
    )
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    model = prm(name).to(torch.float32 if is_autocast else torch.bfloat16)
    rows = [[1 + (7 * i + n) % 99 for i in range(n)] for n in LENGTHS]
    positions = torch.tensor([[i for n in LENGTHS for i in range(n)]])
    ids = torch.tensor([[token for row in rows for token in row]])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
        alone = torch.cat([model(input_ids=torch.tensor([row])).logits[0] for row in rows]).float()
        use_packed_attention(model, torch.device("cuda"))
        assert model.config._attn_implementation == VARLEN_ATTENTION
        packed = model(input_ids=ids, position_ids=positions).logits[0].float()
        # 8 bits, rounded in another order: the logits are of size 1
        torch.testing.assert_close(packed, alone, rtol=0, atol=0.05)
        assert kernel.calls == 2 * [([0, 3, 8, 9, 17, 30, 32], 13)]  # two layers
        model(input_ids=torch.tensor([rows[3], rows[1] + 3 * [0]]))  # padded
        assert len(kernel.calls) == 2


def test_float32_and_dropout_which_the_kernel_lacks_go_row_by_row():
    positions = torch.tensor([[0, 1, 2, 0, 1]])
    torch.manual_seed(0)
    options: dict[str, Any]
    for dtype, options in ((torch.float32, {}), (torch.bfloat16, {"dropout": 1e-9})):
        q, k, v = (torch.randn(1, 4, 5, 8, dtype=dtype) for _ in "qkv")
        found, _ = packed_attention.varlen_attention(torch.nn.Module(), q, k, v, None, positions, **options)
        wanted = torch.cat(
            [
                scaled_dot_product_attention(q[:, :, row], k[:, :, row], v[:, :, row], is_causal=True)
                for row in (slice(0, 3), slice(3, 5))
            ],
            dim=2,
        ).transpose(1, 2)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 if dtype is torch.float32 else 0.01)


def test_each_torch_is_told_in_its_own_words_that_attention_is_causal():
    def first(query, key, value, is_causal=False, return_aux=None): ...
    def later(query, key, value, *, scale=None, window_size=(-1, -1), enable_gqa=False): ...

    assert packed_attention.varlen_options(first) == {"is_causal": True}  # torch 2.10
    assert packed_attention.varlen_options(later) == {"window_size": (-1, 0), "enable_gqa": True}  # 2.12
