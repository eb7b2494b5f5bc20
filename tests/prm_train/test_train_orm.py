import asyncio
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, pipeline

from data_gen.records.chats import Message
from data_gen.rows.layouts import OrmHistoryRow, OrmRow, read_rows, write_rows
from data_gen.settings.errors import InputError
from data_gen.settings.parse import load_yaml
from prm_train.examples.examples import orm_examples, split_by_question
from prm_train.kinds.load import load_classifier, load_scorer
from prm_train.scoring.incremental import IncrementalScorer
from prm_train.train_orm import main
from prm_train.training.config import TrainOrmConfig


def train(rows: Path, tiny_policy: Path, output: Path, *more: str) -> dict:
    settings = {
        "rows": rows,
        "output": output,
        "model": tiny_policy,
        "learning_rate": 0.01,
        "n_epochs": 12.0,
        "validation_share": 0.3,
    }
    main([word for name, value in settings.items() for word in (f"--{name}", str(value))] + list(more))
    return json.loads((output / "training" / "report.json").read_text())


def test_training_learns_to_rank_solutions_within_a_problem(orm_rows, tiny_policy, tmp_path):
    report = train(orm_rows, tiny_policy, tmp_path / "orm", "--batch_size", "4")
    last = report["validation"][-1]
    assert (last["auroc"], last["within_problem_auroc"]) == (1.0, 1.0)
    assert last["loss"] < report["validation"][0]["loss"]


@pytest.mark.parametrize("more", [(), ("--lora.rank", "4"), ("--batch_size", "3", "--n_accumulated", "2")])
def test_the_checkpoint_on_disk_has_the_loss_that_training_reported(orm_rows, tiny_policy, tmp_path, more):
    report = train(orm_rows, tiny_policy, tmp_path / "orm", "--n_epochs", "3", *more)
    model, encoding, facts = load_classifier(str(tmp_path / "orm"))
    assert (facts.kind, facts.aggregation) == ("orm", "last")
    losses = []
    for example in split_by_question(orm_examples(read_rows(orm_rows, OrmRow), encoding, 1024).examples, 0.3)[
        1
    ]:
        score = model(input_ids=torch.tensor([example.input_ids])).logits[0, 0].sigmoid()
        losses.append(-(score if example.targets[0] else 1 - score).log().item())
    assert sum(losses) / len(losses) == pytest.approx(report["validation"][-1]["loss"], rel=1e-5)


def test_a_score_is_the_sigmoid_of_the_logit_at_the_last_marker_with_padding_or_without(
    orm_rows, tiny_policy, tmp_path
):
    train(orm_rows, tiny_policy, tmp_path / "orm", "--n_epochs", "3")
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "orm", output_loading_info=True
    )
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    _, encoding, _ = load_classifier(str(tmp_path / "orm"))
    ids, _ = encoding.encode("Start with 3", ["3 plus 1 = 8", "Answer: 4"])
    pad_id = encoding.tokenizer.pad_token_id
    assert pad_id == model.config.pad_token_id != encoding.tokenizer.eos_token_id
    with torch.no_grad():
        alone = model(input_ids=torch.tensor([ids])).logits
        padded = model(input_ids=torch.tensor([ids + (pad_id,) * 7])).logits
        hidden = model.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
    assert torch.allclose(alone, padded, atol=1e-6)
    assert alone.item() == pytest.approx((model.score.weight[0] @ hidden).item(), abs=1e-6)
    served = pipeline("text-classification", model=model, tokenizer=encoding.tokenizer)(
        encoding.tokenizer.decode(ids)
    )
    assert served == [{"label": "correct", "score": pytest.approx(alone.sigmoid().item(), abs=1e-6)}]


def test_a_verifier_of_revisions_reads_the_attempts_before(tiny_policy, tmp_path):
    """All attempts say the same; they are right where the one before says 0, so that nothing but the history
    tells.
    """
    user, made = Message("user", "Start with 3"), []
    for i in range(60):
        question = Message("user", f"Start with {i // 3}")
        prompt = (question, Message("assistant", f"Answer: {i % 3}"), question)
        made.append(
            OrmHistoryRow(f"p{i // 3}", prompt, (Message("assistant", "Answer: 1"),), i % 3 == 0, 1, (0, 1))
        )
    write_rows(tmp_path / "history.jsonl", made)
    report = train(
        tmp_path / "history.jsonl", tiny_policy, tmp_path / "orm", "--batch_size", "4", "--n_epochs", "6"
    )
    assert report["validation"][-1]["within_problem_auroc"] == 1.0
    with pytest.raises(InputError, match="rows with earlier attempts, which differ in them"):
        train(tmp_path / "history.jsonl", tiny_policy, tmp_path / "pairs", "--objective", "pairs")
    with pytest.raises(
        InputError, match="holds solutions after earlier attempts, which candidates are not; expected null"
    ):
        train(
            tmp_path / "history.jsonl",
            tiny_policy,
            tmp_path / "watched",
            "--candidates",
            str(tmp_path / "history.jsonl"),
        )

    async def score(before: str) -> float:
        scorer = load_scorer(str(tmp_path / "orm"))
        assert isinstance(scorer, IncrementalScorer)
        async with scorer.chat_session((user, Message("assistant", before), user)) as tree:
            return await tree.score(tree.extend(tree.root, "Answer: 1"))

    assert asyncio.run(score("Answer: 0")) > 0.8 > 0.2 > asyncio.run(score("Answer: 1"))


@pytest.mark.parametrize("path", sorted(Path("configs/train_orm").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_loads(path):
    assert load_yaml(TrainOrmConfig, path).n_epochs > 0
