"""How the project is laid out: what may import what, what may be loaded, where files stand and how they are
named.
"""

import ast
import importlib
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from prm_train.cli import COMMANDS
from tests.import_graph import (
    PACKAGES,
    ROOT,
    cycles,
    files_per_folder,
    folder_of,
    imports,
    longest_function,
    modules,
)

# A folder imports only from folders that stand before it (docs/architecture.md says what each holds). The
# commands, at the roots, are last.
ORDER = (
    "data_gen.process",
    "data_gen.records",
    "data_gen.settings",
    "data_gen.files",
    "data_gen.models",
    "data_gen.answers",
    "data_gen.problems",
    "data_gen.grading",
    "data_gen.policies",
    "data_gen.ledger",
    "data_gen.sampling",
    "data_gen.labeling",
    "data_gen.rows",
    "data_gen.formats",
    "data_gen.judging",
    "data_gen.publishing",
    "data_gen",
    "prm_train.networks",
    "prm_train.encoding",
    "prm_train.checkpoints",
    "prm_train.examples",
    "prm_train.metrics",
    "prm_train.scoring",
    "prm_train.kinds",
    "prm_train.strategies",
    "prm_train.search",
    "prm_train.serving",
    "prm_train.evaluation",
    "prm_train.allocation",
    "prm_train.routing",
    "prm_train.benchmarking",
    "prm_train.publishing",
    "prm_train.rewards",
    "prm_train.training",
    "prm_train.rl",
    "prm_train.self_correction",
    "prm_train.launching",
    "prm_train",
)
# At the roots beside the commands: the old names of modules that published cards, configs or people's scripts
# import.
MOVED = {"data_gen.chains", "data_gen.program_grading", "prm_train.incremental", "prm_train.memory_estimate"}
OTHER_COMMANDS = {"prm_train.cli", "data_gen.pretrain"}  # that `prm-train` does not list
FULLEST = 24  # files of a folder
# JSON that is no file between stages: what each of these modules parses.
OTHER_JSON = {
    "data_gen.grading.worker_pool": "replies of a worker process",
    "data_gen.grading.pool_worker": "questions to it",
    "data_gen.grading.program": "tests in a gold answer, reports of a sandboxed program",
    "data_gen.grading.program_sandbox": "the task of that program",
    "data_gen.grading.remote_program": "messages of that program",
    "data_gen.judging.judge": "replies of a chat server",
    "data_gen.ledger.export": "a column of a ledger",
    "data_gen.ledger.independence": "a column of a ledger",
    "data_gen.ledger.repair": "settings of whichever command wrote the ledger",
    "data_gen.ledger.statistics": "a column of a ledger",
    "data_gen.ledger.verification": "a column of a ledger",
    "data_gen.models.pretrained": "PEFT's adapter_config.json",
    "data_gen.models.tokenizer": "a tokenizer of the tokenizers library",
    "data_gen.policies.servers.http_requests": "requests of clients",
    "data_gen.records.steps": "a tokenizer of the tokenizers library",
    "data_gen.rows.facts": "settings of a run, to be shown as they are",
    "prm_train.checkpoints.facts": "transformers' config.json",
    "prm_train.evaluation.facts": "settings of a quickstart, to be shown as they are",
    "prm_train.rl.curve": "curve.jsonl, whose lines hold whatever a trainer logged",
    "prm_train.scoring.flops": "transformers' config.json, headers of safetensors",
    "prm_train.training.folder": "what transformers writes; whether a config.json is that of a training",
    "prm_train.publishing.vllm_scoring": "its request: it runs where this package is not installed",
}


def test_folders_import_only_what_stands_before_them() -> None:
    files, place = modules(), {folder: number for number, folder in enumerate(ORDER)}
    wrong = []
    for module, imported in imports(files).items():
        for other in imported:
            before, after = folder_of(other, files[other]), folder_of(module, files[module])
            if place[before] > place[after] and other not in PACKAGES:
                wrong.append(f"{module} imports {other}")
    assert wrong == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert cycles(imports(modules())) == []


def test_package_roots_hold_commands_and_nothing_else() -> None:
    at_root = {
        name for name, path in modules().items() if name.count(".") == 1 and path.name != "__init__.py"
    }
    assert at_root - MOVED - OTHER_COMMANDS <= {module for module, _ in COMMANDS.values()}


def test_libraries_import_no_command() -> None:
    commands = {module for module, _ in COMMANDS.values()}
    wrong = {
        (name, other)
        for name, found in imports(modules()).items()
        for other in found & commands
        if name not in commands | MOVED
    }
    assert wrong == set()


def test_folders_and_functions_stay_small() -> None:
    files = modules()
    assert {folder: n for folder, n in files_per_folder(files).items() if n > FULLEST} == {}
    assert longest_function(files)[0] <= 60


@pytest.mark.parametrize(
    ("old", "name"),
    [
        ("data_gen.chains", "Message"),
        ("data_gen.program_grading", "grade"),
        ("prm_train.incremental", "load_scorer"),
        ("prm_train.memory_estimate", "main"),
    ],
)
def test_old_names_work_and_say_where_to_look_now(old: str, name: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(FutureWarning, match=rf"{old} is now "):
        module = importlib.import_module(old)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert callable(getattr(module, name))


def test_data_gen_loads_without_torch_and_never_loads_prm_train() -> None:
    light = [
        name
        for name in modules()
        if name.startswith("data_gen") and name not in {"data_gen.pretrain", *MOVED}
    ]
    light = [name for name in light if not name.startswith("data_gen.policies.")] + [
        "data_gen.policies.protocol"
    ]
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


def test_general_code_names_the_built_in_task_nowhere() -> None:
    named = []
    for name, path in modules().items():
        if name.startswith("data_gen.problems.arithmetic") or name in {
            "data_gen.problems.tasks",
            "data_gen.pretrain",
        }:
            continue
        tree = ast.parse(path.read_text())
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        texts = [
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in prose
        ]
        named += [name for text in texts if isinstance(text, str) and re.search(r"\barithmetic\b", text)]
    importers = {
        name
        for name, imported in imports(modules()).items()
        if any("problems.arithmetic" in other for other in imported)
    }
    assert named == []
    assert {name for name in importers if "problems.arithmetic" not in name} == {
        "data_gen.problems.tasks",
        "data_gen.pretrain",
    }


def test_files_between_stages_are_read_by_their_records_alone() -> None:
    """`data_gen.files.stored_record` reads JSON files into records; whoever else parses JSON reads what is no
    file of ours.
    """
    found = {
        name
        for name, path in modules().items()
        for call in ast.walk(ast.parse(path.read_text()))
        if parses_json(call)
    }
    assert found == set(OTHER_JSON)


def parses_json(node: ast.AST) -> bool:
    """Whether it is a call of `json.loads`, `json.load` or `read_object`."""
    match node:
        case (
            ast.Call(func=ast.Attribute(value=ast.Name("json"), attr="loads" | "load"))
            | ast.Call(func=ast.Name("read_object"))
        ):
            return True
    return False


@pytest.mark.parametrize(
    "code", ["json.loads(path.read_text())", "json.load(file)", "found = [read_object(path)]"]
)
def test_that_a_module_parses_json_is_seen(code: str) -> None:
    assert any(map(parses_json, ast.walk(ast.parse(code))))


def test_files_are_named_by_their_subject() -> None:
    vague = {"util", "utils", "helper", "helpers", "common", "base", "manager", "registry", "misc"}
    assert [name for name in modules() if vague & set(name.rpartition(".")[2].split("_"))] == []


def test_only_tests_of_benchmarks_import_them() -> None:
    texts = {path.relative_to(ROOT / "tests"): path.read_text() for path in (ROOT / "tests").rglob("*.py")}
    importers = [
        path
        for path, text in texts.items()
        if re.search(r"^\s*(from|import) benchmarks\b", text, re.MULTILINE)
    ]
    assert [str(path) for path in importers if path.parts[0] != "benchmarks"] == []


def test_tests_mirror_the_packages() -> None:
    folders = [path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")]
    assert [str(folder) for folder in folders if not (ROOT / folder).is_dir()] == []
    assert (
        list(Path(ROOT / "tests").rglob("__init__.py")) == []
    )  # --import-mode=importlib needs none, and with them equal names would clash
