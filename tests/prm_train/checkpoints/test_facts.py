import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, Qwen2Config

from data_gen.settings.errors import InputError
from prm_train.checkpoints.calibration import ScoreBin
from prm_train.checkpoints.facts import (
    Calibration,
    CheckpointFacts,
    Reliability,
    Threshold,
    read_facts,
    score_facts,
    store_calibration,
    store_threshold,
)
from prm_train.encoding.paths import EncodingFacts
from prm_train.kinds.load import load_scorer
from prm_train.kinds.lookup import write_facts
from prm_train.training.config import TrainPrmConfig
from prm_train.training.scorer_network import build_scorer, save_scorer

ENCODING = EncodingFacts("chat", "\n", "<|step|>")
RELIABILITY = Reliability((ScoreBin(0.0, 3, 2, 0.25), ScoreBin(0.5, 3, 3, 1.0)))
FACTS = CheckpointFacts("prm", ENCODING, "whether the step is right", "min")


@pytest.fixture
def checkpoint(tiny_policy: Path, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model, encoding = build_scorer(
        "prm", TrainPrmConfig(rows=Path("unused"), output=tmp_path, model=str(tiny_policy))
    )
    save_scorer(
        model,
        encoding,
        CheckpointFacts("prm", encoding.facts, "whether the step is right", "min"),
        tmp_path / "prm",
    )
    return tmp_path / "prm"


def score_of(folder: Path) -> tuple[float, str]:
    scorer = load_scorer(str(folder))

    async def one() -> float:
        async with scorer.session("Start with 3: plus 4.") as tree:
            return await tree.score(tree.extend(tree.root, "3 plus 4 = 7"))

    return asyncio.run(one()), scorer.scorer_id


def test_facts_come_back_as_they_were_written():
    facts = CheckpointFacts(
        *("prm", ENCODING, "l", "last", Calibration("platt", 0.5, 1.0)),
        (Threshold("own validation", 0.3, 0.7),),
        reliability=RELIABILITY,
    )
    config: Any = Qwen2Config()
    write_facts(facts, config)
    assert read_facts(Qwen2Config.from_dict(json.loads(config.to_json_string()))) == facts


def test_a_checkpoint_without_a_calibration_scores_as_its_network():
    config: Any = Qwen2Config()
    config.prm_train = {
        "kind": "prm",
        "encoding": {**vars(ENCODING)},
        "labels": "whether the step is right",
        "aggregation": "min",
    }
    found = read_facts(config)
    assert found == FACTS
    assert (found.calibration.scale, found.calibration.bias, found.thresholds) == (1.0, 0.0, ())


def test_what_decides_no_score_is_not_in_the_id_of_a_scorer():
    old = {
        "kind": "prm",
        "encoding": {**vars(ENCODING)},
        "labels": "whether the step is right",
        "aggregation": "min",
    }
    more = {"thresholds": (Threshold("own validation", 0.3),), "reliability": RELIABILITY}
    tuned = CheckpointFacts(**{**vars(FACTS), **more})
    assert score_facts(FACTS) == score_facts(tuned) == old
    assert (
        score_facts(CheckpointFacts(**{**vars(FACTS), "calibration": Calibration("temperature", 2.0)})) != old
    )


def test_a_scale_that_would_turn_the_order_round_is_refused():
    with pytest.raises(ValueError, match=r"calibration: got scale -1.0, expected more than 0"):
        Calibration("platt", -1.0)
    config: Any = Qwen2Config(name_or_path="somewhere")
    write_facts(FACTS, config)
    config.prm_train["calibration"]["scale"] = 0.0
    with pytest.raises(InputError, match=r"config.json: prm_train.calibration: .*got scale 0.0"):
        read_facts(config)


def test_a_stored_calibration_is_what_the_scorer_uses(checkpoint):
    before, old_id = score_of(checkpoint)
    weights = (checkpoint / "model.safetensors").read_bytes()
    store_calibration(checkpoint, Calibration("platt", 0.5, 1.5), (Threshold("own validation", 0.3, 0.7),))
    after, new_id = score_of(checkpoint)
    logit = torch.logit(torch.tensor(before, dtype=torch.float64))
    assert after == pytest.approx(torch.sigmoid(0.5 * logit + 1.5).item(), rel=1e-9)
    assert old_id != new_id
    assert (checkpoint / "model.safetensors").read_bytes() == weights
    facts = read_facts(AutoConfig.from_pretrained(checkpoint))
    assert (facts.calibration, facts.thresholds) == (
        Calibration("platt", 0.5, 1.5),
        (Threshold("own validation", 0.3, 0.7),),
    )
    assert facts.encoding == ENCODING


def test_a_threshold_replaces_the_one_of_the_same_set(checkpoint):
    own, first, second = (
        Threshold("own validation", 0.4),
        Threshold("ProcessBench gsm8k", 0.6, 0.5),
        Threshold("ProcessBench gsm8k", 0.2),
    )
    for threshold in (own, first, second):
        store_threshold(checkpoint, threshold)
    assert read_facts(AutoConfig.from_pretrained(checkpoint)).thresholds == (own, second)
    store_calibration(checkpoint, Calibration("temperature", 2.0), (own,))
    assert read_facts(AutoConfig.from_pretrained(checkpoint)).thresholds == (own,)


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path, tiny_policy):
    with pytest.raises(InputError, match=r"no config.json there; expected the folder of a checkpoint"):
        store_threshold(tmp_path, Threshold("own validation", 0.5))
    with pytest.raises(
        InputError,
        match=r"config.json: no 'prm_train'; expected a model that train-prm or train-orm has written",
    ):
        store_threshold(tiny_policy, Threshold("own validation", 0.5))
