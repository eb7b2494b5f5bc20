"""Models whose weights are not those that their config.json describes, loaded as every command loads them."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    GPTNeoXConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForTokenClassification,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
)

from data_gen.models.pretrained import load_model
from data_gen.settings.errors import InputError

Weights = dict[str, Tensor]
SHAPE = {
    "vocab_size": 11,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
}
UP = "model.layers.0.mlp.up_proj.weight"


def save(model: PreTrainedModel, folder: Path, change: Callable[[Weights], Weights] = dict) -> str:
    """Its folder, with changed weights."""
    model.save_pretrained(folder)
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    return str(folder)


def llama(**more: object) -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**(SHAPE | more)))


def without(part: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: weight for name, weight in weights.items() if part not in name}


def prefixed(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {prefix + name: weight for name, weight in weights.items()}


def with_nan(weights: Weights) -> Weights:
    weights[UP][3, 5] = float("nan")
    return weights


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            prefixed("_orig_mod."),
            r"21 missing \(lm_head.weight, .*21 not of that network \(_orig_mod.*as torch.compile wraps it",
        ),
        (prefixed("module."), "21 missing .*as DistributedDataParallel wraps it"),
        (prefixed("base_model.model."), "21 missing .*PEFT model saved without merging"),
        (
            lambda weights: {
                name.replace("layers.1.", "layers.1._orig_mod."): each for name, each in weights.items()
            },
            "9 missing .*compile",
        ),
        (
            without("layers.1."),
            r"9 missing \(model.layers.1.input_layernorm.weight, .*num_hidden_layers 2; expected as many "
            r"layers",
        ),
        (
            without("embed_tokens"),
            r"1 missing \(model.embed_tokens.weight\); expected the weights that its config.json describes",
        ),
        (without("lm_head"), r"1 missing \(lm_head.weight\); expected them, or tie_word_embeddings true"),
        (
            lambda weights: weights | {"model.layers.0.mlp.up_proj.bias": torch.zeros(12)},
            r"1 not of that network \(model.layers.0.mlp.up_p",
        ),
        (
            lambda weights: weights | {UP: torch.zeros(10, 8)},
            rf"1 of another shape \({UP} \(10, 8\), expected \(12, 8\)\)",
        ),
        (with_nan, rf"1 of its weights hold NaN or infinite numbers \({UP}\)"),
    ],
)
def test_weights_that_are_not_those_of_the_network_are_refused_with_the_likely_reason(
    change, reason, tmp_path
):
    path = save(llama(), tmp_path, change)
    with pytest.raises(InputError, match=rf"model {tmp_path}: .*{reason}"):
        load_model(AutoModelForCausalLM, path)


def test_a_config_with_fewer_or_more_layers_than_there_are_weights_is_refused(tmp_path):
    path, file = save(llama(), tmp_path), tmp_path / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"num_hidden_layers": 1}))
    with pytest.raises(
        InputError, match=r"9 not of that network .*num_hidden_layers 1, its weights have layer 1"
    ):
        load_model(AutoModelForTokenClassification, path, new_head=True)
    file.write_text(json.dumps(config | {"num_hidden_layers": 4}))
    with pytest.raises(
        InputError, match=r"18 missing .*num_hidden_layers 4; expected as many layers as there are weights"
    ):
        load_model(AutoModelForTokenClassification, path, new_head=True)


def test_a_language_model_lacks_only_the_head_of_a_scorer(tmp_path):
    path = save(llama(), tmp_path)
    assert load_model(AutoModelForTokenClassification, path, new_head=True).score.weight.shape == (2, 8)
    with pytest.raises(
        InputError, match=r"2 missing \(score.bias, score.weight\); its config.json says LlamaForCausalLM"
    ):
        load_model(AutoModelForTokenClassification, path)


@pytest.mark.parametrize("tied", [True, False])
def test_a_scorer_is_neither_a_language_model_nor_a_scorer_of_another_kind(tied, tmp_path):
    path = save(LlamaForTokenClassification(LlamaConfig(**SHAPE, tie_word_embeddings=tied)), tmp_path)
    load_model(AutoModelForTokenClassification, path)
    # Training goes on with the head that is there
    load_model(AutoModelForTokenClassification, path, new_head=True)
    with pytest.raises(InputError, match=r"2 not of that network \(score.bias, score.weight\)"):
        load_model(AutoModelForCausalLM, path)
    with pytest.raises(
        InputError,
        match=r"score.weight \(2, 8\), expected \(1, 8\)\); its config.json says "
        r"LlamaForTokenClassification; exp",
    ):
        load_model(AutoModelForSequenceClassification, path, new_head=True, num_labels=1)


def test_a_head_that_is_there_in_part_is_not_new(tmp_path):
    path = save(LlamaForTokenClassification(LlamaConfig(**SHAPE)), tmp_path, without("score.bias"))
    with pytest.raises(InputError, match=r"1 missing \(score.bias\)"):
        load_model(AutoModelForTokenClassification, path, new_head=True)


def test_what_other_uses_of_a_model_add_is_left_out(tmp_path, caplog):
    added = {
        "v_head.summary.weight": torch.zeros(1, 8),
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(2),
    }
    path = save(llama(), tmp_path, lambda weights: weights | added)
    with caplog.at_level("INFO"):
        load_model(AutoModelForCausalLM, path)
    assert [record.getMessage() for record in caplog.records] == [
        f"model {path}: left out, for other uses: v_head.summary.weight"
    ]


@pytest.mark.parametrize("verbosity", [logging.WARNING, logging.ERROR])
def test_names_that_transformers_changes_are_none_that_are_missing(tmp_path, request, verbosity):
    # A training before this has made transformers quiet
    library = logging.getLogger("transformers")
    before = library.level
    library.setLevel(verbosity)
    request.addfinalizer(lambda: library.setLevel(before))
    # Saved one by one, loaded as one
    experts = MixtralForCausalLM(MixtralConfig(**SHAPE, num_key_value_heads=1, num_local_experts=2))
    path = save(experts, tmp_path / "experts")
    load_model(AutoModelForTokenClassification, path, new_head=True)
    names = load_file(tmp_path / "experts" / "model.safetensors")
    lost = next(name for name in names if "experts.1.w1" in name)
    save_file(without(lost)(names), tmp_path / "experts" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"parts of model.layers.0.mlp.experts.gate_up_proj are missing"):
        load_model(AutoModelForTokenClassification, path, new_head=True)
    neox = AutoModelForCausalLM.from_config(GPTNeoXConfig(**SHAPE))  # its head is called embed_out
    load_model(AutoModelForSequenceClassification, save(neox, tmp_path / "neox"), new_head=True)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "model.safetensors is broken, with 0 bytes"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "model.safetensors is a pointer of git-lfs",
        ),
        (None, r"model.safetensors is broken, with 3,000 bytes \(.*not fully covered"),
    ],
)
def test_a_broken_file_is_named(content, reason, tmp_path):
    path, file = save(llama(), tmp_path), tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:3000] if content is None else content)
    with pytest.raises(InputError, match=f"model {tmp_path}: not loaded: {reason}"):
        load_model(AutoModelForCausalLM, path)


def test_a_pickle_that_is_cut_off_is_one_sentence(tmp_path):
    path, file = save(llama(), tmp_path), tmp_path / "pytorch_model.bin"
    torch.save(load_file(tmp_path / "model.safetensors"), file)
    (tmp_path / "model.safetensors").unlink()
    load_model(AutoModelForCausalLM, path)
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(
        InputError, match=r"not loaded: its weights cannot be read \(PytorchStreamReader failed"
    ):
        load_model(AutoModelForCausalLM, path)


def test_an_adapter_is_no_model(tmp_path):
    # Also where a model lies beside it: whether the adapter counts, nobody says
    path = save(llama(), tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/base"}')
    with pytest.raises(
        InputError,
        match=r"holds an adapter \(PEFT\) of somebody/base; expected a whole model, as .*merge_and_unload",
    ):
        load_model(AutoModelForCausalLM, path)
