"""The shipped base policy, and the command that makes one."""

import logging
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from data_gen.files.locks import lock
from data_gen.models.tokenizer import ASSISTANT, EOS, MARKER, PAD, SPECIAL_TOKENS, USER
from data_gen.pretrain import PretrainConfig, PretrainingReport, documents, encode_batch, pretrain
from data_gen.problems.arithmetic import rules
from data_gen.problems.arithmetic.task import BASE_POLICY
from data_gen.settings.errors import InputError


def test_the_shipped_policy_loads_with_transformers_alone():
    tokenizer, model = (
        AutoTokenizer.from_pretrained(BASE_POLICY),
        AutoModelForCausalLM.from_pretrained(BASE_POLICY),
    )
    assert model.config.model_type == "qwen2"
    assert 350_000 < model.num_parameters() < 450_000
    assert model.config.max_position_embeddings >= 1024
    ids = tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS)
    assert len(set(ids)) == len(SPECIAL_TOKENS)
    assert [tokenizer.convert_tokens_to_ids(token) for token in (PAD, EOS)] == [
        tokenizer.pad_token_id,
        tokenizer.eos_token_id,
    ]
    assert tokenizer.convert_tokens_to_ids(MARKER) in tokenizer.all_special_ids


def test_any_text_has_an_encoding_that_comes_back():
    tokenizer = AutoTokenizer.from_pretrained(BASE_POLICY)
    for text in (
        "Start with 3: fold 4.\n3 fold 4=9\n",
        "Natalia sold 48/2 = 24 clips.\n\n#### 72",
        "naïve ∑ 日本 \t x",
    ):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_only_what_the_assistant_writes_is_learnt():
    tokenizer = AutoTokenizer.from_pretrained(BASE_POLICY)
    chat = [
        {"role": "user", "content": "Start with 3: plus 4."},
        {"role": "assistant", "content": "3 plus 4=7\nAnswer: 7"},
    ] * 2
    batch = encode_batch(tokenizer, [chat])
    learnt = tokenizer.decode(batch["input_ids"][0][batch["labels"][0] != -100])
    assert learnt == f"3 plus 4=7\nAnswer: 7{EOS}" * 2
    assert tokenizer.decode(batch["input_ids"][0]).startswith(
        f"{USER}Start with 3: plus 4.{EOS}{ASSISTANT}3 plus"
    )


def test_the_text_holds_up_to_four_earlier_attempts_at_the_same_question():
    batches = documents(PretrainConfig(p_chain=0.5, documents_per_batch=10))
    n_attempts = {len(chat) // 2 for _ in range(60) for chat in next(batches)}
    assert n_attempts == {1, 2, 3, 4, 5}
    chat = next(chat for chat in next(batches) if chat)
    assert {message["content"] for message in chat[::2]} == {chat[0]["content"]}


def test_repairs_in_the_text_raise_the_share_of_right_attempts():
    rng = random.Random(0)
    right = [0, 0]
    for _ in range(400):
        question, attempts = rules.draw_document(rng, 5, 1)
        gold = rules.parse_question(question).gold_answer()
        for i, attempt in enumerate(attempts):
            right[i] += attempt.endswith(f"Answer: {gold}")
    assert right[1] > 1.2 * right[0]


TINY = PretrainConfig(
    n_steps=7,
    n_warmup_steps=2,
    documents_per_batch=2,
    hidden_size=32,
    n_layers=1,
    n_heads=2,
    intermediate_size=32,
)


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining that nothing broke off."""
    folder = tmp_path_factory.mktemp("at once")
    pretrain(TINY, folder, n_attempts=200)
    return folder


def test_pretraining_writes_model_tokenizer_and_its_facts(at_once: Path):
    report = PretrainingReport.read(at_once / "pretraining.json")
    assert report.config == TINY
    assert [point.step for point in report.loss_curve] == [7]
    assert set(report.operation_accuracy) >= set(rules.OPERATIONS)
    # The shipped one
    assert PretrainingReport.read(BASE_POLICY / "pretraining.json").config == PretrainConfig()
    assert AutoModelForCausalLM.from_pretrained(at_once).num_parameters() == report.cost.n_parameters
    assert not (at_once / "training").exists()


class Broken(logging.Handler):
    """Breaks off when a message has been logged, as Ctrl-C would."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self.message = message

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == self.message:
            raise KeyboardInterrupt


def break_off(config: PretrainConfig, output: Path, after: int, caplog: pytest.LogCaptureFixture) -> None:
    """With a checkpoint every second step."""
    handler, logger = Broken(f"checkpoint after step {after}"), logging.getLogger("data_gen.pretrain")
    logger.addHandler(handler)
    with caplog.at_level(logging.DEBUG), pytest.raises(KeyboardInterrupt):
        pretrain(config, output, n_steps_per_checkpoint=2)
    logger.removeHandler(handler)


def test_a_pretraining_that_was_broken_off_goes_on_to_the_same_weights(
    at_once: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    broken = tmp_path
    break_off(TINY, broken, after=2, caplog=caplog)
    (broken / "training" / "unfinished").mkdir()  # as a kill leaves it
    (broken / "training" / "unfinished" / "state.safetensors").write_bytes(b"half")
    break_off(TINY, broken, after=4, caplog=caplog)
    assert sorted(path.name for path in (broken / "training").glob("[!.]*")) == ["config.json", "step-000004"]
    with caplog.at_level(logging.INFO):
        pretrain(TINY, broken, n_attempts=200)
    assert "going on after step 4 of 7" in caplog.text
    one, two = (load_file(folder / "model.safetensors") for folder in (at_once, broken))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    reports = [PretrainingReport.read(folder / "pretraining.json") for folder in (at_once, broken)]
    assert reports[0].loss_curve == reports[1].loss_curve  # mean loss of all seven steps, and their tokens
    assert not (broken / "training").exists()


def test_two_pretrainings_at_once_do_not_share_a_folder(tmp_path: Path):
    path = tmp_path / "training" / ".lock"
    path.parent.mkdir()
    with path.open("w") as held:
        assert lock(held.fileno(), path)
        with pytest.raises(InputError, match="another pretraining is at work in this folder"):
            pretrain(TINY, tmp_path)
    assert not (tmp_path / "training" / "config.json").exists()


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(tmp_path: Path):
    with pytest.raises(InputError, match="device: got 'gpu', which torch cannot use here"):
        pretrain(replace(TINY, device="gpu"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_pretraining_goes_on_only_with_its_own_config(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    break_off(TINY, tmp_path, after=2, caplog=caplog)
    with pytest.raises(InputError, match=r"another configuration: hidden_size is 32, got 64; choose another"):
        pretrain(replace(TINY, hidden_size=64), tmp_path)
    (tmp_path / "training" / "step-000002" / "state.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match=r"state.safetensors: is damaged .* to begin again"):
        pretrain(TINY, tmp_path)
