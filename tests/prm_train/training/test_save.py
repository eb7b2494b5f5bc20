import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from safetensors.torch import load_file, save_file
from transformers import set_seed

from data_gen.settings.errors import InputError
from prm_train.checkpoints.facts import CheckpointFacts, Kind
from prm_train.examples.examples import Example
from prm_train.training.config import TrainOrmConfig, TrainPrmConfig
from prm_train.training.save import Parity, compare_scores, parity_rows, saved_scores, scores_of
from prm_train.training.scorer_network import build_scorer, save_scorer
from prm_train.training.scorer_training import PrmTraining
from prm_train.training.settings import LoraSettings


def saved(kind: Kind, policy: Path, folder: Path, **settings):
    """(config, rows, their scores in memory) of a scorer that was saved to the folder."""
    set_seed(0)
    config = TrainOrmConfig(rows=Path("unused"), output=folder, model=str(policy), **settings)
    model, encoding = build_scorer(kind, config)
    rows = []
    for i in range(3):
        ids, ends = encoding.encode(f"Start with {i}", ["3 plus 4 = 7", f"Answer: {i}"])
        places = ends if kind == "prm" else ends[-1:]
        rows.append(Example("q", ids, places, (1.0,) * len(places), (1.0,) * len(places)))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    scores = scores_of(model, kind, rows)
    save_scorer(model, encoding, CheckpointFacts(kind, encoding.facts, "test", "min"), folder)
    return config, rows, scores


def check_parity(
    folder: Path, kind: Kind, rows: list[Example], scores: list[float], config: TrainOrmConfig
) -> Parity:
    return compare_scores(scores, saved_scores(folder, kind, rows, config), folder, config.dtype, len(rows))


@pytest.mark.parametrize("kind", ["prm", "orm"])
@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)])
def test_a_saved_scorer_scores_as_it_did_in_memory(kind, lora, tiny_policy, tmp_path):
    config, rows, scores = saved(kind, tiny_policy, tmp_path, lora=lora)
    assert len(scores) == (6 if kind == "prm" else 3)
    found = check_parity(tmp_path, kind, rows, scores, config)
    assert (found.n_rows, found.n_scores, found.tolerance) == (3, len(scores), 1e-4)
    assert found.max_abs_difference < 1e-6


def test_a_bfloat16_scorer_is_saved_with_a_float32_head(tiny_policy, tmp_path):
    config, rows, scores = saved("prm", tiny_policy, tmp_path, lora=LoraSettings(rank=2), dtype="bfloat16")
    assert check_parity(tmp_path, "prm", rows, scores, config).max_abs_difference < 0.05
    weights = load_file(tmp_path / "model.safetensors")
    assert (weights["score.weight"].dtype, weights["model.embed_tokens.weight"].dtype) == (
        torch.float32,
        torch.bfloat16,
    )


@pytest.mark.parametrize("fault", ["another head", "classes turned round", "not a number"])
def test_a_checkpoint_that_scores_otherwise_is_an_error(fault, tiny_policy, tmp_path):
    config, rows, scores = saved("prm", tiny_policy, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    head = weights["score.weight"]
    broken = {
        "another head": torch.randn_like(head),
        "classes turned round": head.flip(0),
        "not a number": head * float("nan"),
    }
    save_file(
        weights | {"score.weight": broken[fault].contiguous()},
        tmp_path / "model.safetensors",
        {"format": "pt"},
    )
    said = "the checkpoint is not the model that was trained"
    if fault == "not a number":  # which no model may hold that is loaded
        said = "1 of its weights hold NaN or infinite numbers"
    with pytest.raises((RuntimeError, InputError), match=said):
        check_parity(tmp_path, "prm", rows, scores, config)


def test_of_many_scores_in_16_bits_one_in_a_hundred_may_differ_by_more(tmp_path):
    trained = [0.5] * 200
    loaded = [0.56, 0.44, *trained[2:]]
    found = compare_scores(trained, loaded, tmp_path, "bfloat16", 8)
    assert found.max_abs_difference == pytest.approx(0.06)
    with pytest.raises(
        RuntimeError, match=r"3 of 200 scores of 8 rows differ by more than 0\.05, up to 0\.06"
    ):
        compare_scores(trained, [*loaded[:2], 0.56, *loaded[3:]], tmp_path, "bfloat16", 8)
    with pytest.raises(RuntimeError, match="2 of 200"):
        compare_scores(trained, loaded, tmp_path, "float32", 8)
    with pytest.raises(RuntimeError, match="1 of 16"):  # of few scores, none
        compare_scores(trained[:16], loaded[1:17], tmp_path, "bfloat16", 8)
    with pytest.raises(RuntimeError, match="up to nan"):  # which no rounding makes
        compare_scores(trained, [math.nan, *trained[1:]], tmp_path, "bfloat16", 8)


@pytest.mark.parametrize(
    ("settings", "distributed_type", "is_exact"),
    [
        ({}, DistributedType.NO, True),
        ({}, DistributedType.MULTI_GPU, True),
        ({}, DistributedType.FSDP, False),
        ({"dtype": "bfloat16"}, DistributedType.NO, False),
        ({"attention": "flash_attention_2"}, DistributedType.NO, False),  # which takes no float32
    ],
)
def test_what_can_score_in_float32_is_compared_without_autocast(
    settings, distributed_type, is_exact, tmp_path
):
    config = TrainPrmConfig(rows=tmp_path, output=tmp_path, model="m", bf16_autocast=True, **settings)
    trainer = SimpleNamespace(accelerator=SimpleNamespace(distributed_type=distributed_type))
    assert PrmTraining([], config).is_compared_exactly(trainer) is is_exact


def test_rows_are_taken_evenly():
    rows = [Example(str(i), (1,), (0,), (1.0,), (1.0,)) for i in range(20)]
    assert [row.question for row in parity_rows(rows)] == ["0", "2", "5", "7", "10", "12", "15", "17"]
    assert [row.question for row in parity_rows(rows[:3])] == ["0", "1", "2"]
