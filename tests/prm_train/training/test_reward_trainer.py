"""The trainer on a tiny model."""

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from transformers import TrainerCallback, TrainingArguments, set_seed

from prm_train.checkpoints.facts import Kind
from prm_train.examples.batches import Batching, Collator, GroupSampler, filler
from prm_train.examples.examples import Example
from prm_train.training.config import TrainOrmConfig
from prm_train.training.reward_trainer import RewardTrainer, labeled_places
from prm_train.training.scorer_network import build_scorer
from prm_train.training.settings import LossSettings
from tests.stop_at import StopAt
from tests.two_processes import train_in_two

ONE_PASS, BINARY = Batching(8), LossSettings()
CUTS = [Batching(2), Batching(1), Batching(8, batch_tokens=60)]  # 4, 8 and 4 passes
ONE_STEP: dict[str, Any] = {"max_steps": 1, "per_device_train_batch_size": 8}


def examples(kind: Kind, n_examples: int = 8) -> list[Example]:
    """Paths of 6, 9, 12, … tokens with 1, 2, 3, 4, 1, … labeled steps, so that a mean over batches is not the
    mean over labels.
    """
    made = []
    for i in range(n_examples):
        input_ids = tuple(20 + (7 * i + 3 * j) % 200 for j in range(6 + 3 * i))
        n_labels = 1 + i % 4 if kind == "prm" else 1
        positions = tuple(range(len(input_ids) - n_labels, len(input_ids)))
        targets, weights = (
            tuple((i + j) % 3 / 2 for j in range(n_labels)),
            tuple(1.0 + (i + j) % 2 for j in range(n_labels)),
        )
        made.append(
            Example(f"question {i // 2}", input_ids, positions, targets, weights, tuple(range(n_labels)))
        )
    return made


def make_trainer(
    kind: Kind,
    policy: Path,
    output: Path,
    dtype: Literal["float32", "float64"] = "float32",
    *,
    batching: Batching = ONE_PASS,
    loss: LossSettings = BINARY,
    **settings: Any,
) -> RewardTrainer:
    set_seed(0)
    config = TrainOrmConfig(rows=Path("unused"), output=output, model=str(policy), dtype=dtype)
    model, encoding = build_scorer(kind, config)
    settings = {
        "max_grad_norm": 0.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "learning_rate": 0.01,
    } | settings
    arguments = TrainingArguments(
        output_dir=str(output),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        **settings,
    )
    collator = Collator(kind, encoding.tokenizer.pad_token_id, batching)
    return RewardTrainer(model, arguments, collator, examples(kind), examples(kind), loss)


class KeepGradient(TrainerCallback):
    """The gradient of the first optimizer step, as one vector."""

    gradient: torch.Tensor | None = None

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        if self.gradient is None:
            self.gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def first_step(trainer: RewardTrainer) -> tuple[float, torch.Tensor]:
    """Loss and gradient of one optimizer step on all 8 examples."""
    keep = KeepGradient()
    trainer.add_callback(keep)
    trainer.train()
    assert keep.gradient is not None
    return trainer.state.log_history[0]["loss"], keep.gradient


def relative_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("kind", ["prm", "orm"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-6), ("float32", 1e-4)])
def test_loss_and_gradient_do_not_depend_on_how_rows_are_cut(kind, dtype, tolerance, tiny_policy, tmp_path):
    loss, gradient = first_step(make_trainer(kind, tiny_policy, tmp_path, dtype, **ONE_STEP))
    assert gradient.norm() > 0.01
    for cut in CUTS:
        other_loss, other_gradient = first_step(
            make_trainer(kind, tiny_policy, tmp_path, dtype, batching=cut, **ONE_STEP)
        )
        assert other_loss == pytest.approx(loss, rel=tolerance)
        assert relative_distance(other_gradient, gradient) < tolerance


@pytest.mark.parametrize(
    "loss", [LossSettings(loss="binary_cross_entropy"), LossSettings(loss="pqm")], ids=lambda loss: loss.loss
)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-6), ("float32", 1e-4)])
def test_packed_rows_have_the_loss_and_gradient_of_padded_ones(loss, dtype, tolerance, tiny_policy, tmp_path):
    expected, gradient = first_step(
        make_trainer("prm", tiny_policy, tmp_path, dtype, batching=Batching(1), loss=loss, **ONE_STEP)
    )
    for packed in (Batching(8, is_packed=True), Batching(8, batch_tokens=60, is_packed=True)):
        found, other_gradient = first_step(
            make_trainer("prm", tiny_policy, tmp_path, dtype, batching=packed, loss=loss, **ONE_STEP)
        )
        assert found == pytest.approx(expected, rel=tolerance)
        assert relative_distance(other_gradient, gradient) < tolerance


def test_a_pass_holds_at_most_so_many_rows_and_tokens():
    lengths = [len(example.input_ids) for example in examples("prm")]
    assert lengths == [6, 9, 12, 15, 18, 21, 24, 27]
    assert [len(batch) for batch in Batching(3).cut(examples("prm"))] == [3, 3, 2]
    # 3 x 12 = 36, 2 x 18 = 36, then 21, 24 and 27 alone, since 2 x 24 > 40
    assert [len(batch) for batch in Batching(8, batch_tokens=40).cut(examples("prm"))] == [3, 2, 1, 1, 1]
    # 6 + 9 + 12 + 15 = 42, 18 + 21 = 39, 24, 27
    assert [len(batch) for batch in Batching(8, batch_tokens=44, is_packed=True).cut(examples("prm"))] == [
        4,
        2,
        1,
        1,
    ]


@pytest.mark.parametrize("kind", ["prm", "orm"])
def test_the_logged_loss_is_the_mean_over_labels(kind, tiny_policy, tmp_path):
    trainer = make_trainer(kind, tiny_policy, tmp_path, "float64", batching=Batching(1))
    total, unweighted, n_labels = 0.0, 0.0, 0
    trainer.model.eval()
    for example in examples(kind):
        logits = trainer.model(input_ids=torch.tensor([example.input_ids])).logits[0]
        for position, target, weight in zip(example.positions, example.targets, example.weights, strict=True):
            logit = logits[position, 1] - logits[position, 0] if kind == "prm" else logits[0]
            entropy = -(target * logit.sigmoid().log() + (1 - target) * (1 - logit.sigmoid()).log()).item()
            total, unweighted, n_labels = total + weight * entropy, unweighted + entropy, n_labels + 1
    assert n_labels == (20 if kind == "prm" else 8)
    loss, _ = first_step(
        make_trainer(kind, tiny_policy, tmp_path, "float64", batching=Batching(2), **ONE_STEP)
    )
    assert loss == pytest.approx(total / n_labels, rel=1e-6)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(unweighted / n_labels, rel=1e-9)


@pytest.mark.slow
def test_two_processes_give_the_loss_and_gradient_of_one(tiny_policy, tmp_path):
    train_in_two(tmp_path / "meeting", one_of_two_processes, tiny_policy, tmp_path)
    kinds: tuple[Kind, ...] = ("prm", "orm")
    for kind in kinds:
        loss, gradient = first_step(make_trainer(kind, tiny_policy, tmp_path, "float64", **ONE_STEP))
        found = torch.load(tmp_path / f"{kind}.pt")
        assert found["n_processes"] == 2
        assert found["loss"] == pytest.approx(loss, rel=1e-6)
        assert relative_distance(found["gradient"], gradient) < 1e-6
        trainer = make_trainer(kind, tiny_policy, tmp_path, "float64")
        metrics = trainer.evaluate()
        for name in ("eval_loss", f"eval_{'step_' if kind == 'prm' else ''}within_problem_auroc"):
            assert found["metrics"][name] == pytest.approx(metrics[name], rel=1e-9)


def one_of_two_processes(policy: Path, output: Path) -> None:
    kinds: tuple[Kind, ...] = ("prm", "orm")
    for kind in kinds:
        loss, gradient = first_step(
            make_trainer(
                kind,
                policy,
                output,
                "float64",
                batching=Batching(2),
                **{**ONE_STEP, "per_device_train_batch_size": 4},
            )
        )
        trainer = make_trainer(kind, policy, output, "float64", per_device_eval_batch_size=3)
        metrics = trainer.evaluate()
        if trainer.args.process_index == 0:
            facts = {
                "loss": loss,
                "gradient": gradient,
                "metrics": metrics,
                "n_processes": trainer.args.world_size,
            }
            torch.save(facts, output / f"{kind}.pt")
    trainer.end()


def test_the_head_can_have_its_own_learning_rate(tiny_policy, tmp_path):
    trainer = make_trainer("prm", tiny_policy, tmp_path, weight_decay=0.1)
    trainer.head_learning_rate = 0.5
    groups = trainer.create_optimizer().param_groups
    n_parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    assert [group["lr"] for group in groups] == [0.01, 0.01, 0.5]
    assert sum(parameter.numel() for parameter in groups[2]["params"]) == 2 * 16 + 2
    assert sum(parameter.numel() for group in groups for parameter in group["params"]) == n_parameters


def test_training_resumed_in_the_middle_of_an_epoch_ends_as_unbroken_training(tiny_policy, tmp_path):
    settings: dict[str, Any] = {
        "num_train_epochs": 3,
        "per_device_train_batch_size": 2,
        "save_strategy": "steps",
        "save_steps": 1,
    }
    whole = make_trainer("prm", tiny_policy, tmp_path / "whole", **settings)
    whole.train()
    broken = make_trainer("prm", tiny_policy, tmp_path / "broken", **settings)
    broken.add_callback(StopAt(6))
    broken.train()
    resumed = make_trainer("prm", tiny_policy, tmp_path / "broken", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "broken" / "checkpoint-6"))
    assert resumed.state.global_step == 12
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name


def test_collated_labels_stand_at_step_positions_only():
    two = [Example("q", (5, 6, 7), (0, 2), (1.0, 0.25), (1.0, 3.0)), Example("q", (8,), (0,), (0.0,), (1.0,))]
    found = Collator("prm", 0, Batching(2))(two)
    assert found["labels"].tolist() == [1.0, 0.25, 0.0]
    (batch,) = found["batches"]
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["labels"].tolist() == [[1.0, -100.0, 0.25], [0.0, -100.0, -100.0]]
    assert batch["weights"].tolist() == [[1.0, 0.0, 3.0], [1.0, 0.0, 0.0]]
    (batch,) = Collator("prm", 0, Batching(2, is_packed=True))(two)["batches"]
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0]]
    assert batch["labels"].tolist() == [[1.0, -100.0, 0.25, 0.0]]


def test_labeled_places_are_found_row_by_row_padded_or_packed():
    values, labels = (
        torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        torch.tensor([[-100.0, 1.0, 0.0], [0.0, -100.0, -100.0]]),
    )
    padded = [(value.tolist(), label.tolist()) for value, label in labeled_places(values, labels, None)]
    assert padded == [([2.0, 3.0], [1.0, 0.0]), ([4.0], [0.0])]
    positions = torch.tensor([[0, 1, 2, 0, 1, 2]])
    packed = labeled_places(values.reshape(1, 6), labels.reshape(1, 6), positions)
    assert [(value.tolist(), label.tolist()) for value, label in packed] == padded


def test_an_optimizer_step_sees_random_examples_sorted_by_length():
    lengths = [1 + (37 * i) % 90 for i in range(90)]
    sampler = GroupSampler(lengths, group_size=8, seed=0)
    order = list(sampler)
    assert sorted(order) == list(range(90))
    groups = [[lengths[i] for i in order[at : at + 8]] for at in range(0, 90, 8)]
    assert all(group == sorted(group) for group in groups)
    assert all(max(group) - min(group) > 30 for group in groups[:-1])
    assert order == list(sampler)
    sampler.set_epoch(1)
    assert order != list(sampler)


def test_two_processes_share_a_step_and_a_last_one_that_is_not_whole_is_filled_up():
    lengths = [30, 10, 50, 20, 40, 60]
    order = list(GroupSampler(lengths, group_size=4, seed=0, n_processes=2))
    first, last = order[:4], order[4:]
    assert sorted(i for i in order if i < 6) == [0, 1, 2, 3, 4, 5]
    by_length = sorted(first, key=lambda i: lengths[i])
    assert first == [by_length[0], by_length[2], by_length[1], by_length[3]]  # two for each process
    short, long = sorted((i for i in last if i < 6), key=lambda i: lengths[i])
    assert last == [short, 6, long, 6]
    row = Example("q", (5, 6, 7), (2,), (1.0,), (1.0,))
    collator = Collator("orm", 0, Batching(2))
    assert collator([row, filler(row)])["batches"][0]["input_ids"].tolist() == [[5, 6, 7]]
    alone = collator([filler(row), filler(row)])
    assert alone["labels"].tolist() == [-100.0]
    assert alone["batches"][0]["labels"].tolist() == [[-100.0]]
