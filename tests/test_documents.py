"""What documents for people say of the tree is true: paths exist, every folder is described, the commands of
AGENTS.md run.
"""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from prm_train.scoring.flops import read_forward_flops
from prm_train.scoring.work import Work
from tests.test_layout import ORDER

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("docs/architecture.md", "AGENTS.md", "CONTRIBUTING.md", "README.md")
PAGES = tuple(str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs").glob("*.md")))
COMMANDS = re.search(r"```\n(.*?)```", (ROOT / "AGENTS.md").read_text(), re.DOTALL)[1].splitlines()  # type: ignore[index]


def paths_in(text: str) -> list[str]:
    return re.findall(r"`((?:data_gen|prm_train|tests|configs|docs|launch|benchmarks)/[\w/.-]*)`", text)


@pytest.mark.parametrize("document", sorted({*DOCUMENTS, *PAGES}))
def test_the_paths_that_a_document_names_exist(document: str) -> None:
    named = paths_in((ROOT / document).read_text())
    assert named or document not in DOCUMENTS
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_architecture_describes_every_folder_in_the_order_of_imports() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    described = re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE)
    assert [name for name in described if name not in ("data_gen", "prm_train")] == [
        name.split(".")[1] for name in ORDER if "." in name
    ]


def test_files_that_architecture_names_without_their_package_exist() -> None:
    named = re.findall(r"`((?:\w+/)+\w+\.py)`", (ROOT / "docs/architecture.md").read_text())
    found = [
        path
        for path in named
        if any((ROOT / start / path).exists() for start in ("", "data_gen", "prm_train", "data_gen/policies"))
    ]
    assert sorted(set(named) - set(found)) == []


@pytest.mark.parametrize("command", [line for line in COMMANDS if not line.startswith("make")])
def test_the_commands_of_agents_md_run(command: str, tmp_path: Path) -> None:
    line = command.replace("runs/dry", str(tmp_path / "dry"))
    scripts = Path(os.path.realpath(os.environ.get("VIRTUAL_ENV", ROOT / ".venv"))) / "bin"
    run = subprocess.run(
        line.replace(".venv/bin", str(scripts)),
        shell=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_make_targets_of_agents_md_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"make ([a-z-]+)", (ROOT / "AGENTS.md").read_text())) - {"help"}
    assert named <= targets
    assert "help" in targets


def definitions(path: Path) -> set[str]:
    """Functions, classes, methods as `Class.method`, and constants of a module."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return found


@pytest.mark.parametrize("document", PAGES)
def test_the_links_of_a_page_lead_to_files_headings_and_functions_that_exist(document: str) -> None:
    page = ROOT / document
    links = re.findall(r"\[(`?)([^\]`]+)`?\]\(([^)\s#]*)(#[\w-]+)?\)", page.read_text())
    faults = []
    for is_code, name, target, anchor in links:
        if target.startswith("https:"):
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists():
            faults.append(target)
        elif is_code and path.suffix == ".py" and name not in definitions(path):
            faults.append(f"{target}: {name}")
        elif anchor and anchor[1:] not in anchors(path):
            faults.append(f"{target}{anchor}")
    assert faults == []


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub links to them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_method_names_a_function_for_each_of_its_formulas() -> None:
    named = re.findall(r"\[`([\w.]+)`\]\(\.\./(\w+/[\w/]+\.py)\)", (ROOT / "docs/method.md").read_text())
    assert len(named) > 70
    subjects = "labeling", "losses.py", "aggregation.py", "strategies", "flops.py", "metrics"
    assert [each for each in subjects if not any(each in path for _, path in named)] == []


def test_the_examples_of_reading_numbers_are_the_stored_results() -> None:
    text = (ROOT / "docs/reading_numbers.md").read_text()
    examples = re.findall(r"^- `(\w+\.json)` `([^`]+)` = (.+)$", text, re.MULTILINE)
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert [part.splitlines()[0] for part in sections if "\n- `" not in part] == []
    faults = []
    for file, place, shown in examples:
        found = json.loads((ROOT / "benchmarks/results" / file).read_text())
        for key in place.split("/"):
            found = found[int(key)] if isinstance(found, list) else found[key]
        values = [found[end] for end in ("mean", "low", "high")] if isinstance(found, dict) else [found]
        numbers = re.findall(r"-?\d+(?:\.\d+)?", shown)
        if [
            f"{value:.{len(n.partition('.')[2])}f}" for n, value in zip(numbers, values, strict=True)
        ] != numbers:
            faults.append(f"{file} {place}: {shown}, stored {values}")
    assert len(examples) > 35
    assert faults == []
    flops = read_forward_flops(ROOT / "data_gen/problems/arithmetic/base_policy")
    assert flops is not None
    assert f"at position 100 takes {flops.of(Work(1, 100), n_outputs=1) / 1e6:.2f} million" in text


@pytest.mark.slow
def test_the_tutorial_runs_from_its_first_block_to_its_last(tmp_path: Path) -> None:
    """At a smaller size, in an empty folder, with the commands of this checkout."""
    text = (ROOT / "docs/tutorial.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)```", text, re.MULTILINE | re.DOTALL)
    script = "".join(blocks).replace("source .venv/bin/activate\n", "")
    smaller = {
        "n=500": "n=64",
        "--problems.n 400": "--problems.n 40",
        "--problems.offset 400 --problems.n 40": "--problems.offset 40 --problems.n 12",
        "--problems.offset 440 --problems.n 60": "--problems.offset 52 --problems.n 12",
        "--n_samples 16": "--n_samples 4",
        "--n_difficulty_draws 16": "--n_difficulty_draws 4",
        "--sizes 4,16": "--sizes 4",
        "--n_epochs 6": "--n_epochs 2",
        "--n_draws 4": "--n_draws 2",
        "--n 16": "--n 4",
    }
    for words, fewer in smaller.items():
        assert words in script
        script = re.sub(rf"{re.escape(words)}(?!\d)", fewer, script)
    commands = (
        f'prm-train() {{ {sys.executable} -m prm_train.cli "$@"; }}\npython() {{ {sys.executable} "$@"; }}\n'
    )
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands + script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert (tmp_path / "runs/tutorial/report/report.html").stat().st_size > 10_000
    _, table, answers = run.stdout.rpartition("pass@N")
    assert table
    assert "policy's tokens" in answers
