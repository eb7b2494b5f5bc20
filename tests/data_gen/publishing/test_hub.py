"""Pushes that the loopback Hub refuses, drops or repeats: what a person is told, and what is left on the
Hub.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data_gen.publish_data import main as publish_data
from data_gen.publishing.hub import HubRepository, find_token
from data_gen.settings.errors import InputError
from prm_train.publish import main as publish
from tests.hub_server import Account, Hub, client_settings, serve

ACCOUNTS = {"secret": Account("me"), "reader": Account("me", can_write=False), "stranger": Account("other")}
CLIENT = """
import json, sys
from pathlib import Path
import data_gen.publishing.hub
from data_gen.settings.parse import InputError
from data_gen.publishing.hub import HubRepository, push_folder
data_gen.publishing.hub.PAUSES_SECONDS = (0.01, 0.01)
for push in json.loads(sys.argv[2]):
    try:
        print("pushed", push_folder(Path(sys.argv[1]), HubRepository(**push), "a message"))
    except InputError as error:
        print(error)
"""


@pytest.fixture
def hub() -> Hub:
    return Hub(ACCOUNTS)


@pytest.fixture
def url(hub: Hub) -> Iterator[str]:
    with serve(hub) as address:
        yield address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A card\n")
    (folder / "weights.safetensors").write_bytes(bytes(1000))
    return folder


def push(folder: Path, url: str, *pushes: dict[str, object], **settings: str) -> list[str]:
    """A line for each push: its URL or the error."""
    defaults = {"repo_id": "me/m", "kind": "model", "is_private": True}
    environment = os.environ | client_settings(url, home=folder.parent / "home", token="secret") | settings
    arguments = [str(folder), json.dumps([{**defaults, **push} for push in pushes])]
    run = subprocess.run(
        [sys.executable, "-c", CLIENT, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return [line.replace(url, "HUB") for line in run.stdout.splitlines()]


def test_refusals_are_told_in_one_line(hub: Hub, url: str, folder: Path):
    said = push(
        folder,
        url,
        {"token_env": "READER"},
        {"token_env": "WRONG"},
        {"repo_id": "other/m"},
        {},
        {"token_env": "READER"},
        READER="reader",
        WRONG="wrong",
    )
    read_only = (
        "me/m: the token of READER may not write there (403: Forbidden: you must use a write token to upload "
        "to a repository.); "
        "expected a token with write access to that namespace"
    )
    assert said == [
        read_only,
        "me/m: HUB does not know the token of WRONG (401: Invalid credentials in Authorization header); "
        "expected a valid access token",
        "other/m: the token of HF_TOKEN may not write there (403: You don't have the rights to create a "
        "model under the namespace other); "
        "expected a token with write access to that namespace",
        f"pushed HUB/me/m/commit/{hub.repositories['model', 'me/m'].head}",
        read_only,
    ]
    assert list(hub.repositories) == [("model", "me/m")]


@pytest.mark.parametrize("command", [publish, publish_data], ids=["publish", "publish-data"])
def test_a_token_in_the_place_of_its_variable_is_refused_and_not_shown(
    command: Callable[[list[str]], None], tmp_path: Path
):
    settings = {
        "checkpoint": "c",
        "rows": "r",
        "output": str(tmp_path / "o"),
        "license": "mit",
        "token_env": "hf_SecretToken",
    }
    if command is publish_data:
        del settings["checkpoint"]
    with pytest.raises(
        InputError,
        match="token_env: expected the NAME of an environment variable, in capitals, such as HF_TOKEN",
    ) as told:
        command([f"--{name}={value}" for name, value in settings.items()])
    assert "hf_Secret" not in str(told.value)
    with pytest.raises(ValueError, match="token_env: expected the NAME"):
        HubRepository("me/m", "model", True, "hf_SecretToken")


def test_faults_of_the_server_are_tried_again_and_never_leave_half_a_commit(hub: Hub, url: str, folder: Path):
    hub.fail("POST", "/repos/create", status=503)
    hub.fail("PUT", "/lfs-objects/", status=500)
    hub.fail("POST", "/commit/main", status=502)
    (said,) = push(folder, url, {})
    repository = hub.repositories["model", "me/m"]
    assert said == f"pushed HUB/me/m/commit/{repository.head}"
    assert (len(repository.commits), set(repository.files)) == (2, {"README.md", "weights.safetensors"})


def test_a_server_that_stays_down_is_given_up_after_three_attempts(hub: Hub, url: str, folder: Path):
    hub.fail("POST", "/commit/main", status=500, n_times=10)
    (said,) = push(folder, url, {})
    assert said == "me/m: HUB failed (500: a fault that the test asked for)"
    assert hub.requests.count("POST /api/models/me/m/commit/main") == 3
    assert hub.repositories["model", "me/m"].files == {}


def test_a_lost_answer_makes_no_second_commit(hub: Hub, url: str, folder: Path):
    hub.fail("POST", "/commit/main", status=504, is_late=True)
    assert push(folder, url, {}) == [f"pushed HUB/me/m/commit/{hub.repositories['model', 'me/m'].head}"]
    assert len(hub.repositories["model", "me/m"].commits) == 2  # the empty one and ours


def test_a_card_that_the_hub_refuses_is_told_in_its_words(hub: Hub, url: str, folder: Path):
    (folder / "README.md").write_text("---\nlicense: 3\n---\n# A card\n")
    assert push(folder, url, {}) == [
        'me/m: HUB refused: Invalid metadata in README.md. - "license" must be a string'
    ]
    assert hub.repositories["model", "me/m"].files == {}


def test_another_writer_is_named(hub: Hub, url: str, folder: Path):
    hub.fail("POST", "/commit/main", status=409)
    (said,) = push(folder, url, {})
    assert said == (
        "me/m: something else changed the repository at the same time (409: a fault that the test asked "
        "for); run the same command again"
    )


def test_nothing_private_goes_into_a_public_repository(hub: Hub, url: str, folder: Path):
    public, private = push(folder, url, {"is_private": False}, {"is_private": True})
    assert public.startswith("pushed")
    assert (
        private
        == "me/m: this model exists and is public, expected a private one; choose another name or private "
        "false"
    )


def test_no_network_and_offline_mode(folder: Path):
    closed = "http://127.0.0.1:9"  # the discard port, where nobody listens
    assert push(folder, closed, {}) == ["me/m: HUB cannot be reached ([Errno 111] Connection refused)"]
    assert push(folder, closed, {}, HF_HUB_OFFLINE="1") == ["me/m: HF_HUB_OFFLINE is set; unset it to push"]


def test_a_missing_token_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_TOKEN", "abc")
    assert find_token("MY_TOKEN") == "abc"
    with pytest.raises(InputError, match="no token: the environment variable OTHER_TOKEN is not set"):
        find_token("OTHER_TOKEN")
