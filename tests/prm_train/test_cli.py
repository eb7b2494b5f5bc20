import runpy
import subprocess
import sys

import pytest

from prm_train import cli


def test_help_lists_the_commands_in_pipeline_order_and_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'transformers', 'pydantic', 'yaml', 'numpy'}"
    code = (
        f"import sys; from prm_train.cli import main; main(['--help']); sys.exit(', '.join({heavy} & "
        "set(sys.modules)) or 0)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    listed = [line.split()[0] for line in shown.splitlines() if line.startswith("  ")]
    assert listed == [
        "sample",
        "grade",
        "label",
        "ledger",
        "consensus",
        "build",
        "convert",
        "convert-config",
        "publish-data",
        "publish-candidates",
        "estimate-memory",
        "train-policy",
        "train-prm",
        "train-orm",
        "train-implicit-prm",
        "train-verifier",
        "train-revision",
        "grpo",
        "train-score",
        "publish",
        "verify-export",
        "calibrate",
        "search",
        "solve",
        "show-tree",
        "score",
        "estimate-difficulty",
        "allocate",
        "route",
        "compare-sizes",
        "evaluate",
        "report",
        "benchmark",
        "serve-policy",
        "serve",
        "launch",
        "quickstart",
    ]


def test_the_modules_of_all_commands_load_without_torch() -> None:
    heavy = "{'torch', 'transformers', 'accelerate', 'sympy'}"
    code = (
        "import importlib, sys; from prm_train.cli import COMMANDS; [importlib.import_module(name) for name, "
        "_ in COMMANDS.values()]; "
        f"sys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr == ""
    )


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([])
    assert capsys.readouterr().out.startswith("usage: prm-train COMMAND")


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("train-pmr", "did you mean train-prm?"),
        ("fly", f"expected one of {', '.join(cli.COMMANDS)}"),
    ],
)
def test_unknown_command_is_refused_with_the_nearest_name(
    capsys: pytest.CaptureFixture[str], command: str, hint: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command])
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"prm-train: error: no command '{command}'; {hint}\n"


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_explains_its_settings(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    assert "\n  --config path\n" in capsys.readouterr().out


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_refuses_a_typo_in_one_line(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--no_such_setting", "1"])
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith(
        f"prm-train {command}: error: unknown key no_such_setting (command line); expected one of "
    )
    assert shown.count("\n") == 1


@pytest.mark.parametrize("module", [module for module, _ in cli.COMMANDS.values()])
# Runpy runs a second copy of the module
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_every_command_runs_as_a_module(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], module: str
) -> None:
    monkeypatch.setattr(sys, "argv", [module, "--no_such_setting", "1"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module(module, run_name="__main__", alter_sys=True)  # as python -m does
    assert caught.value.code == 2
    assert "error: unknown key no_such_setting (command line)" in capsys.readouterr().err
