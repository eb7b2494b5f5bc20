"""The shipped base policy, and the command that makes one."""

import random
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from data_gen.models.tokenizer import ASSISTANT, EOS, MARKER, PAD, SPECIAL_TOKENS, USER
from data_gen.pretrain import PretrainConfig, PretrainingReport, documents, encode_batch, pretrain
from data_gen.problems.arithmetic import rules
from data_gen.problems.arithmetic.task import BASE_POLICY


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


def test_pretraining_writes_model_tokenizer_and_its_facts(tmp_path: Path):
    config = PretrainConfig(
        n_steps=3,
        n_warmup_steps=1,
        documents_per_batch=2,
        hidden_size=32,
        n_layers=1,
        n_heads=2,
        intermediate_size=32,
    )
    pretrain(config, tmp_path)
    report = PretrainingReport.read(tmp_path / "pretraining.json")
    assert report.config == config
    assert [point.step for point in report.loss_curve] == [3]
    assert set(report.operation_accuracy) >= set(rules.OPERATIONS)
    # The shipped one
    assert PretrainingReport.read(BASE_POLICY / "pretraining.json").config == PretrainConfig()
    assert AutoModelForCausalLM.from_pretrained(tmp_path).num_parameters() == report.cost.n_parameters
