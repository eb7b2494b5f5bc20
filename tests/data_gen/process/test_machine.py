import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from data_gen.process.machine import code_version


def git(folder: Path, *arguments: str) -> None:
    author = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    subprocess.run(["git", "-C", str(folder), *author, *arguments], check=True, capture_output=True)


def test_the_version_names_the_commit_of_a_checkout_and_whether_files_have_changed_since(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("a")
    git(tmp_path, "init")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "a")
    committed = code_version(tmp_path)
    assert re.fullmatch(re.escape(version("prm-train")) + r", commit [0-9a-f]{12}", committed)
    (tmp_path / "file").write_text("b")
    assert code_version(tmp_path) == f"{committed}, with changes"


def test_a_package_that_is_installed_inside_another_checkout_has_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init")
    (tmp_path / "site-packages").mkdir()
    assert code_version(tmp_path / "site-packages") == version("prm-train")
