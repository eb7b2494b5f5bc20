"""What documents for people say of the tree is true: paths exist, every folder is described, the commands of
AGENTS.md run.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.test_layout import ORDER

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("docs/architecture.md", "AGENTS.md", "CONTRIBUTING.md", "README.md")
COMMANDS = re.search(r"```\n(.*?)```", (ROOT / "AGENTS.md").read_text(), re.DOTALL)[1].splitlines()  # type: ignore[index]


def paths_in(text: str) -> list[str]:
    return re.findall(r"`((?:data_gen|prm_train|tests|configs|docs|launch|benchmarks)/[\w/.-]*)`", text)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_paths_that_a_document_names_exist(document: str) -> None:
    named = paths_in((ROOT / document).read_text())
    assert named
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
