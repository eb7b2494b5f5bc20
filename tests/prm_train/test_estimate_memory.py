"""The estimate against what autograd really keeps, against sums worked out by hand, and against the peak of a
real training.
"""

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForTokenClassification,
    CohereConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MixtralConfig,
    Qwen2Config,
    Qwen3Config,
)

from data_gen.settings.errors import InputError
from prm_train.estimate_memory import (
    EstimateMemoryConfig,
    Network,
    estimate_memory,
    layer_bytes,
    main,
    read_network,
)
from prm_train.training.lora import add_lora
from prm_train.training.settings import LoraSettings

REPOSITORY = Path(__file__).parents[2]
WIDTHS = {
    "vocab_size": 200,
    "hidden_size": 128,
    "intermediate_size": 448,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
SMALL = Network(
    n_parameters=1000,
    n_trained=1000,
    n_in_linear_layers=800,
    n_layers=2,
    hidden=10,
    intermediate=30,
    queries=10,
    keys=5,
    normalizes_queries=False,
)


def shape(kind: type, n_layers: int) -> Any:
    return kind(num_hidden_layers=n_layers, head_dim=32, pad_token_id=0, **WIDTHS)


def kept_bytes(model: Any, autocast: bool, n_tokens: int = 64) -> float:
    """Of one token: the tensors that autograd saves in a forward pass, each storage once, weights
    excepted.
    """
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            # The tensor, so that its address stays taken
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    precision = torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), precision:
        model(input_ids=torch.arange(n_tokens)[None] % 100)
    return sum(n_bytes for n_bytes, _ in kept.values()) / n_tokens


def trainable(kind: type, n_layers: int, dtype: torch.dtype, lora: LoraSettings | None) -> Any:
    torch.manual_seed(0)
    model = AutoModelForTokenClassification.from_config(shape(kind, n_layers)).to(dtype)
    model.config.use_cache = False
    return (add_lora(model, "prm", lora, marker_id=5) if lora else model).train()


@pytest.mark.parametrize(
    ("kind", "dtype", "autocast", "lora"),
    [
        (Qwen3Config, torch.float32, False, None),
        (Qwen2Config, torch.float32, True, None),
        (LlamaConfig, torch.bfloat16, False, None),
        (Qwen3Config, torch.bfloat16, False, LoraSettings(rank=8)),
        (LlamaConfig, torch.float32, False, LoraSettings(rank=8)),
    ],
)
def test_a_layer_keeps_what_is_estimated(
    kind: type, dtype: torch.dtype, autocast: bool, lora: LoraSettings | None
) -> None:
    two, four = (kept_bytes(trainable(kind, n_layers, dtype, lora), autocast) for n_layers in (2, 4))
    network = read_network(shape(kind, 2), lora)
    stream = torch.finfo(dtype).bits // 8
    # Of one layer, in bfloat16, counted among the weights
    weight_copies = network.n_in_linear_layers / 2 * 2 / 64 if autocast else 0
    expected = layer_bytes(network, stream, 2 if autocast else stream, lora)
    assert (four - two) / 2 - weight_copies == pytest.approx(expected, rel=0.01)


def test_checkpointing_keeps_the_input_of_each_layer() -> None:
    two, four = (trainable(Qwen2Config, n_layers, torch.float32, None) for n_layers in (2, 4))
    for model in (two, four):
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert (kept_bytes(four, False) - kept_bytes(two, False)) / 2 == pytest.approx(128 * 4, rel=0.05)


def test_parameters_are_those_of_the_network_that_is_trained() -> None:
    model = trainable(Qwen3Config, 2, torch.float32, LoraSettings(rank=8))
    network = read_network(shape(Qwen3Config, 2), LoraSettings(rank=8))
    assert network.n_trained == sum(
        parameter.numel() for parameter in model.parameters() if parameter.requires_grad
    )
    assert (network.hidden, network.queries, network.keys, network.normalizes_queries) == (128, 128, 64, True)


def test_an_architecture_of_other_layers_is_refused() -> None:
    one = {
        "num_hidden_layers": 2,
        "hidden_size": 8,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "vocab_size": 9,
    }
    for settings in (GPTNeoXConfig(**one), MixtralConfig(**one, num_key_value_heads=1)):
        with pytest.raises(
            InputError, match=rf"{settings.model_type}: 0 of its 2 layers have one gated MLP, expected all"
        ):
            read_network(settings, None)
    with pytest.raises(
        InputError, match="cohere: transformers has neither a PRM's nor an ORM's network for it"
    ):
        read_network(CohereConfig(**one), None)


def parts(network: Network = SMALL, **settings: Any) -> tuple[float, float, float]:
    found = estimate_memory(
        network, EstimateMemoryConfig(model="base", batch_size=1, max_length=8, **settings)
    )
    return found.weights, found.gradients, found.optimizer


def test_weights_gradients_and_optimizer_are_counted_in_the_precision_they_have() -> None:
    assert parts() == (4000, 4000, 8000)
    assert parts(dtype="bfloat16") == (2000, 2000, 4000)
    assert parts(bf16_autocast=True) == (4000 + 800 * 2, 4000, 8000)
    assert parts(n_gpus=2) == (4000, 8000, 8000)  # DDP's buckets hold the gradients once more


def test_lora_trains_float32_weights_beside_a_frozen_base() -> None:
    network = Network(**{**vars(SMALL), "n_trained": 100})
    assert parts(network, lora=LoraSettings(), dtype="bfloat16") == (900 * 2 + 100 * 4, 400, 800)
    in_4_bits = 800 * (0.5 + 1 / 64) + 100 * 2 + 100 * 4
    assert parts(network, lora=LoraSettings(), dtype="bfloat16", quantization="nf4") == (in_4_bits, 400, 800)


def test_deepspeed_splits_more_with_each_stage() -> None:
    bfloat16: dict[str, Any] = {"bf16_autocast": True, "n_gpus": 4}
    assert parts(**bfloat16, zero_stage=1) == (2000, 2000, 3000)
    assert parts(**bfloat16, zero_stage=2) == (2000, 500, 3000)
    assert parts(**bfloat16, zero_stage=3) == (500, 500, 3000)
    assert parts(**bfloat16, zero_stage=3, offload=True) == (0, 500, 0)
    assert parts(n_gpus=4, zero_stage=2) == (4000, 1000, 3000)


def test_activations_grow_with_the_tokens_of_a_pass() -> None:
    def activations(**settings: Any) -> float:
        return estimate_memory(SMALL, EstimateMemoryConfig(model="base", **settings)).activations

    # a layer: 2 norms of 3 x 10 numbers, 2 x (10 + 5) of attention, 4 x 30 of the MLP; the ends: 4 x 10
    assert activations(batch_size=2, max_length=8) == 2 * 8 * 4 * (2 * (60 + 30 + 120) + 40)
    assert activations(batch_tokens=16, max_length=8) == activations(batch_size=2, max_length=8)
    assert activations(batch_size=2, max_length=8, gradient_checkpointing=True) == 2 * 8 * 4 * (
        210 + 2 * 10 + 40
    )


def test_offloading_without_deepspeed_is_refused() -> None:
    with pytest.raises(
        ValueError, match="offload: got true with zero_stage 0, expected zero_stage 1, 2 or 3"
    ):
        EstimateMemoryConfig(model="base", offload=True)


def test_the_command_reads_a_training_config(tiny_policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--config", str(REPOSITORY / "configs/train_prm/lora.yaml"), "--model", str(tiny_policy)])
    out = capsys.readouterr().out
    assert "one process, 1 GPU, 8192 tokens a pass" in out
    assert "total" in out
