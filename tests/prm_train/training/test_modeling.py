import asyncio
import json
import shutil
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    BertConfig,
    BertLMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    TrainingArguments,
    set_seed,
)

from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CheckpointFacts
from prm_train.examples.batches import Batching, Collator
from prm_train.examples.examples import Example
from prm_train.kinds.load import load_classifier, load_scorer
from prm_train.networks.gathering import gathered_weights
from prm_train.networks.heads import head_name
from prm_train.training.config import TrainOrmConfig
from prm_train.training.language_model import build_language_model
from prm_train.training.lora import add_lora, load_trained
from prm_train.training.reward_trainer import RewardTrainer, head_at_its_rate
from prm_train.training.save import abs_differences, saved_scores, scores_of
from prm_train.training.scorer_network import build_scorer, rebuild_scorer, save_scorer
from prm_train.training.settings import LoraSettings, LossSettings
from tests.tiny_models import write_tiny_model


@pytest.fixture(scope="module")
def foreign_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama whose tokenizer has one special token and no chat template."""
    folder = tmp_path_factory.mktemp("foreign")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [], trainers.BpeTrainer(special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False)
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>").save_pretrained(folder)
    set_seed(0)
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 128,
    }
    LlamaForCausalLM(LlamaConfig(vocab_size=257, bos_token_id=None, eos_token_id=0, **sizes)).save_pretrained(
        folder
    )
    return folder


def config(policy: Path, **settings) -> TrainOrmConfig:
    return TrainOrmConfig(rows=Path("unused"), output=Path("unused"), model=str(policy), **settings)


@pytest.mark.parametrize("kind", ["prm", "orm"])
def test_the_head_of_a_bfloat16_model_works_in_float32(kind, tiny_policy):
    model, encoding = build_scorer(kind, config(tiny_policy, dtype="bfloat16"))
    ids = torch.tensor([encoding.encode("Start with 3", ["3 plus 4 = 7"])[0]])
    assert model.model.embed_tokens.weight.dtype == torch.bfloat16
    assert model.score.weight.dtype == torch.float32
    assert model(input_ids=ids).logits.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert model(input_ids=ids).logits.dtype == torch.float32


def test_head_dropout_acts_in_training_only(tiny_policy):
    model, encoding = build_scorer("orm", config(tiny_policy, head_dropout=0.5))
    ids = torch.tensor([encoding.encode("Start with 3", ["3 plus 4 = 7"])[0]])
    assert model.train()(input_ids=ids).logits.item() != model(input_ids=ids).logits.item()
    assert model.eval()(input_ids=ids).logits.item() == model(input_ids=ids).logits.item()


def test_a_model_without_marker_and_padding_gets_them_with_embeddings(foreign_policy):
    model, encoding = build_scorer("prm", config(foreign_policy))
    assert (encoding.facts.layout, encoding.marker_id, encoding.tokenizer.pad_token_id) == ("plain", 257, 258)
    assert model.get_input_embeddings().weight.shape == (259, 16)
    assert model.config.pad_token_id == 258


def test_lora_trains_head_and_marker_whole_and_of_the_rest_only_low_rank_updates(foreign_policy, tmp_path):
    set_seed(0)
    model, encoding = build_scorer("prm", config(foreign_policy, lora=LoraSettings(rank=2)))
    (old,) = (
        weight.clone()
        for name, weight in model.state_dict().items()
        if "embed_tokens" in name and weight.shape == (259, 16)
    )
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert {name.split(".default")[0].rpartition(".")[2] for name in trained} == {
        "lora_A",
        "lora_B",
        "modules_to_save",
    }
    whole = {
        name.split(".modules_to_save")[0].rpartition(".")[2] for name in trained if "modules_to_save" in name
    }
    assert whole == {"score", "marker"}
    ids, _ = encoding.encode("one", ["two", "three"])
    optimizer = torch.optim.SGD(
        [parameter for parameter in model.parameters() if parameter.requires_grad], lr=1.0
    )
    for _ in range(2):  # the first step moves only B, which starts at zero
        model(input_ids=torch.tensor([ids])).logits[0, -1, 1].backward()
        optimizer.step()
    scores = model(input_ids=torch.tensor([ids])).logits
    save_scorer(model, encoding, CheckpointFacts("prm", encoding.facts, "test", "min"), tmp_path)
    saved, again, _ = load_classifier(str(tmp_path))
    assert again.encode("one", ["two", "three"])[0] == ids
    assert torch.allclose(saved(input_ids=torch.tensor([ids])).logits, scores, atol=1e-6)
    embeddings = saved.get_input_embeddings().weight
    assert torch.equal(embeddings[:257], old[:257])
    assert not torch.equal(embeddings[257], old[257])


@pytest.mark.parametrize(("kind", "task_type"), [("prm", "TOKEN_CLS"), ("orm", "SEQ_CLS")])
def test_lora_knows_its_task_and_leaves_the_head_alone(kind, task_type, tiny_policy):
    model, _ = build_scorer(kind, config(tiny_policy, lora=LoraSettings(rank=2), dtype="bfloat16"))
    assert model.peft_config["default"].task_type == task_type
    low_rank = {
        name.split(".lora_A")[0].rpartition(".")[2]
        for name, _ in model.named_parameters()
        if "lora_A" in name
    }
    assert low_rank == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert {parameter.dtype for parameter in model.parameters() if parameter.requires_grad} == {torch.float32}
    assert {parameter.dtype for name, parameter in model.named_parameters() if "embedding" in name} == {
        torch.bfloat16
    }


def test_lora_of_a_language_model_updates_linear_layers_alone(tiny_policy):
    model = AutoModelForCausalLM.from_pretrained(tiny_policy)
    ids = torch.tensor([[5, 6, 7]])
    before = model(input_ids=ids).logits
    adapted = add_lora(model, "revision", LoraSettings(rank=2))
    assert adapted.peft_config["default"].task_type == "CAUSAL_LM"
    assert {
        name.split(".default")[0].rpartition(".")[2]
        for name, p in adapted.named_parameters()
        if p.requires_grad
    } == {
        "lora_A",
        "lora_B",
    }
    assert torch.allclose(adapted(input_ids=ids).logits, before, atol=1e-5)


def test_the_three_dropouts_act_each_by_itself_and_in_training_only(tiny_policy, tmp_path):
    """TRL sets lora_dropout to 0 when a model with LoRA is handed to it (its disable_dropout comes after
    get_peft_model).
    """
    settings: dict[str, dict[str, Any]] = {
        "lora": {"lora": LoraSettings(rank=2, dropout=0.5)},
        "head": {"lora": LoraSettings(rank=2), "head_dropout": 0.5},
        "backbone": {"lora": LoraSettings(rank=2), "backbone_dropout": 0.5},
        "none": {"lora": LoraSettings(rank=2)},
    }
    for name, setting in settings.items():
        set_seed(0)
        model, encoding = build_scorer("prm", config(tiny_policy, **setting))
        for parameter_name, parameter in model.named_parameters():
            if "lora_B" in parameter_name:
                torch.nn.init.normal_(parameter)
        arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
        ids, ends = encoding.encode("Start with 3", ["3 plus 4 = 7"])
        rows = [Example("q", ids, ends, (1.0,), (1.0,))]
        trained = RewardTrainer(
            model, arguments, Collator("prm", 0, Batching(1)), rows, [], LossSettings()
        ).model.train()
        logits = [trained(input_ids=torch.tensor([ids])).logits[0, -1, 1].item() for _ in range(2)]
        assert (logits[0] == logits[1]) == (name == "none"), name
        trained.eval()
        logits = [trained(input_ids=torch.tensor([ids])).logits[0, -1, 1].item() for _ in range(2)]
        assert logits[0] == logits[1], name


def test_the_trained_weights_of_another_model_are_refused(tiny_policy):
    model, _ = build_scorer("prm", config(tiny_policy, lora=LoraSettings(rank=2)))
    with pytest.raises(ValueError, match=r"got \['score'\] too many, \['base_model"):
        load_trained(model, {"score": torch.zeros(1)})


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_a_base_in_4_bits_is_trained_around_and_merged_into_the_unquantized_one(tiny_policy, tmp_path):
    settings = config(tiny_policy, lora=LoraSettings(rank=2), quantization="nf4", use_cpu=True)
    set_seed(0)
    model, encoding = build_scorer("prm", settings)
    layers = model.base_model.model.model.layers
    assert layers[0].mlp.up_proj.base_layer.weight.dtype == torch.uint8
    assert layers[0].mlp.up_proj.base_layer.weight.quant_state.quant_type == "nf4"
    ids = torch.tensor([encoding.encode("Start with 3", ["3 plus 4 = 7"])[0]])
    optimizer = torch.optim.SGD(
        [parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.1
    )
    for _ in range(2):
        model.eval()(input_ids=ids)  # a validation between two steps
        model.train()(input_ids=ids).logits[0, -1, 1].backward()
        optimizer.step()
    trained = gathered_weights(model, only_trained=True, keep=True)
    assert any("lora_B" in name and weight.abs().max() > 0 for name, weight in trained.items())
    whole = rebuild_scorer("prm", settings, trained)
    scores = scores_of(
        whole, "prm", [Example("q", tuple(ids[0].tolist()), (len(ids[0]) - 1,), (1.0,), (1.0,))]
    )
    save_scorer(whole, encoding, CheckpointFacts("prm", encoding.facts, "test", "min"), tmp_path)
    saved, _, _ = load_classifier(str(tmp_path))
    assert saved(input_ids=ids).logits[0, -1].softmax(-1)[1].item() == pytest.approx(scores[0], abs=1e-6)
    assert saved.model.layers[0].mlp.up_proj.weight.dtype == torch.float32
    quantized = model.eval()(input_ids=ids).logits[0, -1].softmax(-1)[1].item()
    assert 0 < abs(quantized - scores[0]) < 0.3


@pytest.mark.parametrize("more", [{}, {"lora": LoraSettings(rank=2), "quantization": "nf4", "use_cpu": True}])
@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "fp8"])
def test_a_base_that_is_stored_quantized_is_refused(method, more, tiny_policy, tmp_path):
    for file in tiny_policy.iterdir():
        shutil.copy(file, tmp_path)
    stored = (
        {"quant_method": method, "load_in_4bit": True}
        if method == "bitsandbytes"
        else {"quant_method": method, "bits": 4}
    )
    (tmp_path / "config.json").write_text(
        json.dumps(json.loads((tmp_path / "config.json").read_text()) | {"quantization_config": stored})
    )
    for build in (partial(build_scorer, "prm"), build_language_model):
        with pytest.raises(
            InputError,
            match=rf"stored quantized \({method}, says its config.json\); expected the unquantized model",
        ):
            build(config(tmp_path, **more))


def test_an_architecture_without_the_head_is_refused(tiny_policy, tmp_path):
    from transformers import AutoTokenizer, Gemma3nTextConfig

    AutoTokenizer.from_pretrained(tiny_policy).save_pretrained(tmp_path)
    Gemma3nTextConfig().save_pretrained(tmp_path)
    with pytest.raises(
        InputError, match="transformers has no AutoModelForTokenClassification for gemma3n_text"
    ):
        build_scorer("prm", config(tmp_path))


def test_dropout_that_an_architecture_does_not_have_is_refused(tiny_policy, tmp_path):
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(tiny_policy).save_pretrained(tmp_path)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertLMHeadModel(BertConfig(vocab_size=300, is_decoder=True, **sizes)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"backbone_dropout 0\.1: bert has no attention_dropout"):
        build_scorer("prm", config(tmp_path, backbone_dropout=0.1))


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "falcon"])  # their head is called classifier
@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)])
def test_a_head_of_another_name_is_found_trained_and_saved(name, lora, tmp_path):
    settings = config(write_tiny_model(name, tmp_path / "base"), lora=lora, head_learning_rate=0.1)
    model, encoding = build_scorer("prm", settings)
    assert head_name(model) == "classifier"
    optimizer = torch.optim.AdamW(
        [weights for weights in model.parameters() if weights.requires_grad], lr=0.01
    )
    head_at_its_rate(optimizer, model, 0.1)
    assert [sum(weights.numel() for weights in group["params"]) for group in optimizer.param_groups][1:] == [
        2 * 32 + 2
    ]
    ids, ends = encoding.encode("Start with 3", ["3 plus 4 = 7", "Answer: 7"])
    rows = [Example("q", ids, ends, (1.0, 1.0), (1.0, 1.0))]
    for name, weights in model.named_parameters():
        if "classifier" in name or "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.3)
    scores = scores_of(model, "prm", rows)
    save_scorer(model, encoding, CheckpointFacts("prm", encoding.facts, "test", "min"), tmp_path / "prm")
    assert abs_differences(saved_scores(tmp_path / "prm", "prm", rows, settings), scores).max() < 1e-5
    scorer = load_scorer(str(tmp_path / "prm"))

    async def search() -> list[float]:
        async with scorer.session("Start with 3") as tree:
            first = tree.extend(tree.root, "3 plus 4 = 7")
            return [await tree.score(first), await tree.score(tree.extend(first, "Answer: 7"))]

    assert asyncio.run(search()) == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize("attention", ["auto", "eager"])
def test_soft_caps_count_in_training_parity_and_search(attention, tmp_path):
    settings = config(write_tiny_model("gemma2", tmp_path / "base"), attention=attention)
    model, encoding = build_scorer("prm", settings)
    assert model.config._attn_implementation == "eager"
    ids, ends = encoding.encode("Start with 3", ["3 plus 4 = 7", "Answer: 7"])
    rows = [Example("q", ids, ends, (1.0, 1.0), (1.0, 1.0))]
    torch.nn.init.normal_(model.score.weight, std=0.3)
    scores = scores_of(model, "prm", rows)
    save_scorer(model, encoding, CheckpointFacts("prm", encoding.facts, "test", "min"), tmp_path / "prm")
    assert abs_differences(saved_scores(tmp_path / "prm", "prm", rows, settings), scores).max() < 1e-6
    uncapped = AutoModelForTokenClassification.from_pretrained(tmp_path / "prm", attn_implementation="sdpa")
    assert max(abs(a - b) for a, b in zip(scores_of(uncapped, "prm", rows), scores, strict=True)) > 1e-3
    with pytest.raises(
        InputError, match=r"attention sdpa: .* squeezes its attention scores into ±2, which sdpa leaves out"
    ):
        build_scorer("prm", replace(settings, attention="sdpa"))
