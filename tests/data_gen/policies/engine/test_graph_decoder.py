"""The recorded step against the model's own; on a CPU a recording is played by computing it again."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from data_gen.policies.engine.graph_decoder import (
    GraphDecoder,
    cuda_recorder,
    has_graph_decoder,
    padded_rows,
)
from data_gen.policies.engine.key_value_rows import Block, KeyValueRows
from data_gen.policies.engine.ragged_model import RaggedModel
from tests.tiny_models import tiny_config, tiny_model

ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
TEXTS = ((5, 17, 3, 42, 8), (9, 2, 31), (77, 1, 6, 6))


def played(work):
    """Results stay where they are, as those of a recording do; playing it fills them anew."""
    results = tuple(tensor.clone() for tensor in work())

    def replay():
        for kept, new in zip(results, work(), strict=True):
            kept.copy_(new)

    return results, replay


def rows_of(ragged):
    """A tier with all tokens of the texts but the last two."""
    rows = KeyValueRows(ragged.layout, 8)
    rows.reserve(len(TEXTS))
    for row, text in enumerate(TEXTS):
        rows.fill(row, ragged.prefill([[]], [text[:-2]]))
    return rows


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=ON_A_GPU)])
def test_two_recorded_steps_of_rows_of_unequal_length_give_the_models_own_logits(name, device):
    model = tiny_model(AutoModelForCausalLM, tiny_config(name, 100)).eval().to(device)
    with torch.inference_mode():
        wanted = [model(torch.tensor([text], device=device)).logits[0, -2:].cpu() for text in TEXTS]
        ragged = RaggedModel(model)
        rows = rows_of(ragged)
        decoder = GraphDecoder(model, played if device == "cpu" else cuda_recorder(model.device))
        for step in (0, 1):
            lengths = torch.tensor([len(text) - 2 + step for text in TEXTS], device=device)
            ids = torch.tensor([text[len(text) - 2 + step] for text in TEXTS], device=device)
            found = decoder(ids, lengths, [Block(rows, lengths, 0)])
            expected = torch.stack([each[step] for each in wanted])
            torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=0)
        # Fewer rows go through a recording of their own, or one with rows that nobody reads
        lengths, ids = lengths[:2], ids[:2]
        fewer = decoder(ids, lengths, [Block(rows, lengths, 0)])
        torch.testing.assert_close(fewer, found[:2], atol=1e-5, rtol=0)


def test_a_number_of_rows_is_filled_up_by_half_at_most():
    assert [padded_rows(n) for n in (1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 64, 65, 97)] == [
        1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128,
    ]  # fmt: skip
    assert all(n <= padded_rows(n) <= 1.5 * n for n in range(1, 2000))


def test_a_model_on_a_cpu_is_not_recorded():
    assert not has_graph_decoder(tiny_model(AutoModelForCausalLM, tiny_config("llama", 100)))
