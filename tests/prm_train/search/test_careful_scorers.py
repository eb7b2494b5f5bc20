"""Several scorers as one, and lower bounds of their scores, as the commands offer them."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from data_gen.settings.errors import InputError
from prm_train.checkpoints.calibration import UNCALIBRATED, Reliability, ScoreBin
from prm_train.checkpoints.facts import CheckpointFacts, store_calibration
from prm_train.evaluation.shards import read_search
from prm_train.kinds.load import load_scorer
from prm_train.scoring.cautious import lower_bounds
from prm_train.scoring.score import score
from prm_train.search.model_flops import models_flops
from prm_train.search.score_rows import main as score_rows
from prm_train.search.solve_questions import main as solve_questions
from prm_train.training.config import TrainPrmConfig
from prm_train.training.scorer_network import build_scorer, save_scorer
from tests.prm_train.search.test_run import search

BINS = (ScoreBin(0.0, 50, 20, 0.3), ScoreBin(0.45, 50, 20, 0.5), ScoreBin(0.55, 50, 20, 0.9))
QUESTION, STEPS = "Start with 3: plus 4.", ["3 plus 4 = 7", "Answer: 7"]


@pytest.fixture(scope="module")
def prms(random_scorers: dict[str, str], tiny_policy: Path, tmp_path_factory) -> tuple[str, str]:
    """Two random PRMs that say how often their scores are right."""
    folders = tuple(tmp_path_factory.mktemp("prms") / name for name in ("one", "other"))
    shutil.copytree(random_scorers["prm"], folders[0])
    torch.manual_seed(1)
    model, encoding = build_scorer(
        "prm", TrainPrmConfig(rows=Path("unused"), output=folders[1], model=str(tiny_policy))
    )
    save_scorer(model, encoding, CheckpointFacts("prm", encoding.facts, "none", "min"), folders[1])
    for folder in folders:
        store_calibration(folder, UNCALIBRATED, (), Reliability(BINS))
    return str(folders[0]), str(folders[1])


def scored(folder: Path, *arguments: str) -> list[float]:
    rows = folder / "rows.jsonl"
    rows.write_text(json.dumps({"question": QUESTION, "steps": STEPS}) + "\n")
    score_rows(["--rows", str(rows), "--output", str(folder / "scored.jsonl"), *arguments])
    found: list[float] = json.loads((folder / "scored.jsonl").read_text())["scores"]
    return found


def test_rows_are_scored_by_an_ensemble_and_by_lower_bounds(tmp_path: Path, prms: tuple[str, str]) -> None:
    alone = [score(QUESTION, STEPS, load_scorer(prm)) for prm in prms]
    ensemble = ("--checkpoint", prms[0], "--scorer.ensemble", prms[1])
    lowest = [min(pair) for pair in zip(*alone, strict=True)]
    assert scored(tmp_path, *ensemble, "--scorer.combination", "min") == pytest.approx(lowest, abs=1e-6)
    means = [sum(pair) / 2 for pair in zip(*alone, strict=True)]
    assert scored(tmp_path, *ensemble) == pytest.approx(means, abs=1e-6)
    bounds = scored(tmp_path, "--checkpoint", prms[0], "--scorer.pessimism", "0.9")
    of_bins = lower_bounds(BINS, 0.9)
    assert bounds == [of_bins[(step >= 0.45) + (step >= 0.55)] for step in alone[0]]


def test_a_search_names_every_scorer_of_its_ensemble(tmp_path: Path, prms: tuple[str, str]) -> None:
    more = ("--scorer.ensemble", prms[1], "--scorer.combination", "mean_minus_std")
    pessimism = ("--scorer.pessimism", "0.95")
    tree = ("--strategies", "beam", "--sizes", "2", "--max_new_tokens", "60")
    search(tmp_path / "both", "--prm", prms[0], *tree, *more)
    search(tmp_path / "careful", "--prm", prms[0], *tree, *more, *pessimism)
    models = json.loads((tmp_path / "both" / "models.json").read_text())
    ids = [load_scorer(prm).scorer_id for prm in prms]
    assert [models["prm.1"], models["prm.2"]] == ids
    assert models["prm"] not in ids
    careful = json.loads((tmp_path / "careful" / "models.json").read_text())
    assert set(careful) == {"policy", "prm", "prm.1", "prm.2"}
    assert not set(careful.values()) & {*ids, models["prm"]}
    found = read_search([tmp_path / "careful"])
    bounds = lower_bounds(BINS, 0.95)
    lowest_means = {(one + other) / 2 - abs(one - other) / 2 for one in bounds for other in bounds}
    scores = [score for result in found.results for each in result.scored for score in each.scores["prm"]]
    assert scores
    assert all(any(abs(score - each) < 1e-9 for each in lowest_means) for score in scores)
    run = found.results[0].trees["beam"][2]
    assert run.cost.scorer.n_new % 2 == 0  # two scorers of one tokenizer
    assert "prm" not in models_flops(found.config)
    with pytest.raises(InputError, match=r"scorer\.pessimism is 0\.95, got None"):
        search(tmp_path / "careful", "--prm", prms[0], *tree, *more)


def test_scorers_that_do_not_go_together_are_refused(
    tmp_path: Path, prms: tuple[str, str], random_scorers: dict[str, str]
) -> None:
    orm = random_scorers["orm"]
    one = ("--prm", prms[0])
    for arguments, told in (
        ((*one, "--scorer.ensemble", prms[0]), "two are one scorer"),
        ((*one, "--scorer.ensemble", orm), "scorer.ensemble: got PRMs and ORMs, expected one kind"),
        ((*one, "--scorer.ensemble", "/nowhere"), "scorer.ensemble /nowhere: no such folder"),
        ((*one, "--orm", orm, "--scorer.ensemble", prms[1]), "made for one scorer, got prm and orm"),
        ((*one, "--scorer.combination", "min"), "combination: has no effect without ensemble"),
        ((*one, "--scorer.pessimism", "0.5"), "pessimism: got 0.5, expected more than 0.5 and less than 1"),
        (("--scorer.pessimism", "0.9"), "scorer.pessimism: has no effect without a scorer"),
        (
            ("--prm", random_scorers["prm"], "--scorer.pessimism", "0.9"),
            "its config.json does not say how often its scores are right; `prm-train calibrate` counts",
        ),
    ):
        with pytest.raises(InputError, match=re.escape(told)):
            search(tmp_path / "run", *arguments)
    assert not (tmp_path / "run").exists()


def test_a_question_is_answered_with_an_ensemble(tmp_path: Path, prms: tuple[str, str], tiny_policy) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"question": QUESTION}) + "\n")
    models = ("--policy.model", str(tiny_policy), "--prm", prms[0], "--scorer.ensemble", prms[1])
    settings = ("--strategy", "weighted", "--n", "2", "--max_new_tokens", "8")
    solve_questions(["--questions", str(questions), "--output", str(tmp_path / "run"), *models, *settings])
    found = json.loads((tmp_path / "run" / "models.json").read_text())
    assert set(found) == {"policy", "scorer", "scorer.1", "scorer.2"}
