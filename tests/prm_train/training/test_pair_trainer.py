"""train-orm on pairs: what TRL's trainer is given, and what comes out."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from data_gen.rows.layouts import OrmRow, write_rows
from data_gen.settings.errors import ConfigError
from prm_train.examples.examples import Example
from prm_train.examples.outcome import Pair
from prm_train.kinds.load import load_classifier
from prm_train.train_orm import main
from prm_train.training.config import TrainOrmConfig
from prm_train.training.pair_trainer import PairTrainer, PairTraining
from prm_train.training.scorer_network import build_scorer
from prm_train.training.settings import LoraSettings


def solution(token: int, is_right: bool, n_tokens: int = 6) -> Example:
    return Example("q", (*range(20, 20 + n_tokens - 1), token), (n_tokens - 1,), (float(is_right),), (1.0,))


PAIRS = [Pair(solution(60 + i, True, 6 + i), solution(70 + i, False, 9 - i)) for i in range(4)]


class TrainingOnPairs(PairTraining):
    def pairs(self, *unused: Any) -> list[Pair]:
        return PAIRS


def pair_trainer(policy: Path, output: Path, **settings) -> PairTrainer:
    config = TrainOrmConfig(
        rows=Path("unused"),
        output=output,
        model=str(policy),
        objective="pairs",
        validation_share=0.0,
        use_cpu=True,
    )
    config = replace(config, learning_rate=0.01, n_steps_between_logs=1, max_grad_norm=0.0, **settings)
    training = TrainingOnPairs([], config)
    torch.manual_seed(0)
    model, encoding = build_scorer("orm", config)
    return training.trainer(model, training.arguments(), encoding, [], [])


def test_the_loss_is_the_mean_over_pairs_however_the_step_is_cut(tiny_policy, tmp_path):
    expected = 0.0
    trainer = pair_trainer(tiny_policy, tmp_path, batch_size=4, n_epochs=1, dtype="float64")
    trainer.model.eval()
    for pair in PAIRS:
        right, wrong = (
            trainer.model(input_ids=torch.tensor([each.input_ids])).logits.item() for each in pair
        )
        expected += math.log1p(math.exp(wrong - right)) / 4
    gradients = []
    for batch_size in (4, 2, 1):
        trainer = pair_trainer(
            tiny_policy,
            tmp_path,
            batch_size=batch_size,
            n_accumulated=4 // batch_size,
            n_epochs=1,
            dtype="float64",
        )
        trainer.train()
        assert trainer.state.log_history[0]["loss"] == pytest.approx(expected, rel=1e-6)
        gradients.append(trainer.state.log_history[0]["grad_norm"])
    assert gradients[1:] == pytest.approx(gradients[:1] * 2, rel=1e-6)


def test_rows_reach_the_network_as_they_were_encoded(tiny_policy, tmp_path):
    trainer = pair_trainer(tiny_policy, tmp_path, batch_size=4)
    assert len(trainer.train_dataset) == 4  # none dropped for its length, none with an EOS behind the marker
    assert trainer.train_dataset[1] == {
        "chosen_ids": list(PAIRS[1].chosen.input_ids),
        "rejected_ids": list(PAIRS[1].rejected.input_ids),
    }
    batch = trainer.data_collator([trainer.train_dataset[0], trainer.train_dataset[3]])
    pad_id, eos_id = trainer.processing_class.pad_token_id, trainer.processing_class.eos_token_id
    assert batch["input_ids"][0].tolist() == [*PAIRS[0].chosen.input_ids, *[pad_id] * 3]
    assert pad_id not in (None, eos_id)
    assert trainer.model.config.pad_token_id == pad_id


def test_dropout_of_lora_and_of_the_head_stays_on(tiny_policy, tmp_path):
    settings = {"lora": LoraSettings(rank=2, dropout=0.25), "head_dropout": 0.5}
    trainer = pair_trainer(tiny_policy, tmp_path, batch_size=4, **settings)
    rates = {module.p for module in trainer.model.modules() if isinstance(module, nn.Dropout)}
    assert rates == {0.25}
    assert (
        trainer.accelerator.unwrap_model(trainer.model)
        .base_model.model.score.modules_to_save["default"]
        .p_dropout
        == 0.5
    )


def test_the_head_has_its_own_learning_rate_and_precision(tiny_policy, tmp_path):
    trainer = pair_trainer(tiny_policy, tmp_path, batch_size=4, dtype="bfloat16", head_learning_rate=0.5)
    assert trainer.model.score.weight.dtype == torch.float32
    groups = trainer.create_optimizer().param_groups
    assert [(group["lr"], len(group["params"])) for group in groups if group["lr"] == 0.5] == [(0.5, 1)]


def test_close_scores_do_not_tie_in_bfloat16(tiny_policy, tmp_path):
    trainer = pair_trainer(tiny_policy, tmp_path, batch_size=4, bf16_autocast=True)
    head = trainer.model.score
    head.weight.data.zero_()
    head.weight.data[0, 0] = 1.0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = head(torch.tensor([[3.98] + [0.0] * 15, [4.01] + [0.0] * 15]))
    assert scores[:, 0].tolist() == pytest.approx([3.98, 4.01], abs=1e-6)  # TRL's own head: 3.984 and 4.0


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """120 solutions of 40 questions; one of three is right, where it says 8. Harder questions have longer
    texts.
    """
    made = [
        OrmRow(
            f"p{i // 3}",
            f"Start with {i // 3}",
            f"{i % 10} plus 1 = {'9' if i % 3 else '8'}\nAnswer: {i % 7}",
            i % 3 == 0,
        )
        for i in range(120)
    ]
    write_rows(tmp_path / "orm.jsonl", made)
    return tmp_path / "orm.jsonl"


def train(rows: Path, policy: Path, output: Path, *more: str) -> dict:
    settings = {
        "rows": rows,
        "output": output,
        "model": policy,
        "objective": "pairs",
        "learning_rate": 0.01,
        "batch_size": 4,
    }
    main(
        [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        + ["--validation_share", "0.3", *more]
    )
    return json.loads((output / "training" / "report.json").read_text())


def test_scores_from_pairs_are_probabilities_on_other_questions(tiny_policy, tmp_path):
    """Solutions with an 8 are right in 6 of 10 cases, those with a 9 in 1 of 10. Pairs alone would put the
    zero point between them.
    """
    made = []
    for question in range(40):
        for i in range(6):
            digit, is_right = (8, (question + i) % 5 < 3) if i < 3 else (9, (3 * question + i) % 10 == 0)
            text = f"{i} plus 1 = {digit}\nAnswer: {(question + i) % 7}"
            made.append(OrmRow(f"p{question}", f"Start with {question}", text, is_right))
    write_rows(tmp_path / "noisy.jsonl", made)
    report = train(tmp_path / "noisy.jsonl", tiny_policy, tmp_path / "orm", "--n_epochs", "2")
    assert report["calibration"]["after"]["log_loss"] < report["calibration"]["before"]["log_loss"]
    assert report["parity"]["max_abs_difference"] < 1e-6
    model, encoding, facts = load_classifier(str(tmp_path / "orm"))
    assert (facts.kind, facts.calibration.method) == ("orm", "platt")
    for shown, low, high in (("8", 0.4, 0.8), ("9", 0.0, 0.3)):
        ids, _ = encoding.encode("Start with 3", [f"2 plus 1 = {shown}", "Answer: 2"])
        logit = model(input_ids=torch.tensor([ids])).logits.item()
        assert low < 1 / (1 + math.exp(-facts.calibration.scale * logit - facts.calibration.bias)) < high


def test_pairs_teach_what_tells_right_from_wrong(rows, tiny_policy, tmp_path):
    assert (
        train(rows, tiny_policy, tmp_path / "orm", "--n_epochs", "3")["validation"][-1][
            "within_problem_auroc"
        ]
        == 1.0
    )


def test_a_stopped_training_on_pairs_goes_on_where_it_was(rows, tiny_policy, tmp_path):
    report = train(rows, tiny_policy, tmp_path / "whole", "--n_epochs", "1", "--lora.rank", "2")
    checkpoint = tmp_path / "broken"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "prm_train.training.pair_trainer.PairTraining.save",
            lambda *unused: (_ for _ in ()).throw(KeyboardInterrupt),
        )
        with pytest.raises(KeyboardInterrupt):
            train(rows, tiny_policy, checkpoint, "--n_epochs", "1", "--lora.rank", "2")
    again = train(rows, tiny_policy, checkpoint, "--n_epochs", "1", "--lora.rank", "2")
    for name in ("loss", "auroc", "margin"):
        assert again["validation"][-1][name] == pytest.approx(report["validation"][-1][name], rel=1e-6)


def test_passes_of_so_many_tokens_are_refused_for_pairs(rows, tiny_policy, tmp_path):
    with pytest.raises(ConfigError, match="batch_tokens: got 2000 with objective pairs, expected null"):
        train(rows, tiny_policy, tmp_path / "orm", "--batch_tokens", "2000")
