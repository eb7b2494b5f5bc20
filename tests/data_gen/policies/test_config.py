from dataclasses import fields
from pathlib import Path

import pytest
import torch

from data_gen.files.run_identity import is_execution
from data_gen.policies.config import PolicyConfig
from data_gen.policies.execution import PolicyExecution
from data_gen.policies.servers.addresses import server_url, server_urls
from data_gen.policies.simulated import SimulatedPolicy
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config


def test_urls_are_taken_with_and_without_v1():
    for url in ("http://a:8000", "http://a:8000/", "http://a:8000/v1", "http://a:8000/v1/"):
        assert server_url(url) == "http://a:8000"
    assert server_url("https://example.org/llm/v1") == "https://example.org/llm"


def test_a_file_of_urls_is_read_when_the_policy_is_loaded(tmp_path: Path):
    (tmp_path / "servers.txt").write_text("http://a:1/v1\n\nhttp://b:2\nhttp://a:1\n")
    assert server_urls(("http://c:3", f"@{tmp_path}/servers.txt")) == (
        "http://c:3",
        "http://a:1",
        "http://b:2",
    )
    with pytest.raises(
        InputError, match=r"missing.txt: expected a file with the URL of a server on each line"
    ):
        server_urls((f"@{tmp_path}/missing.txt",))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--servers", "http://a:1", "--dtype", "bfloat16"], "dtype: has no effect with servers"),
        (["--servers", "http://a:1", "--engine", "vllm"], "engine: has no effect with servers"),
        (["--servers", "http://a:1", "--device", "cuda"], "device: has no effect with servers"),
        (
            ["--api_key_env", "KEY"],
            r"api_key_env: has no effect for a policy in this process \(engine transformers\)",
        ),
        (["--revision", "2"], "revision: has no effect for a policy in this process"),
        (
            ["--engine", "vllm", "--device", "cuda"],
            r"device: has no effect for a policy in this process \(engine vllm\)",
        ),
        (
            ["--engine", "vllm", "--model", "simulated"],
            "the simulated policy is no model that vllm could run",
        ),
        (
            ["--servers", "localhost:8000"],
            "servers: got 'localhost:8000', expected a URL such as http://localhost:8000",
        ),
        (["--servers", "http://a:1", "--n_attempts", "0"], "n_attempts: got 0, expected more than 0"),
        (["--max_rows", "-1"], "max_rows: got -1"),
        (["--prefix_cache_bytes", "-1"], "prefix_cache_bytes: got -1, expected 0 or more"),
        (
            ["--tensor_parallel_size", "2"],
            r"tensor_parallel_size: has no effect for a policy in this process \(engine transformers\)",
        ),
        (
            ["--servers", "http://a:1", "--gpu_memory_utilization", "0.5"],
            "gpu_memory_utilization: has no effect with servers",
        ),
        (
            ["--engine", "vllm", "--gpu_memory_utilization", "1.5"],
            "gpu_memory_utilization: got 1.5, expected more than 0 and at most 1",
        ),
        (
            ["--engine", "vllm", "--tensor_parallel_size", "0"],
            "tensor_parallel_size: got 0, expected more than 0",
        ),
        (["--system_prompt", " "], "system_prompt: got ' ', expected a text"),
        (["--system_prompt", "Be brief.\\n"], "system_prompt: got .* expected real newlines"),
        (
            ["--chat_template_kwargs", "{messages: x}"],
            "chat_template_kwargs: got messages, which is set for every prompt here",
        ),
        (
            ["--chat_template_kwargs", "thinking"],
            'chat_template_kwargs: got "thinking", expected mapping of str',
        ),
        (["--model", "simulated", "--system_prompt", "Hi"], "the simulated policy has no chat template"),
        (
            ["--servers", "http://a:1", "--timeout_seconds", ".nan"],
            "timeout_seconds: got NaN, which is no finite number",
        ),
        (
            ["--servers", "http://a:1", "--retry_seconds", ".inf"],
            "retry_seconds: got Infinity, which is no finite number",
        ),
        (
            ["--prompt_template", "Think."],
            r"prompt_template: got 'Think.', expected a text that holds \{question\}",
        ),
        (
            ["--prompt_template", r"{question}\n\nThink."],
            r"prompt_template: got .* holds a backslash and an n; expected real newlines",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments: list[str], message: str):
    with pytest.raises(InputError, match=message):
        parse_config(PolicyConfig, arguments)


def test_settings_of_execution_are_named_alike_for_a_policy_and_for_the_labeling_of_its_run():
    marked = [each.name for each in fields(PolicyConfig) if is_execution(each)]
    assert sorted(marked) == sorted(each.name for each in fields(PolicyExecution))
    assert PolicyExecution(max_rows=8).of(PolicyConfig(model="m", device="cuda")) == PolicyConfig(
        model="m", device="cuda", max_rows=8
    )
    with pytest.raises(InputError, match=r"policy.n_attempts: has no effect for a policy in this process"):
        PolicyExecution(n_attempts=3).of(PolicyConfig())


def test_a_newline_command_of_latex_is_none_and_a_template_with_it_stays():
    assert PolicyConfig(
        prompt_template=r"If $a \neq b$ and \nabla f=0: {question}"
    ).prompt_template.startswith("If")


def test_a_model_that_is_not_there_is_told_before_anything_is_loaded(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    wrong = {
        "nowhere/at/all": "no such folder",
        f"{tmp_path}/empty": "holds no config.json",
        f"{tmp_path}/file": "no such folder",
    }
    for name, reason in wrong.items():
        with pytest.raises(InputError, match=rf"policy.model {name}: {reason}"):
            PolicyConfig(model=name).check()
    PolicyConfig(model="user/name-on-the-hub").check()
    # The server's own name of it
    PolicyConfig(model="nowhere/at/all", servers=("http://a:1",), tokenizer="base").check()
    with pytest.raises(InputError, match=r"policy.tokenizer /nowhere: no such folder"):
        PolicyConfig(model="m", servers=("http://a:1",), tokenizer="/nowhere").check()


@pytest.mark.parametrize("device", ["cuda", "cuda:99", "gpu", "meta", ""])
def test_a_device_that_torch_cannot_use_is_told_before_the_model_is_loaded(device: str):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match=f"device: got '{device}', which torch cannot use here"):
        PolicyConfig(model="base", device=device).load()


def test_what_may_be_a_secret_is_refused_and_never_shown():
    for key in (
        "sk-Ab12Cd34",
        "Ab12Cd34Ef56",
        "AKIAIOSFODNN7EXAMPLE",
        "SK_LIVE_51H8XZ92",
        "ABCDEFGHIJKLMNOP",
    ):
        with pytest.raises(InputError, match="expected the NAME of an environment variable") as caught:
            parse_config(PolicyConfig, ["--servers", "http://a:1", "--api_key_env", key])
        assert key not in str(caught.value)
    for url in ("http://me:hush@a:1", "http://a:1/v1?key=hush"):
        with pytest.raises(InputError, match="a URL holds a user, a password or a query") as caught:
            server_url(url)
        assert "hush" not in str(caught.value)
    for word in (
        "http://a:1/v1?key=hush",
        "http://a:1,http://b/?a=1&key=hush",
        "[http://me:hush@a:1",
        "http://me:hush@b?c",
    ):
        for arguments in (["--servers", word], ["--servers", "http://a", word]):
            with pytest.raises(InputError) as caught:
                parse_config(PolicyConfig, arguments)
            assert "hush" not in str(caught.value)


def test_a_variable_that_is_there_may_have_any_name_in_capitals(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KEY20261126", "secret")
    assert PolicyConfig(servers=("http://a:1",), api_key_env="KEY20261126").api_key_env == "KEY20261126"


def test_a_key_that_is_not_set_is_said_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    config = PolicyConfig(model="simulated", servers=("http://127.0.0.1:9",), api_key_env="NO_SUCH_KEY")
    with pytest.raises(InputError, match="the environment variable NO_SUCH_KEY is not set"):
        config.load()


def test_defaults_run_the_base_policy_in_this_process():
    config = PolicyConfig()
    assert (config.name, config.engine, config.dtype, config.device, config.servers) == (
        "base",
        "transformers",
        "float32",
        "cpu",
        (),
    )
    assert isinstance(PolicyConfig(model="simulated", base_seed=3).load(), SimulatedPolicy)


def test_vllm_that_is_not_installed_is_said_in_one_line():
    try:
        import vllm  # noqa: F401
    except ImportError:
        with pytest.raises(
            InputError,
            match=r"engine vllm: No module named 'vllm'; install it with pip install 'prm-train\[vllm\]'",
        ):
            PolicyConfig(engine="vllm").load()
    else:
        pytest.skip("vllm is installed")
