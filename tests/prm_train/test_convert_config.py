"""`prm-train convert-config`: what becomes of a config of TRL's PRMTrainer."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from data_gen.settings.errors import InputError
from data_gen.settings.fields import leaf_names
from data_gen.settings.parse import load_yaml
from prm_train.convert_config import main
from prm_train.training.config import TrainPrmConfig
from prm_train.training.from_trl import LEFT_OUT, TrlPrmSettings
from prm_train.training.settings import LoraSettings

ROOT = Path(__file__).parents[2]
TRL_1_13 = ROOT / "build/trl-1.13.0"
# As examples/scripts/prm.py of TRL was called, with LoRA
EXAMPLE = """
model_name_or_path: Qwen/Qwen2-0.5B-Instruct
dataset_name: trl-lib/math_shepherd
output_dir: Qwen2-0.5B-PRM
per_device_train_batch_size: 4
gradient_accumulation_steps: 8
num_train_epochs: 1
learning_rate: 1e-4
eval_strategy: epoch
save_strategy: epoch
load_best_model_at_end: true
warmup_ratio: 0.1
step_separator: "\\n\\n"
max_length: 2048
report_to: [wandb]
use_peft: true
lora_r: 32
lora_alpha: 16
lora_target_modules: all-linear
logging_first_step: true
push_to_hub: true
"""


def convert(folder: Path, text: str, *arguments: str) -> TrainPrmConfig:
    (folder / "trl.yaml").write_text(text)
    main(("--trl", str(folder / "trl.yaml"), "--output", str(folder / "ours.yaml"), *arguments))
    return load_yaml(TrainPrmConfig, folder / "ours.yaml")


def test_what_the_file_says_and_what_trl_has_by_default_are_taken_over(tmp_path: Path) -> None:
    assert convert(tmp_path, EXAMPLE, "--rows", "rows.jsonl") == TrainPrmConfig(
        rows=Path("rows.jsonl"),
        output=Path("Qwen2-0.5B-PRM"),
        model="Qwen/Qwen2-0.5B-Instruct",
        step_separator="\n\n",
        max_length=2048,
        validation_share=0.1,
        n_epochs=1,
        batch_size=4,
        n_accumulated=8,
        learning_rate=1e-4,
        lr_schedule="linear",
        warmup_share=0.1,
        adam_betas=(0.9, 0.999),
        seed=42,
        lora=LoraSettings(32, 16, 0.0),
        bf16_autocast=True,
        gradient_checkpointing=True,
        keep="lowest_validation_loss",
        n_steps_between_logs=10,
        report_to="wandb",
    )
    notes = [line for line in (tmp_path / "ours.yaml").read_text().splitlines() if line.startswith("#")]
    assert len(notes) == 5
    assert notes[1].startswith("# gradient_accumulation_steps 8: TRL multiplied loss and gradient by it")
    assert notes[2] == "# lora_dropout 0.05: TRL set it to 0 (disable_dropout), as it is here"
    assert notes[4] == "# left out, since they change no weights: logging_first_step, push_to_hub"


def test_a_file_that_says_little_gets_the_defaults_of_trl_and_not_ours(tmp_path: Path) -> None:
    found = convert(tmp_path, "model_name_or_path: base\ndataset_name: rows.jsonl\n")
    assert found == TrainPrmConfig(
        rows=Path("rows.jsonl"),
        output=Path("trainer_output"),
        model="base",
        validation_share=0.0,
        n_epochs=3,
        batch_size=8,
        lr_schedule="linear",
        warmup_share=0.0,
        adam_betas=(0.9, 0.999),
        seed=42,
        bf16_autocast=True,
        gradient_checkpointing=True,
        n_steps_between_logs=10,
        n_steps_between_saves=500,
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "train_on_last_step_only: true",
            "train_on_last_step_only: got True; train-orm trains",
        ),
        ("disable_dropout: false", "disable_dropout: got False; say how much with backbone_dropout"),
        ("max_completion_length: 256", "max_completion_length: got 256; rows are cut at max_length alone"),
        ("max_length: null", "max_length: got null, expected a number of tokens"),
        ("use_peft: true", "lora_target_modules: got None; all linear layers are updated here"),
        ("use_peft: true\nlora_target_modules: [q_proj]", r"lora_target_modules: got \['q_proj'\]"),
        ("warmup_steps: 100", "warmup_steps: got 100, expected the share of all steps"),
        ("lr_scheduler_type: polynomial", "lr_scheduler_type: got 'polynomial', expected one of linear"),
        ("optim: adafactor", "optim: got 'adafactor'; AdamW"),
        ("deepspeed: zero3.json", "deepspeed: got 'zero3.json'; launch/train.sh zero2"),
        ("report_to: [wandb, mlflow]", r"report_to: got \['wandb', 'mlflow'\], expected none"),
        ("load_best_model_at_end: true", "load_best_model_at_end: expected eval_strategy and save_strategy"),
        ("galore_rank: 8", "galore_rank: train-prm has nothing like it"),
        ("fp16: yes", "fp16: got 'yes', expected true or false"),
        ("step_separator: ''", "step separator: got '', expected at least one character"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_nothing_is_written(
    tmp_path: Path, line: str, told: str
) -> None:
    with pytest.raises(InputError, match=told):
        convert(tmp_path, f"model_name_or_path: base\ndataset_name: rows.jsonl\n{line}\n")
    assert not (tmp_path / "ours.yaml").exists()


def test_all_that_does_not_fit_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        convert(tmp_path, "dataset_name: trl-lib/math_shepherd\nfp16: true\nsparsity: 2\n")
    named = ("sparsity: ", "fp16: ", "model_name_or_path: ", "dataset_name: got 'trl-lib/math_shepherd'")
    assert [part for part in named if part not in str(caught.value)] == []


def test_a_constant_schedule_has_no_warmup(tmp_path: Path) -> None:
    text = "model_name_or_path: base\nlr_scheduler_type: constant\nwarmup_steps: 0.2\n"
    found = convert(tmp_path, text, "--rows", "rows.jsonl")
    assert (found.lr_schedule, found.warmup_share) == ("constant_with_warmup", 0.0)


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"trl.yaml: expected keys and values"):
        convert(tmp_path, "- 1\n")


def test_the_page_shows_what_becomes_of_its_example_and_of_every_setting(tmp_path: Path) -> None:
    page = (ROOT / "docs/from_trl.md").read_text()
    theirs, ours = re.findall(r"```yaml (?:trl|ours)\n(.*?)```", page, re.DOTALL)
    convert(tmp_path, theirs, "--rows", "rows.jsonl")
    assert (tmp_path / "ours.yaml").read_text() == ours
    table = re.findall(r"^\| (`.+?) \| (.+) \|$", page.partition("## Settings")[2], re.MULTILINE)
    named = [name for left, _ in table for name in re.findall(r"`(\w+)`", left)]
    assert named == [field.name for field in fields(TrlPrmSettings)]
    starts = [re.match(r"`([\w.]+)`", right) for _, right in table]
    settings = {start[1] for start in starts if start}
    assert settings - set(leaf_names(TrainPrmConfig)) == {"lora"}


def test_no_setting_is_both_read_and_left_out() -> None:
    assert {field.name for field in fields(TrlPrmSettings)} & LEFT_OUT == set()


@pytest.mark.skipif(not TRL_1_13.exists(), reason="make bench-training puts TRL 1.13 there")
def test_the_defaults_are_those_of_trl(tmp_path: Path) -> None:
    code = (
        "import dataclasses, json, sys; sys.path.insert(0, sys.argv[1]); "
        "from trl import ModelConfig, ScriptArguments; from trl.experimental.prm import PRMConfig; "
        "print(json.dumps({f.name: f.default for c in (ModelConfig, ScriptArguments, PRMConfig) "
        "for f in dataclasses.fields(c) if isinstance(f.default, int | float | str | None)}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(TRL_1_13)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    theirs = json.loads(run.stdout.splitlines()[-1])
    ours = {field.name: field.default for field in fields(TrlPrmSettings)}
    gone = ("trust_remote_code", "warmup_ratio")  # of earlier versions
    assert {name: theirs.get(name) for name in ours if name not in gone} == {
        name: value for name, value in ours.items() if name not in gone
    }
    assert LEFT_OUT - {"overwrite_output_dir"} <= theirs.keys()
