"""Recipes of the speedrun: what their settings become, what the rules refuse, how the board is ordered."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.speedrun import RECIPES, RESULT, SEEDS, board, entry, options, read_recipe, stages
from data_gen.settings.errors import InputError


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_keep_the_rules_and_are_told_in_words(path):
    recipe = read_recipe(path)
    assert recipe.changes
    counted = {stage.words: " ".join(stage.commands[0]) for stage in stages(recipe, Path("run"), SEEDS[0])}
    assert list(counted) == ["sample", "label", "build", "train", "sample test", "build test", "evaluate"]
    assert "--problems.seed 100" in counted["sample"]
    assert "--problems.split train" in counted["sample"]
    assert "--problems.split test --problems.n 500 --n_samples 16" in counted["sample test"]
    assert counted["evaluate"].endswith(
        "best-of-n --rows run/candidates.jsonl --n 16 --checkpoint run/prm --output run/voted"
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("sample: {problems.split: test}", "sample: problems.split is fixed by the rules"),
        ("sample: {policy.temperature: 2}", "sample: policy.temperature is fixed"),
        ("train_prm: {model: other}", "train_prm: model is fixed"),
        ("search: {n_samples: 64}", "expected `changes` and settings of sample, label, build, train_prm"),
    ],
)
def test_recipes_that_could_see_test_problems_or_other_weights_are_refused(text, fault, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"changes: all\n{text}\n")
    with pytest.raises(InputError, match=re.escape(fault)):
        read_recipe(path)


def test_settings_become_words_of_a_command_line():
    assert options({"packing": True, "n_epochs": 4, "adam_betas": "0.9,0.98", "keep": None}) == (
        *("--packing", "true", "--n_epochs", "4"),
        *("--adam_betas", "0.9,0.98", "--keep", "null"),
    )


def made(mean: float, cpu_seconds: int, seeds: tuple[int, ...] = (1, 2, 3)) -> dict:
    run = {
        "cpu_seconds": cpu_seconds,
        "n_label_tokens": 3_000_000,
        "n_trained_tokens": 2_000_000,
        "weighted": {"mean": mean, "low": mean - 0.03, "high": mean + 0.03},
    }
    return entry(read_recipe(RECIPES / "lean.yaml"), [run | {"seed": seed} for seed in seeds], "", "a1b2c3d")


def test_an_entry_counts_by_the_mean_of_its_seeds_and_the_cheapest_that_reaches_the_goal_leads():
    good, cheap, poor = made(0.81, 600), made(0.80, 500), made(0.79, 100)
    # Three independent half-widths of 3 points: 3 x sqrt(3) / 3 = 1.73 points
    assert good["weighted"]["high"] == pytest.approx(0.81 + 0.0173, abs=1e-4)
    rows = board({"good": good, "poor": poor, "cheap": cheap}).splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == ["cheap", "good", "poor"]
    assert "| 79.0 (77.3–80.7), not reached | 3.0 | 2.0 | a1b2c3d |" in rows[2]


def test_the_page_holds_the_board_of_the_stored_entries():
    page = (Path(__file__).parents[2] / "docs" / "speedrun.md").read_text()
    assert board(json.loads(RESULT.read_text())) in page
