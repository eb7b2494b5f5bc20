from pathlib import Path

import pytest

from data_gen.publishing.scrubbing import public_path, public_settings, public_text, refuse_secrets, secrets
from data_gen.settings.errors import InputError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "public"),
    [
        ("runs/math/rows", "runs/math/rows"),
        ("/home/alice/models/qwen-7b", "qwen-7b"),
        ("/data/qwen-7b/", "qwen-7b"),
        ("../alice/runs", "runs"),
        ("runs/../../alice/runs", "runs"),
        ("~/runs", "runs"),
    ],
)
def test_a_path_that_leads_out_of_the_project_keeps_its_last_part(path: str, public: str):
    assert public_path(path) == public


def test_an_absolute_path_inside_the_project_becomes_relative(here: Path):
    assert public_path(here / "runs" / "a") == "runs/a"
    assert public_text(f"{here}/runs/a") == "runs/a"


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-7B"),
        ("http://alice:key@10.0.0.7:8000/v1", "<server>"),
        ("see https://intern.example.org/a?token=x for it", "see <server> for it"),
        ("math500=/home/alice/math 500.jsonl", "math500=math 500.jsonl"),
        ("/home/alice lee/models/qwen", "qwen"),
        (
            "Solve {question}: write a/b, 3 / 4 or \\frac{1}{2}.",
            "Solve {question}: write a/b, 3 / 4 or \\frac{1}{2}.",
        ),
        ("Read /home/alice/prompt.txt\nand answer.", "Read prompt.txt\nand answer."),
    ],
)
def test_addresses_and_paths_in_a_text(text: str, public: str):
    assert public_text(text) == public


def test_secrets_of_the_environment_are_found_by_their_names(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_API_KEY", "sk-0123456789")
    monkeypatch.setenv("SHORT_TOKEN", "none")
    monkeypatch.setenv("MAX_TOKENS", "123456789")
    assert "MY_API_KEY" in secrets()
    assert not {"SHORT_TOKEN", "MAX_TOKENS"} & set(secrets())
    assert public_text("--header 'x: sk-0123456789'") == "--header 'x: <secret>'"


def test_settings_named_as_secrets_are_left_out():
    settings = {
        "policy": {"api_key": "x", "api_key_env": "OPENAI_API_KEY", "base_urls": ["http://node7:8000/v1"]},
        "max_new_tokens": 5,
    }
    assert public_settings(settings) == {
        "policy": {"api_key_env": "OPENAI_API_KEY", "base_urls": ["<server>"]},
        "max_new_tokens": 5,
    }


def test_a_file_with_a_secret_is_refused_without_showing_it(here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_API_KEY", "sk-0123456789")
    clean, leaking = here / "clean.jsonl", here / "leaking.jsonl"
    clean.write_text("{}\n")
    leaking.write_text('{}\n{"prompt": "use sk-0123456789"}\n')
    refuse_secrets([clean])
    with pytest.raises(InputError, match=r"leaking\.jsonl:2: holds the value of MY_API_KEY") as caught:
        refuse_secrets([clean, leaking])
    assert "sk-0123456789" not in str(caught.value)
