"""What a run promises beyond its loss: broken off and resumed it ends the same, and it reports that the
checkpoint is the model.
"""

import json
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from data_gen.rows.layouts import PrmRow, read_rows, write_rows
from data_gen.settings.errors import InputError
from prm_train.training.config import TrainPrmConfig
from prm_train.training.run import run_training
from prm_train.training.scorer_training import PrmTraining
from prm_train.training.settings import LoraSettings
from tests.stop_at import StopAt


def rows() -> list[PrmRow]:
    """24 solutions of 12 questions; a step is wrong where it says 9."""
    made = []
    for i in range(24):
        steps, labels = (f"{i % 5} plus 1 = {i % 5 + 1}", f"so {'9' if i % 2 else '8'}"), (True, i % 2 == 0)
        none = (0, 0)
        made.append(
            PrmRow(
                f"p{i // 2}",
                f"Start with {i // 2}",
                steps,
                labels,
                none,
                none,
                none,
                ("fixed",) * 2,
                ("rollouts",) * 2,
            )
        )
    return made


class BrokenTraining(PrmTraining):
    """Is broken off after so many steps."""

    def trainer(self, *arguments: Any) -> Any:
        trainer = super().trainer(*arguments)
        trainer.add_callback(StopAt(5))
        return trainer

    def save(self, *arguments: Any) -> None:
        return None


def run(policy: Path, output: Path, training: type[PrmTraining] = PrmTraining, **settings: Any) -> None:
    file = output.parent / "rows.jsonl"
    if not file.exists():
        write_rows(file, rows())
    config = TrainPrmConfig(
        rows=file,
        output=output,
        model=str(policy),
        learning_rate=0.01,
        n_epochs=2,
        batch_size=4,
        validation_share=0.2,
        n_steps_between_saves=2,
        **settings,
    )
    run_training(training(read_rows(file, PrmRow), config))


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2, dropout=0.2)], ids=["whole", "lora"])
def test_a_training_that_was_broken_off_ends_with_the_weights_of_an_unbroken_one(lora, tiny_policy, tmp_path):
    settings = {"lora": lora, "head_dropout": 0.1, "head_learning_rate": 0.05}
    run(tiny_policy, tmp_path / "whole", **settings)
    run(tiny_policy, tmp_path / "broken", BrokenTraining, **settings)
    assert not (tmp_path / "broken" / "model.safetensors").exists()
    assert [path.name for path in (tmp_path / "broken" / "training").glob("checkpoint-*")] == ["checkpoint-4"]
    if lora is None:
        refuse_what_has_changed(tmp_path / "broken", tiny_policy)
    run(tiny_policy, tmp_path / "broken", **settings)
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken"))
    for name, weight in whole.items():
        assert torch.equal(weight, resumed[name]), name
    marker = (
        load_file(tiny_policy / "model.safetensors")["model.embed_tokens.weight"]
        != whole["model.embed_tokens.weight"]
    )
    # Of the embeddings LoRA trains the step marker's alone
    assert marker.any(1).sum() == 1 if lora else marker.any(1).sum() > 1


def refuse_what_has_changed(output: Path, policy: Path) -> None:
    """Rows with one label turned round, and twice as many processes, are not what the checkpoint in `output`
    was trained with.
    """
    file, sources = output.parent / "rows.jsonl", output / "training" / "sources.json"
    before = file.read_text(), sources.read_text()
    file.write_text(
        before[0].replace("[true, true]", "[true, false]", 1).replace("[true,true]", "[true,false]", 1)
    )
    assert file.read_text() != before[0]
    with pytest.raises(
        InputError,
        match=r"was broken off, and the rows in .*rows\.jsonl have changed since it began; put back",
    ):
        run(policy, output, head_dropout=0.1, head_learning_rate=0.05)
    file.write_text(before[0])
    sources.write_text(json.dumps(json.loads(before[1]) | {"n_processes": 2}))
    with pytest.raises(
        InputError, match="was broken off with 2 processes, got 1: steps would be of other rows"
    ):
        run(policy, output, head_dropout=0.1, head_learning_rate=0.05)
    sources.write_text(before[1])


class UnsavedTraining(PrmTraining):
    """Is broken off when it has made its last step."""

    def save(self, *arguments: Any) -> None:
        return None


def test_a_training_that_was_broken_off_before_it_was_saved_keeps_its_last_validation(tiny_policy, tmp_path):
    run(tiny_policy, tmp_path / "whole")
    whole = json.loads((tmp_path / "whole" / "training" / "report.json").read_text())
    run(tiny_policy, tmp_path / "broken", UnsavedTraining)
    (last,) = (tmp_path / "broken" / "training").glob("checkpoint-*")
    assert last.name == f"checkpoint-{whole['n_steps']}"
    run(tiny_policy, tmp_path / "broken")
    report = json.loads((tmp_path / "broken" / "training" / "report.json").read_text())
    assert report["validation"] == whole["validation"]
    assert [entry["step"] for entry in report["validation"]] == [whole["n_steps"] // 2, whole["n_steps"]]


class SlowBrokenTraining(BrokenTraining):
    """Takes a tenth of a second a step, too."""

    def trainer(self, *arguments: Any) -> Any:
        trainer = super().trainer(*arguments)
        trainer.add_callback(Slow())
        return trainer


class Slow(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        time.sleep(0.1)


def test_the_cost_of_a_resumed_training_is_that_of_all_attempts(tiny_policy, tmp_path):
    output = tmp_path / "run"
    run(tiny_policy, output, SlowBrokenTraining)
    stored = output / "training" / "cost.json"
    first = json.loads(stored.read_text())
    assert first["wall_seconds"] >= 0.5  # five steps
    stored.write_text(
        json.dumps({"wall_seconds": first["wall_seconds"] + 1000, "cpu_seconds": first["cpu_seconds"] + 500})
    )
    run(tiny_policy, output, SlowBrokenTraining)  # broken off again after a step
    assert json.loads(stored.read_text())["wall_seconds"] >= 1000 + first["wall_seconds"]
    run(tiny_policy, output)
    cost = json.loads((output / "training" / "report.json").read_text())["cost"]
    assert 1000 + first["wall_seconds"] < cost["wall_seconds"] < 1100
    assert 500 + first["cpu_seconds"] < cost["cpu_seconds"] < 600
    assert not stored.exists()


def parity(output: Path) -> dict[str, Any]:
    return json.loads((output / "training" / "report.json").read_text())["parity"]


@pytest.mark.parametrize(
    ("dtype", "is_autocast"), [("float32", False), ("bfloat16", False), ("float32", True)]
)
def test_the_report_compares_the_checkpoint_with_the_trained_model(dtype, is_autocast, tiny_policy, tmp_path):
    run(tiny_policy, tmp_path, lora=LoraSettings(rank=2), dtype=dtype, bf16_autocast=is_autocast)
    found = parity(tmp_path)
    assert found["n_scores"] == 2 * found["n_rows"] > 0
    assert found["max_abs_difference"] <= found["tolerance"] == {"float32": 1e-4, "bfloat16": 0.05}[dtype]
    assert "quantization_difference" not in found


class WatchedTraining(PrmTraining):
    """Sees the trained model when it is scored and when it is written."""

    def scores(self, model: Any, encoding: Any, rows: Any) -> list[float]:
        ids = torch.tensor([rows[0].input_ids])
        with torch.no_grad():
            seen = model(input_ids=ids).logits
            (as_tuple,) = model(input_ids=ids, return_dict=False)  # which transformers' decorator sees to
            assert torch.equal(seen, as_tuple)
            with torch.autocast("cpu", torch.bfloat16):
                assert not torch.equal(model(input_ids=ids).logits, seen)
        return super().scores(model, encoding, rows)

    def write(self, model: Any, weights: Any, encoding: Any) -> None:
        assert model.forward != vars(model)["_original_forward"]
        super().write(model, weights, encoding)


def test_autocast_is_left_out_while_the_trained_model_is_scored_and_nothing_else(tiny_policy, tmp_path):
    run(tiny_policy, tmp_path, WatchedTraining, bf16_autocast=True)
    assert parity(tmp_path)["max_abs_difference"] < 1e-6


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_a_training_around_a_base_in_4_bits_reports_what_the_bits_cost(tiny_policy, tmp_path):
    run(tiny_policy, tmp_path, lora=LoraSettings(rank=2), quantization="nf4")
    found = parity(tmp_path)
    assert found["max_abs_difference"] < 1e-6
    assert 0 < found["quantization_difference"] < 0.5
