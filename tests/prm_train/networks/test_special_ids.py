"""What a base is before it is trained: EOS, padding and generation_config that its checkpoint can be saved
and published with.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, set_seed

from data_gen.settings.errors import InputError
from prm_train import publish, train_implicit_prm, train_prm
from prm_train.training.config import TrainImplicitPrmConfig
from prm_train.training.language_model import build_language_model

LLAMA_2 = {"do_sample": False, "temperature": 0.9, "top_p": 0.6}


def byte_tokenizer(*special: str, eos: str | None) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [], trainers.BpeTrainer(special_tokens=list(special), initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=eos)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GPT-2 as it is: one special token, which ends a text, no spare row of the embedding; logits are far
    below zero.
    """
    folder = tmp_path_factory.mktemp("gpt2")
    tokenizer = byte_tokenizer("<|endoftext|>", eos="<|endoftext|>")
    shape: dict[str, Any] = {
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "n_positions": 256,
        "initializer_range": 0.2,
    }
    set_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, **shape))
    model.lm_head.weight.data -= 3.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(LLAMA_2 | {"eos_token_id": 0}))
    return folder


def build(folder: Path) -> tuple[Any, Any]:
    model, encoding = build_language_model(
        TrainImplicitPrmConfig(rows=folder, output=folder, model=str(folder))
    )
    return model.eval(), encoding.tokenizer


def test_a_language_model_without_a_spare_token_gets_a_padding_that_it_hardly_writes(gpt2):
    model, tokenizer = build(gpt2)
    assert (
        tokenizer.pad_token,
        tokenizer.pad_token_id,
        model.config.pad_token_id,
        model.config.vocab_size,
    ) == ("<|pad|>", 257, 257, 258)
    before = AutoModelForCausalLM.from_pretrained(gpt2).eval()
    ids = torch.tensor([[5, 60, 7]])
    with torch.no_grad():
        logits, expected = model(input_ids=ids).logits, before(input_ids=ids).logits
    assert torch.equal(logits[..., :257], expected)
    assert torch.allclose(logits[..., 257], expected.mean(-1), atol=1e-5)
    assert logits.softmax(-1)[..., 257].max() < 1 / 257  # the mean of convex functions
    again, _ = build(gpt2)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_what_was_trained_on_such_a_base_is_published(gpt2, orm_rows, tmp_path, caplog):
    """With LoRA the base is loaded twice more, for the merged model and for the reference."""
    caplog.set_level("INFO")
    settings = (
        "--rows",
        str(orm_rows),
        "--output",
        str(tmp_path / "implicit"),
        "--model",
        str(gpt2),
        "--n_epochs",
        "0.2",
    )
    train_implicit_prm.main([*settings, "--lora.rank", "2", "--use_cpu", "true", "--validation_share", "0.3"])
    assert (
        "its config has resid_pdrop 0.1, embd_pdrop 0.1, attn_pdrop 0.1: losses while training are random"
        in caplog.text
    )
    # Though it is loaded thrice
    assert caplog.text.count("its temperature, top_p without effect; do_sample is true from here on") == 1
    where = (
        "--checkpoint",
        str(tmp_path / "implicit"),
        "--rows",
        str(orm_rows),
        "--output",
        str(tmp_path / "model"),
    )
    publish.main([*where, "--license", "mit", "--n_rows", "8"])
    for folder in (tmp_path / "model", tmp_path / "model" / "reference"):
        config, generation = (
            json.loads((folder / name).read_text()) for name in ("config.json", "generation_config.json")
        )
        assert (config["pad_token_id"], config["eos_token_id"], config["vocab_size"]) == (257, 0, 258)
        assert {name: generation.get(name) for name in LLAMA_2} == LLAMA_2 | {"do_sample": True}
        assert (generation["pad_token_id"], generation["eos_token_id"]) == (257, 0)
    shutil.rmtree(tmp_path / "implicit" / "reference")
    with pytest.raises(InputError, match="this training is finished, and its model is no longer there whole"):
        train_implicit_prm.main(
            [*settings, "--lora.rank", "2", "--use_cpu", "true", "--validation_share", "0.3"]
        )


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (
            {"temperature": 0.6, "top_p": 0.95, "do_sample": True},
            {"temperature": 0.6, "top_p": 0.95, "do_sample": True},
        ),
        ({"top_k": 20}, {"top_k": 20, "do_sample": True}),
        ({"do_sample": False, "min_p": 0.1}, {"min_p": 0.1, "do_sample": True}),
        ({"temperature": 0.0}, {"temperature": None, "do_sample": None}),  # greedy, as it said
        ({"top_k": 20, "length_penalty": 0.5}, {"top_k": None, "length_penalty": None, "do_sample": None}),
        ({"output_scores": True, "max_new_tokens": 7}, {"output_scores": None, "max_new_tokens": None}),
        ({"max_new_tokens": 7}, {"max_new_tokens": 7, "do_sample": None}),
    ],
)
def test_a_generation_config_that_could_not_be_saved_is_mended_before_the_training(
    given, kept, gpt2, tmp_path
):
    folder = shutil.copytree(gpt2, tmp_path / "base")
    (folder / "generation_config.json").write_text(json.dumps(given | {"eos_token_id": [0, 3]}))
    model, _ = build(folder)
    model.generation_config.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert {name: saved.get(name) for name in kept} == kept
    assert (saved["eos_token_id"], saved["pad_token_id"]) == ([0, 3], 257)


def test_ends_of_text_of_tokenizer_config_and_generation_config_are_brought_together(gpt2, tmp_path):
    folder = shutil.copytree(gpt2, tmp_path / "base")
    byte_tokenizer("<|endoftext|>", "<|im_end|>", "<|vision_pad|>", eos="<|im_end|>").save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 0, "pad_token_id": 0}))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": 0}))
    model, tokenizer = build(folder)
    assert (tokenizer.eos_token_id, tokenizer.pad_token) == (1, "<|vision_pad|>")
    assert (model.config.eos_token_id, model.config.pad_token_id) == (1, 2)
    assert (model.generation_config.eos_token_id, model.generation_config.pad_token_id) == ([1, 0], 2)

    byte_tokenizer("<|endoftext|>", "<|im_end|>", "<|vision_pad|>", eos=None).save_pretrained(folder)
    model, tokenizer = build(folder)
    assert (tokenizer.eos_token, model.config.eos_token_id) == ("<|endoftext|>", 0)  # the config's


def test_a_tokenizer_that_its_users_would_load_as_another_is_refused_before_the_training(
    tiny_policy, tmp_path
):
    """transformers gives every qwen2 folder Qwen2's splitting rule, by which digits are single tokens."""
    base = shutil.copytree(tiny_policy, tmp_path / "base")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    tokenizer.train_from_iterator(
        ["12.5 1,007"] * 9,
        trainers.BpeTrainer(vocab_size=290, special_tokens=["<|end|>"], show_progress=False),
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>").save_pretrained(base)
    (base / "chat_template.jinja").unlink()
    rows = [
        {"prompt": f"Start with {i}", "completions": ["12.5 plus 1"], "labels": [i % 2 == 0]}
        for i in range(20)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = (
        "--rows",
        str(tmp_path / "rows.jsonl"),
        "--output",
        str(tmp_path / "prm"),
        "--model",
        str(base),
        "--use_cpu",
        "true",
    )
    with pytest.raises(
        InputError,
        match=r"model .*base: the saved tokenizer, loaded as Qwen2Tokenizer, gives other ids .*was trained",
    ):
        train_prm.main([*settings, "--validation_share", "0.3"])
