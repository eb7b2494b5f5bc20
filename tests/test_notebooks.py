"""The notebooks run from their first cell to their last as scripts; what they teach shows at their size."""

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "docs/notebooks"


def printed(name: str, folder: Path) -> str:
    """What a notebook prints when it runs in a folder."""
    pytest.importorskip("marimo")
    run = subprocess.run(
        [sys.executable, str(NOTEBOOKS / name)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def after_prm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with the PRM of `prm.py`, which the notebooks after it take, and what that printed."""
    folder = tmp_path_factory.mktemp("notebooks")
    return folder, printed("prm.py", folder)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.py")), ids=lambda path: path.name)
def test_what_a_notebook_takes_from_this_project_is_there(path: Path) -> None:
    """Without running it, so also where marimo is not installed."""
    taken = [
        (node.module, each.name)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and node.module
        and node.module.startswith(("prm_train.", "data_gen."))
        for each in node.names
    ]
    assert not [
        f"{module}.{name}" for module, name in taken if not hasattr(importlib.import_module(module), name)
    ]


def number(text: str, pattern: str) -> float:
    found = re.search(pattern, text)
    assert found is not None, f"{pattern} in\n{text}"
    return float(found[1])


@pytest.mark.slow
def test_labels_locate_more_first_errors_with_more_rollouts(tmp_path: Path) -> None:
    text = printed("labels.py", tmp_path)
    few, many = (number(text, rf"first_error, {n} rollouts \| ([\d.]+) ?%") for n in (2, 8))
    assert 0 < few <= many
    assert "**first error**" in text


@pytest.mark.slow
def test_the_prm_ranks_right_steps_above_wrong_ones(after_prm: tuple[Path, str]) -> None:
    assert number(after_prm[1], r"Steps against the truth: AUROC ([\d.]+)") > 0.6


@pytest.mark.slow
def test_search_solves_more_by_a_weighted_vote_than_by_the_highest_score(after_prm: tuple[Path, str]) -> None:
    text = printed("search.py", after_prm[0])
    assert "the PRM in `runs/notebooks/prm`" in text
    at_16 = r" \|(?:[^|\n]*\|){2} ([\d.]+) ?%"
    assert number(text, f"PRM weighted{at_16}") > number(text, f"PRM vanilla{at_16}")


@pytest.mark.slow
def test_evaluation_shows_that_intervals_over_samples_are_too_narrow(after_prm: tuple[Path, str]) -> None:
    text = printed("evaluation.py", after_prm[0])
    problems, samples = (
        number(text, rf"resampling {each} \| ([\d.]+) ?%") for each in ("problems", "single samples")
    )
    assert problems > 90 > samples
    assert number(text, r"always [\d.]+ \| ([\d.]+)") == 0.5  # AUROC of a constant
