"""What `accelerate launch` leaves in the environment, and what a training makes of it; test_launch.py starts
real processes.
"""

from pathlib import Path

import pytest
import torch
from accelerate.utils import DeepSpeedPlugin
from transformers import TrainingArguments

from data_gen.settings.errors import InputError
from prm_train.training import arguments as training_arguments
from prm_train.training.arguments import check_launch, device_settings
from prm_train.training.config import TrainOrmConfig, TrainPrmConfig
from prm_train.training.settings import LoraSettings
from tests.tiny_models import tiny_config


def config(**settings) -> TrainOrmConfig:
    return TrainOrmConfig(rows=Path("unused"), output=Path("unused"), model="base", **settings)


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for variable in (
        "ACCELERATE_USE_DEEPSPEED",
        "ACCELERATE_USE_FSDP",
        "ACCELERATE_MIXED_PRECISION",
        "MASTER_ADDR",
        "WORLD_SIZE",
    ):
        monkeypatch.delenv(variable, raising=False)


def arguments(tmp_path: Path, plugin: DeepSpeedPlugin | None = None) -> TrainingArguments:
    made = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    made.deepspeed_plugin = plugin
    return made


def test_use_cpu_under_deepspeed_is_refused_since_trainer_would_leave_deepspeed_out(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(InputError, match="use_cpu: got true under DeepSpeed"):
        device_settings(config(use_cpu=True))


def test_several_processes_asked_for_and_one_started_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(
        InputError, match="`accelerate launch` was asked for several processes and started one"
    ):
        device_settings(config())
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "use_cpu" in device_settings(config())


def test_processes_that_do_not_train_together_are_refused(monkeypatch, tmp_path):
    made = arguments(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="2 processes were started and 1 train together"):
        check_launch(made, config())


def test_zero3_that_would_save_no_weights_is_refused(tmp_path):
    with pytest.raises(InputError, match="would save no weights; expected zero3_save_16bit_model: true"):
        check_launch(
            arguments(tmp_path, DeepSpeedPlugin(zero_stage=3, zero3_save_16bit_model=False)), config()
        )
    check_launch(arguments(tmp_path, DeepSpeedPlugin(zero_stage=3, zero3_save_16bit_model=True)), config())


def test_deepspeeds_bf16_mode_is_refused_and_its_autocast_used(tmp_path):
    plugin = DeepSpeedPlugin(zero_stage=2)
    plugin.deepspeed_config["bf16"] = {"enabled": True}
    with pytest.raises(InputError, match="DeepSpeed's bf16 mode would round the head to 16 bits"):
        check_launch(arguments(tmp_path, plugin), config(bf16_autocast=True))
    plugin = DeepSpeedPlugin(zero_stage=2)
    check_launch(arguments(tmp_path, plugin), config(bf16_autocast=True))
    assert plugin.deepspeed_config["torch_autocast"] == {"enabled": True, "dtype": "bfloat16"}


def test_a_base_in_4_bits_under_zero3_is_refused(tmp_path):
    plugin = DeepSpeedPlugin(zero_stage=3, zero3_save_16bit_model=True)
    with pytest.raises(InputError, match="quantization nf4 with ZeRO stage 3"):
        check_launch(arguments(tmp_path, plugin), config(quantization="nf4", lora=LoraSettings()))


def test_4_bits_take_lora():
    with pytest.raises(
        ValueError, match="quantization: got 'nf4' with lora None and dtype float32, expected lora settings"
    ):
        config(quantization="nf4")


@pytest.mark.parametrize(
    ("model", "settings", "has_kernel", "fault"),
    [
        ("qwen2", {"bf16_autocast": True}, True, None),
        ("llama", {"dtype": "bfloat16"}, True, None),
        ("qwen2", {}, True, "got dtype float32 without bf16_autocast, expected bf16_autocast or"),
        ("qwen2", {"bf16_autocast": True}, False, "expected torch 2.10 and an Ampere GPU, or newer"),
        (
            "qwen2",
            {"bf16_autocast": True, "backbone_dropout": 0.1},
            True,
            "got backbone_dropout 0.1, expected 0",
        ),
        ("gpt2", {"bf16_autocast": True}, True, r"\(gpt2\), expected llama, qwen2 or qwen3 whose"),
        (
            "mistral|window",
            {"bf16_autocast": True},
            True,
            r"\(mistral\), expected llama, qwen2 or qwen3 whose",
        ),
    ],
)
def test_packing_on_a_gpu_wants_a_kernel_for_rows_of_varying_length(
    tmp_path, monkeypatch, model, settings, has_kernel, fault
):
    tiny_config(model, 100).save_pretrained(tmp_path)
    made = arguments(tmp_path)
    made.__dict__["_setup_devices"] = torch.device("cuda")  # where there is none
    monkeypatch.setattr(training_arguments, "has_varlen", lambda: has_kernel)
    packed = {"rows": tmp_path, "output": tmp_path / "prm", "model": str(tmp_path), "packing": True}
    if fault is None:
        check_launch(made, TrainPrmConfig(**packed, **settings))
        return
    with pytest.raises(InputError, match=f"{fault}.*or attention flash_attention_2"):
        check_launch(made, TrainPrmConfig(**packed, **settings))
    check_launch(made, TrainPrmConfig(**packed, **settings, attention="sdpa"))
