"""Models that are not where a command looks for them."""

import errno
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer

from data_gen.models.pretrained import from_hub_or_folder, is_hub_name, load_model_config
from data_gen.models.tokenizer import load_tokenizer
from data_gen.policies.engine.transformers_policy import load_policy
from data_gen.problems.arithmetic.task import BASE_POLICY
from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CheckpointFacts, read_config_facts
from prm_train.encoding.paths import EncodingFacts
from prm_train.estimate_memory import main as estimate_memory
from prm_train.kinds.implicit_prm import ImplicitPrmFacts
from prm_train.kinds.load import load_checkpoint, load_classifier, load_scorer
from prm_train.kinds.lookup import write_facts
from prm_train.publishing.served_parity import load_subject
from prm_train.train_orm import main as train_orm
from prm_train.train_prm import main as train_prm
from tests.tiny_models import write_tiny_model


def test_a_name_that_the_hub_does_not_know_is_one_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        InputError,
        match=r"model nobody/none: not loaded: .*; expected a local folder of a model, or a name on the Hub",
    ):
        load_tokenizer("nobody/none")
    with pytest.raises(InputError, match="model nobody/none: not loaded"):
        estimate_memory(["--model", "nobody/none", "--rows", "rows.jsonl", "--output", "out"])


def test_a_name_of_the_hub_is_user_and_name_and_no_folder_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert is_hub_name("Qwen/Qwen2.5-0.5B")
    assert [
        path for path in ("base", "runs/my/sft", "./sft", "../sft", "/sft", "~/sft", "") if is_hub_name(path)
    ] == []
    assert is_hub_name("runs/sft")
    (tmp_path / "runs" / "sft").mkdir(parents=True)
    assert not is_hub_name("runs/sft")


def test_a_folder_without_weights_is_named(tmp_path: Path):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((BASE_POLICY / name).read_bytes())
    with pytest.raises(InputError, match=rf"model {tmp_path}: not loaded: .*model\.safetensors"):
        load_policy(str(tmp_path))


def test_a_language_model_of_this_project_without_weights_is_named(tmp_path: Path):
    tokenizer = load_tokenizer(str(BASE_POLICY))
    tokenizer.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(BASE_POLICY)
    encoding = EncodingFacts("plain", "\n", "")
    for facts in (
        CheckpointFacts("revision", encoding, "none", "last"),
        ImplicitPrmFacts("implicit_prm", encoding, "none", "last", beta=0.5),
    ):
        write_facts(facts, config)
        config.save_pretrained(tmp_path)
        with pytest.raises(InputError, match=rf"model {tmp_path}: not loaded: .*model\.safetensors"):
            load_checkpoint(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes((BASE_POLICY / "model.safetensors").read_bytes())
    with pytest.raises(InputError, match=rf"model {tmp_path}/reference: not loaded: "):
        load_checkpoint(str(tmp_path))
    config.save_pretrained(tmp_path / "reference")
    with pytest.raises(InputError, match=rf"model {tmp_path}/reference: not loaded: .*model\.safetensors"):
        load_checkpoint(str(tmp_path))


def test_a_served_language_model_without_weights_is_named(tmp_path: Path):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((BASE_POLICY / name).read_bytes())
    with pytest.raises(InputError, match=rf"model {tmp_path}: not loaded: .*model\.safetensors"):
        load_subject(tmp_path, "float32")


def test_a_failing_disk_is_no_missing_model():
    with pytest.raises(OSError, match="No space left"), from_hub_or_folder("base"):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("load", [load_scorer, load_classifier, read_config_facts])
def test_a_scorer_that_is_not_there_is_named(load: Callable[[str], object], tmp_path: Path):
    with pytest.raises(
        InputError, match=rf"model {tmp_path}/none: not loaded: .*; expected a local folder of a model"
    ):
        load(f"{tmp_path}/none")


def test_a_chat_template_that_reads_the_clock_gets_a_fixed_date(tmp_path: Path):
    """As Llama 3.2's does: with today's date in the prompt the same question would have other ids
    tomorrow.
    """
    tokenizer = load_tokenizer(str(BASE_POLICY))
    day = "{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}"
    tokenizer.chat_template = day + "{{- 'Today Date: ' + date_string }}{{- messages[0]['content'] }}"
    tokenizer.save_pretrained(tmp_path / "saved")
    fixed = load_tokenizer(str(tmp_path / "saved"))
    fixed.save_pretrained(tmp_path / "again")
    chat = [{"role": "user", "content": " 1 + 1"}]
    expected = "Today Date: 26 Jul 2024 1 + 1"
    assert tokenizer.apply_chat_template(chat, tokenize=False) != expected
    for each in (
        fixed,
        load_tokenizer(str(tmp_path / "again")),
        AutoTokenizer.from_pretrained(tmp_path / "again"),
    ):
        assert each.apply_chat_template(chat, tokenize=False) == expected
    assert load_tokenizer(str(tmp_path / "again")).chat_template == fixed.chat_template


def test_the_fixed_date_is_written_in_the_format_that_the_template_asks_for(tmp_path: Path):
    tokenizer = load_tokenizer(str(BASE_POLICY))
    formats = ("%Y-%m-%d", "%d %b %Y", "%A, %d %B %Y", "%a %y %j %H:%M:%S", "%d/%d")
    tokenizer.chat_template = "|".join(f"{{{{ strftime_now('{each}') }}}}" for each in formats)
    tokenizer.save_pretrained(tmp_path / "saved")
    fixed = load_tokenizer(str(tmp_path / "saved"))
    fixed.save_pretrained(tmp_path / "again")
    chat = [{"role": "user", "content": "1 + 1"}]
    for each in (
        fixed,
        load_tokenizer(str(tmp_path / "again")),
        AutoTokenizer.from_pretrained(tmp_path / "again"),
    ):
        said = each.apply_chat_template(chat, tokenize=False)
        assert said == "2024-07-26|26 Jul 2024|Friday, 26 July 2024|Fri 24 208 00:00:00|26/26"
        assert said.split("|") == [datetime(2024, 7, 26).strftime(format) for format in formats]


def test_each_of_several_named_chat_templates_gets_the_fixed_date(tmp_path: Path):
    tokenizer = load_tokenizer(str(BASE_POLICY))
    day = "{{ strftime_now('%Y-%m-%d') }}"
    tokenizer.chat_template = {"default": day, "tool_use": f"tools of {day}", "plain": "no date"}
    tokenizer.save_pretrained(tmp_path / "saved")
    fixed = load_tokenizer(str(tmp_path / "saved"))
    fixed.save_pretrained(tmp_path / "again")
    chat = [{"role": "user", "content": "1 + 1"}]
    for each in (
        fixed,
        load_tokenizer(str(tmp_path / "again")),
        AutoTokenizer.from_pretrained(tmp_path / "again"),
    ):
        said = [
            each.apply_chat_template(chat, chat_template=name, tokenize=False)
            for name in ("default", "tool_use", "plain")
        ]
        assert said == ["2024-07-26", "tools of 2024-07-26", "no date"]
        assert each.chat_template == fixed.chat_template
    assert fixed.chat_template["plain"] == "no date"


def test_a_model_that_transformers_does_not_know_is_named(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "abacus"}')
    with pytest.raises(InputError, match=rf"model {tmp_path}: .*abacus"):
        load_model_config(str(tmp_path))


def test_grouped_keys_of_latent_attention_are_refused(tmp_path: Path):
    model = write_tiny_model("deepseek_v2", tmp_path / "base")
    settings = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(settings | {"num_key_value_heads": 2}))
    with pytest.raises(
        InputError, match=rf"model {model}: its config.json says num_key_value_heads 2; expected 4"
    ):
        load_policy(str(model))


@pytest.mark.parametrize(
    ("train", "name", "instead"),
    [
        (
            train_prm,
            "olmo2",
            "no AutoModelForTokenClassification for olmo2; expected .*, or `prm-train train-verifier`",
        ),
        (
            train_orm,
            "granite",
            "no AutoModelForSequenceClassification for granite; expected .*, or `prm-train "
            "train-implicit-prm`",
        ),
    ],
)
def test_an_architecture_without_a_class_for_scores_is_refused_with_what_works_instead(
    train, name, instead, tmp_path: Path
):
    model, rows = write_tiny_model(name, tmp_path / "base"), tmp_path / "rows.jsonl"
    fields = {"prompt": "1 + 1?", "completions": ["2"], "labels": [True]}
    outcome = {"problem_id": "p", "prompt": "1 + 1?", "completion": "2", "label": True}
    rows.write_text(json.dumps(fields if train is train_prm else outcome) + "\n")
    arguments = [
        "--rows",
        str(rows),
        "--output",
        str(tmp_path / "out"),
        "--model",
        str(model),
        "--validation_share",
        "0",
    ]
    with pytest.raises(InputError, match=instead):
        train([*arguments, "--use_cpu", "true"])
