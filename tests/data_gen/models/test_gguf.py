"""GGUF files as models: one is written here with the package gguf, tensor by tensor, and read back."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM, set_seed

from data_gen.models import gguf as gguf_models
from data_gen.models.gguf import UnpackedFrom, check_gguf, gguf_folder, unpacked
from data_gen.models.names import check_model
from data_gen.models.tokenizer import load_tokenizer
from data_gen.policies.config import PolicyConfig
from data_gen.problems.tasks import model_path
from data_gen.publishing.scrubbing import public_path
from data_gen.settings.errors import InputError
from tests.tiny_models import byte_level_tokenizer

needs_reader = pytest.mark.skipif(find_spec("gguf") is None, reason="the package gguf is not installed")
NAMES = {
    **{"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"},
    **{f"self_attn.{letter}_proj": f"attn_{letter}" for letter in "qkv"},
    **{"self_attn.o_proj": "attn_output", "input_layernorm": "attn_norm"},
    **{"post_attention_layernorm": "ffn_norm", "model.layers": "blk"},
    **{f"mlp.{part}_proj": f"ffn_{part}" for part in ("gate", "up", "down")},
}


def write_gguf(file: Path) -> Qwen2ForCausalLM:
    """A random Qwen2 as llama.cpp's converter writes one; returns the model."""
    from gguf import GGUFWriter, TokenType

    tokenizer = byte_level_tokenizer()
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    set_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), intermediate_size=64, **sizes)).eval()
    writer = GGUFWriter(str(file), "qwen2")
    writer.add_block_count(2)
    writer.add_context_length(model.config.max_position_embeddings)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    special = set(tokenizer.all_special_tokens) | set(tokenizer.get_added_vocab())
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if t in special else TokenType.NORMAL for t in tokens])
    learnt = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    writer.add_token_merges([" ".join(pair) for pair in learnt["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    for name, weight in model.state_dict().items():
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        writer.add_tensor(name, weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


@needs_reader
def test_a_gguf_file_is_unpacked_once_and_read_as_a_folder_with_the_same_weights_and_template(
    tmp_path: Path,
) -> None:
    model = write_gguf(tmp_path / "tiny.gguf")
    name = f"gguf:{tmp_path / 'tiny.gguf'}"
    check_model("policy.model", name)
    folder = tmp_path / "tiny"
    assert model_path(name) == str(folder) == str(gguf_folder(name))
    read = AutoModelForCausalLM.from_pretrained(folder)
    assert all(torch.equal(weight, read.state_dict()[key]) for key, weight in model.state_dict().items())
    tokenizer = load_tokenizer(str(folder))
    assert tokenizer.chat_template == byte_level_tokenizer().chat_template
    assert tokenizer.eos_token == "<|im_end|>"
    assert UnpackedFrom.read(folder / "gguf.json").n_bytes == (tmp_path / "tiny.gguf").stat().st_size
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert PolicyConfig(name).load().policy_id == PolicyConfig(str(folder)).load().policy_id
    assert (folder / "model.safetensors").stat().st_mtime_ns == written  # and not unpacked again


@needs_reader
def test_a_folder_unpacked_from_another_file_is_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    name = f"gguf:{tmp_path / 'tiny.gguf'}"
    unpacked(name)
    with (tmp_path / "tiny.gguf").open("ab") as file:
        file.write(b"more")
    with pytest.raises(InputError, match="was unpacked from another file"):
        unpacked(name)


def test_a_folder_that_was_there_before_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    (tmp_path / "tiny").mkdir()
    with pytest.raises(InputError, match=r"which holds no gguf.json; expected no such folder"):
        gguf_models._check_same(tmp_path / "tiny.gguf", tmp_path / "tiny")


def test_a_folder_that_cannot_be_written_is_no_folder_of_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied", str(target))

    monkeypatch.setattr(gguf_models, "_need_reader", lambda name: None)
    monkeypatch.setattr(gguf_models, "_write_model", lambda file, folder: None)
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        gguf_models.unpack(tmp_path / "tiny.gguf", tmp_path / "tiny")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("tiny.gguf", None, "no file"),
        ("tiny.bin", b"GGUF", "expected its name to end in .gguf"),
        ("tiny.gguf", b"PK\3\4", "it is no GGUF file"),
    ],
)
def test_what_is_no_gguf_file_is_refused_before_anything_is_loaded(
    tmp_path: Path, file: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=said):
        check_gguf("policy.model", f"gguf:{tmp_path / file}")


def test_a_card_names_the_file_alone() -> None:
    assert public_path("gguf:/home/alice/models/tiny.gguf") == "gguf:tiny.gguf"
