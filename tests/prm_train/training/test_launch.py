"""Trainings started as a user starts them, on two CPU processes: they learn what one process learns, and save
what one process can load.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from data_gen.models.tokenizer import load_tokenizer
from data_gen.rows.layouts import PrmRow, read_rows, write_rows
from prm_train.encoding.paths import prepare_encoding
from prm_train.evaluation.results import SearchReport
from prm_train.examples.batches import Batching, GroupSampler
from prm_train.examples.examples import prm_examples, split_by_question
from prm_train.examples.targets import LabelAlgebra
from prm_train.kinds.load import load_classifier
from prm_train.train_prm import main
from prm_train.training.save import parity_rows, scores_of

ROOT = Path(__file__).parents[3]
N_ROWS = 8  # an optimizer step
CUT_BY_TOKENS = ("--batch_tokens", "128", "--max_length", "128")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 solutions of 20 questions, from 3 to 30 words a step; a step is wrong where it says 9."""
    made = []
    for i in range(40):
        steps = (
            f"{i % 10} plus 1 = {(i + 1) % 10}",
            f"then {i // 10} = {'9' if i % 2 else '8'}" + " 7" * (i % 28),
            "Answer: 1",
        )
        counts = (4, 0 if i % 2 else 3, 0)
        labels = (True, i % 2 == 0, None if i % 2 else True)
        made.append(
            PrmRow(
                f"p{i // 2}",
                f"Start with {i // 2}",
                steps,
                labels,
                counts,
                (4, 4, 0),
                (0, 0, 0),
                ("fixed",) * 3,
                ("rollouts",) * 3,
            )
        )
    path = tmp_path_factory.mktemp("rows") / "prm.jsonl"
    write_rows(path, made)
    return path


def arguments(rows: Path, policy: Path, output: Path, n_processes: int, *more: str) -> list[str]:
    settings = {
        "rows": rows,
        "output": output,
        "model": policy,
        "learning_rate": 0.003,
        "head_learning_rate": 0.01,
        "validation_share": 0.3,
        "batch_size": N_ROWS // n_processes,
        "n_steps_between_logs": 1,
        "n_epochs": 2.0,
    }
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))] + list(more)


def launch(*command: str) -> subprocess.CompletedProcess[str]:
    """With this interpreter's programs first, and no trace of a launcher in the environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {
        "PATH": path,
        "PYTHONPATH": str(ROOT),
        "N_PROCESSES": "2",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment)


def train_on_two(mode: str, rows: Path, policy: Path, output: Path, *more: str) -> dict:
    finished = launch(
        str(ROOT / "launch" / "train.sh"), mode, "train-prm", *arguments(rows, policy, output, 2, *more)
    )
    report = output / "training" / "report.json"
    # Not the exit code: DeepSpeed has aborted after the end of one run in twenty
    assert report.exists(), finished.stderr[-4000:]
    return json.loads(report.read_text())


@pytest.fixture(scope="module")
def alone(rows, tiny_policy, tmp_path_factory):
    """What one process makes of it, whole or with LoRA: (report, folder)."""
    made: dict[tuple[str, ...], tuple[dict, Path]] = {}

    def run(*more: str) -> tuple[dict, Path]:
        if more not in made:
            output = tmp_path_factory.mktemp("alone") / "prm"
            main(arguments(rows, tiny_policy, output, 1, *more))
            made[more] = json.loads((output / "training" / "report.json").read_text()), output
        return made[more]

    return run


def assert_as_alone(report: dict, output: Path, alone: tuple[dict, Path], tolerance: float) -> None:
    """Every step's loss, the gradient of the first, the weights, and the scores of the folder loaded in this
    process.
    """
    expected, folder = alone
    assert len(report["loss_curve"]) == len(expected["loss_curve"]) == 8
    for step, other in zip(report["loss_curve"], expected["loss_curve"], strict=True):
        assert step["loss"] == pytest.approx(other["loss"], rel=tolerance)
    assert report["loss_curve"][0]["grad_norm"] == pytest.approx(
        expected["loss_curve"][0]["grad_norm"], rel=tolerance
    )
    assert report["validation"][-1]["loss"] == pytest.approx(
        expected["validation"][-1]["loss"], rel=tolerance
    )
    assert report["parity"]["n_scores"] >= 8
    assert report["parity"]["max_abs_difference"] < 1e-6
    weights, others = load_file(output / "model.safetensors"), load_file(folder / "model.safetensors")
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        assert torch.allclose(weight, others[name], atol=10 * tolerance), name
    model, encoding, facts = load_classifier(str(output))
    examples = parity_rows(
        prm_examples(
            read_rows(Path(report["config"]["rows"]), PrmRow), encoding, LabelAlgebra(), 128
        ).examples
    )
    scores = scores_of(model, facts.kind, examples)
    assert scores == pytest.approx(
        scores_of(load_classifier(str(folder))[0], facts.kind, examples), abs=10 * tolerance
    )


def test_the_processes_make_different_numbers_of_passes(rows, tiny_policy):
    """What the next tests rest on."""
    encoding = prepare_encoding(load_tokenizer(str(tiny_policy)), "\n")
    training, _ = split_by_question(
        prm_examples(read_rows(rows, PrmRow), encoding, LabelAlgebra(), 128).examples, 0.3
    )
    order = list(GroupSampler([len(example.input_ids) for example in training], N_ROWS, 0, 2))
    shares = [
        [training[i] for i in order[at : at + N_ROWS // 2] if i < len(training)]
        for at in range(0, len(order), N_ROWS // 2)
    ]
    n_passes = [len(Batching(N_ROWS // 2, 128).cut(share)) for share in shares]
    assert any(first != second for first, second in zip(n_passes[::2], n_passes[1::2], strict=True))
    assert len(training) % N_ROWS  # nor is the last step of an epoch a whole one


# Of DeepSpeed's stages the one that spreads the weights, too, is run by default
@pytest.mark.parametrize("mode", ["ddp", pytest.param("zero2", marks=pytest.mark.slow), "zero3"])
def test_two_processes_learn_and_save_what_one_does(mode, rows, tiny_policy, tmp_path, alone):
    report = train_on_two(mode, rows, tiny_policy, tmp_path / "prm", *CUT_BY_TOKENS)
    assert_as_alone(report, tmp_path / "prm", alone(), 1e-4)


@pytest.mark.slow
def test_lora_under_zero3_is_merged_into_whole_weights(rows, tiny_policy, tmp_path, alone):
    lora = ("--lora.rank", "4")
    report = train_on_two("zero3", rows, tiny_policy, tmp_path / "prm", *CUT_BY_TOKENS, *lora)
    assert_as_alone(report, tmp_path / "prm", alone(*lora), 1e-4)


@pytest.mark.slow
def test_bfloat16_under_zero3_keeps_the_base_in_16_bits_and_the_head_in_32(rows, tiny_policy, tmp_path):
    train_on_two("zero3", rows, tiny_policy, tmp_path / "lora", "--lora.rank", "4", "--dtype", "bfloat16")
    weights = load_file(tmp_path / "lora" / "model.safetensors")
    assert weights.pop("score.weight").dtype == weights.pop("score.bias").dtype == torch.float32
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    train_on_two("zero3", rows, tiny_policy, tmp_path / "autocast", "--bf16_autocast", "true")
    weights = load_file(tmp_path / "autocast" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    head = weights["score.weight"]
    assert not torch.equal(head, head.bfloat16().float())  # nor is it 16 bits widened


@pytest.mark.slow
def test_zero3_with_weights_and_optimizer_in_cpu_memory(rows, tiny_policy, tmp_path, alone):
    report = train_on_two("zero3-offload", rows, tiny_policy, tmp_path / "prm", *CUT_BY_TOKENS)
    assert_as_alone(report, tmp_path / "prm", alone(), 1e-3)  # DeepSpeed's own Adam


@pytest.mark.slow
def test_the_line_for_deepspeeds_own_launcher(rows, tiny_policy, tmp_path, alone):
    variables = [
        "ACCELERATE_USE_DEEPSPEED=true",
        f"ACCELERATE_DEEPSPEED_CONFIG_FILE={ROOT}/configs/deepspeed/zero3.json",
    ]
    deepspeed = ["deepspeed", "--num_accelerators", "2", "--no_local_rank", "--module", "prm_train.train_prm"]
    output = tmp_path / "prm"
    finished = launch("env", *variables, *deepspeed, *arguments(rows, tiny_policy, output, 2, *CUT_BY_TOKENS))
    assert (output / "training" / "report.json").exists(), finished.stderr[-4000:]
    assert_as_alone(json.loads((output / "training" / "report.json").read_text()), output, alone(), 1e-4)


def refused(command: list[str], rows: Path, policy: Path, output: Path, *more: str) -> str:
    finished = launch(*command, *arguments(rows, policy, output, 2, *more))
    assert finished.returncode != 0
    assert not output.exists()
    return finished.stderr


@pytest.mark.slow
def test_fsdp_on_cpus_is_refused_since_it_would_train_unconnected_copies(rows, tiny_policy, tmp_path):
    """One process is refused as two are: what decides is what the launcher left in the environment."""
    line = ["env", "N_PROCESSES=1", str(ROOT / "launch" / "train.sh"), "fsdp2", "train-prm"]
    assert "FSDP without a GPU: accelerate would train an unconnected copy" in refused(
        line, rows, tiny_policy, tmp_path / "prm"
    )


@pytest.mark.slow
def test_accelerate_starting_one_process_in_place_of_two_is_refused(rows, tiny_policy, tmp_path):
    line = [
        "accelerate",
        "launch",
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
    ]
    found = refused(
        [*line, "--dynamo_backend", "no", "-m", "prm_train.train_prm"], rows, tiny_policy, tmp_path / "prm"
    )
    assert "`accelerate launch` was asked for several processes and started one" in found


@pytest.mark.slow
def test_zero3_that_would_save_no_weights_is_refused_before_anything_is_loaded(rows, tmp_path):
    """`model` is a folder without a model in it, so whatever loads it first would say so."""
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "config.json").write_text("{}")
    line = [
        "accelerate",
        "launch",
        "--num_processes",
        "1",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
    ]
    zero3 = ["--use_deepspeed", "--zero_stage", "3", "--main_process_port", "0", "-m", "prm_train.train_prm"]
    assert "would save no weights; expected zero3_save_16bit_model: true" in refused(
        [*line, *zero3], rows, tmp_path / "none", tmp_path / "prm"
    )


def test_the_script_says_what_it_takes():
    for words in ([], ["ddp"], ["ddp3", "train-prm"], ["ddp", "sample"]):
        finished = launch(str(ROOT / "launch" / "train.sh"), *words)
        assert finished.returncode == 2
        assert "usage: train.sh single|ddp|zero2|zero3|zero3-offload|fsdp2 train-prm" in finished.stderr


def test_the_script_starts_the_other_trainings_too():
    finished = launch(str(ROOT / "launch" / "train.sh"), "single", "train-revision", "--help")
    assert finished.stderr.startswith("python -m prm_train.train_revision --help\n")
    assert finished.returncode == 0
    assert "--stop_after_minimum" in finished.stdout
    finished = launch(str(ROOT / "launch" / "train.sh"), "single", "grpo", "--help")
    assert finished.stderr.startswith("python -m prm_train.grpo --help\n")
    assert "--credit_weight" in finished.stdout


@pytest.mark.parametrize("stage", ["zero2", "zero3", "zero3_offload"])
def test_both_kinds_of_deepspeed_settings_say_the_same(stage):
    from accelerate.commands.config.config_args import load_config_from_file

    accelerate = load_config_from_file(
        str(ROOT / "configs" / "accelerate" / f"{stage}.yaml")
    ).deepspeed_config
    deepspeed = json.loads((ROOT / "configs" / "deepspeed" / f"{stage}.json").read_text())[
        "zero_optimization"
    ]
    assert accelerate["zero_stage"] == deepspeed["stage"]
    assert accelerate["offload_optimizer_device"] == deepspeed.get("offload_optimizer", {}).get(
        "device", "none"
    )
    assert accelerate["offload_param_device"] == deepspeed.get("offload_param", {}).get("device", "none")
    assert accelerate.get("zero3_save_16bit_model", False) == deepspeed.get(
        "stage3_gather_16bit_weights_on_model_save", False
    )


@pytest.mark.slow
def test_slurm_on_two_machines_starts_one_launcher_on_each(rows, tiny_policy, tmp_path, alone):
    """`srun` and `scontrol` are stubs that take this machine for both; all the rest is real."""
    stubs = {
        "scontrol": "echo localhost\necho elsewhere",
        "srun": 'shift\nSLURM_PROCID=1 "$@" &\nSLURM_PROCID=0 "$@"\nwait',
    }
    for name, text in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    slurm = [
        f"PATH={tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SLURM_JOB_NUM_NODES=2",
        "SLURM_JOB_NODELIST=two",
    ]
    script = [
        "SLURM_JOB_ID=4711",
        f"SLURM_SUBMIT_DIR={ROOT}",
        "N_PROCESSES=1",
        "bash",
        str(ROOT / "launch" / "slurm" / "train_nodes.sbatch"),
    ]
    output = tmp_path / "prm"
    finished = launch(
        "env", *slurm, *script, "zero2", "train-prm", *arguments(rows, tiny_policy, output, 2, *CUT_BY_TOKENS)
    )
    assert (output / "training" / "report.json").exists(), finished.stderr[-4000:]
    assert_as_alone(json.loads((output / "training" / "report.json").read_text()), output, alone(), 1e-4)


@pytest.mark.parametrize("script", ["train.sh", "pipeline.sh"])
def test_scripts_parse(script):
    assert subprocess.run(["bash", "-n", str(ROOT / "launch" / script)], capture_output=True).returncode == 0


def test_a_set_of_configs_that_is_not_whole_is_refused():
    finished = launch(str(ROOT / "launch" / "pipeline.sh"), "quickstart")
    assert finished.returncode == 2
    assert "sample/quickstart.yaml: no such file; the set quickstart is not whole" in finished.stderr


@pytest.mark.parametrize("name", ["smoke", "gsm8k"])
def test_the_configs_of_a_set_fit_together(name):
    """What a stage reads is what the stages before it write."""
    configs = {
        folder: load_yaml_file(folder, name)
        for folder in ("sample", "label", "build", "train_prm", "train_orm", "evaluate")
    }
    searches = [load_yaml_file("search", each) for each in (f"{name}_validation", name)]
    run = configs["sample"]["output"]
    assert configs["label"]["run"] == run
    assert configs["build"]["runs"] == configs["evaluate"]["labeled"] == [run]
    for kind in ("prm", "orm"):
        trained = configs[f"train_{kind}"]
        assert trained["rows"] == f"{configs['build']['output']}/{kind}.jsonl"
        assert {each[kind] for each in (*searches, configs["evaluate"])} == {trained["output"]}
    assert [configs["evaluate"]["validation"], configs["evaluate"]["test"]] == [
        [search["output"]] for search in searches
    ]


def load_yaml_file(folder: str, name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "configs" / folder / f"{name}.yaml").read_text())


@pytest.mark.slow
def test_the_pipeline_runs_from_problems_to_a_report(tmp_path):
    path = f"PATH={Path(sys.executable).parent}:{os.environ['PATH']}"
    finished = launch("env", "-C", str(tmp_path), path, str(ROOT / "launch" / "pipeline.sh"), "smoke")
    assert finished.returncode == 0, finished.stderr[-4000:]
    assert "PRM weighted" in finished.stdout
    run = tmp_path / "runs" / "smoke"
    assert SearchReport.read(run / "report.json").sample_counts == [1, 2, 4, 8]
    for kind in ("prm", "orm"):
        assert (
            json.loads((run / kind / "training" / "report.json").read_text())["parity"]["max_abs_difference"]
            < 1e-6
        )
