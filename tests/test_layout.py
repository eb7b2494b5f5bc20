"""What the two packages may load, and how files are named. Import style itself is ruff's business (pyproject.toml)."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("data_gen", "prm_train")


def module_names(package: str) -> list[str]:
    files = sorted((ROOT / package).rglob("*.py"))
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files]


def test_data_gen_loads_without_torch_and_never_loads_prm_train() -> None:
    light = [name for name in module_names("data_gen") if name != "data_gen.pretrain" and not name.startswith("data_gen.policies.")]
    light.append("data_gen.policies.protocol")
    code = f"""
import importlib, sys
for name in {light!r}:
    importlib.import_module(name)
    heavy = {{"torch", "transformers", "vllm", "prm_train"}} & set(sys.modules)
    if heavy:
        sys.exit(f"{{name}} loads {{heavy}}")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_files_are_named_by_their_subject() -> None:
    vague = {"util", "utils", "helper", "helpers", "common", "base", "manager", "registry", "misc"}
    named = [name for package in PACKAGES for name in module_names(package)]
    assert [name for name in named if vague & set(name.rpartition(".")[2].split("_"))] == []


def test_tests_mirror_the_packages() -> None:
    folders = [path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")]
    assert [str(folder) for folder in folders if not (ROOT / folder).is_dir()] == []
    assert list((ROOT / "tests").rglob("__init__.py")) == []  # --import-mode=importlib needs none, and with them equal names would clash
