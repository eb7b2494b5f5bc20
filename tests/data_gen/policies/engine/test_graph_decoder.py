"""The recorded step against the model's own; on a CPU a recording is played by computing it again."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
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


def test_a_model_with_hooks_is_sampled_without_the_faster_step_and_its_hooks_count(caplog):
    model = tiny_model(AutoModelForCausalLM, tiny_config("llama", 100))
    assert RaggedModel(model)._decoder is not None
    model.set_attn_implementation("sdpa")
    model.model.layers[0].register_forward_hook(lambda layer, inputs, states: states.roll(1, -1))
    with torch.inference_mode():
        wanted = torch.stack([model(torch.tensor([text[:-1]])).logits[0, -1] for text in TEXTS])
        ragged = RaggedModel(model)
        found = ragged.decode(
            [(rows_of(ragged), [len(text) - 2 for text in TEXTS])], [text[-2] for text in TEXTS]
        )
    assert "llama is sampled without LlamaDecoder: step by step, logits differ" in caplog.text
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_weights_that_have_moved_are_recorded_anew():
    model = tiny_model(AutoModelForCausalLM, tiny_config("llama", 100)).eval()
    n_recorded = 0

    def record(work):
        nonlocal n_recorded
        n_recorded += 1
        return played(work)

    with torch.inference_mode():
        ragged = RaggedModel(model)
        rows, decoder = rows_of(ragged), GraphDecoder(model, record)
        lengths = torch.tensor([len(text) - 2 for text in TEXTS])
        ids = torch.tensor([text[-2] for text in TEXTS])

        def step():
            return decoder(ids, lengths, [Block(rows, lengths, 0)])

        found, n_pieces = step(), len(model.model.layers) + 1
        model.model.norm.weight.mul_(2)  # in place: a recording sees it
        torch.testing.assert_close(step(), 2 * found)
        assert n_recorded == n_pieces
        down = model.model.layers[0].mlp.down_proj.weight
        down.data = down.data.clone()
        torch.testing.assert_close(step(), 2 * found)
        assert n_recorded == 2 * n_pieces


class Recording:
    """Stands in for torch.cuda.CUDAGraph where there is no GPU."""

    log: ClassVar[list[Any]] = []

    def capture_begin(self, **options):
        self.log.append(options)

    def capture_end(self):
        self.log.append("end")


def test_a_recording_that_fails_is_ended_and_minds_no_other_thread(monkeypatch):
    stream = SimpleNamespace(wait_stream=lambda other: None)
    stand_ins = {
        "graph_pool_handle": lambda: "pool",
        "Stream": lambda device: stream,
        "current_stream": lambda device: stream,
        "stream": lambda entered: nullcontext(),
        "synchronize": lambda device: None,
        "CUDAGraph": Recording,
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(Recording, "log", [])

    def work():
        if Recording.log:
            raise RuntimeError("out of memory")
        return ()

    with pytest.raises(RuntimeError, match="out of memory"):
        cuda_recorder(torch.device("cuda"))(work)
    assert Recording.log == [{"pool": "pool", "capture_error_mode": "thread_local"}, "end"]


def test_a_number_of_rows_is_filled_up_by_half_at_most():
    assert [padded_rows(n) for n in (1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 64, 65, 97)] == [
        1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128,
    ]  # fmt: skip
    assert all(n <= padded_rows(n) <= 1.5 * n for n in range(1, 2000))


class PackedWeight(nn.Parameter):
    """As quantization libraries put into plain modules."""


def test_plain_models_that_are_whole_on_one_gpu_are_recorded():
    gpu, other_gpu, cpu = (torch.device(name) for name in ("cuda:0", "cuda:1", "cpu"))

    def model_on(*devices, name="llama"):
        """Its parameters say that they are there."""
        model = tiny_model(AutoModelForCausalLM, tiny_config(name, 100))
        model.parameters = lambda: iter([SimpleNamespace(device=device) for device in devices])
        return model

    assert has_graph_decoder(model_on(gpu, gpu))
    assert has_graph_decoder(model_on(gpu, name="qwen3"))
    assert not has_graph_decoder(model_on(gpu, name="gpt2"))
    assert not has_graph_decoder(model_on(cpu))
    assert not has_graph_decoder(model_on(gpu, other_gpu))
    assert not has_graph_decoder(model_on(gpu, cpu))
    adapted = model_on(gpu)
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["q_proj"]), adapted)
    assert not has_graph_decoder(adapted)
    packed = model_on(gpu)
    packed.model.layers[0].mlp.down_proj.weight = PackedWeight(torch.ones(2, 2))
    assert not has_graph_decoder(packed)
