"""Packed passes of tiny models against their rows one by one."""

import pytest
import torch
from transformers import AutoModelForTokenClassification

from prm_train.networks.packed_attention import ATTENTION, use_packed_attention
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


def test_a_model_that_a_trainer_will_move_to_a_gpu_keeps_its_attention():
    model = prm("qwen2")
    assert model.device.type == "cpu"
    use_packed_attention(model, torch.device("cuda"))
    assert model.config._attn_implementation == "sdpa"
