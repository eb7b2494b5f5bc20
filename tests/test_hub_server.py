"""The Hub of the tests against the real clients, each in a process of its own as HF_ENDPOINT is read at
import.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.hub_server import Account, Hub, client_settings, serve

ACCOUNTS = {"secret": Account("me"), "reader": Account("me", can_write=False), "other": Account("other")}


@pytest.fixture
def hub() -> Hub:
    return Hub(ACCOUNTS)


@pytest.fixture
def url(hub: Hub) -> Iterator[str]:
    with serve(hub) as address:
        yield address


def run_client(code: str, url: str, home: Path, token: str | None = "secret") -> str:
    """What the Python code prints in a process that knows only this Hub."""
    environment = {name: value for name, value in os.environ.items() if name != "HF_TOKEN"} | client_settings(
        url, home=home, token=token
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def ndjson(*operations: tuple[str, dict[str, Any]]) -> bytes:
    return b"".join(json.dumps({"key": key, "value": value}).encode() + b"\n" for key, value in operations)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def make_model(url: str, files: dict[str, bytes]) -> None:
    """The model me/m with one commit."""
    httpx.post(f"{url}/api/repos/create", json={"name": "m"}, headers=bearer("secret")).raise_for_status()
    added: list[tuple[str, dict[str, Any]]] = [
        ("file", {"path": path, "content": base64.b64encode(content).decode()})
        for path, content in files.items()
    ]
    body = ndjson(("header", {"summary": "first"}), *added)
    httpx.post(
        f"{url}/api/models/me/m/commit/main", content=body, headers=bearer("secret")
    ).raise_for_status()


# --- real clients


def test_datasets_pushes_and_loads_back(hub: Hub, url: str, tmp_path: Path):
    code = """
import datasets
rows = datasets.Dataset.from_list([{"step": "1 + 1 = 2", "labels": [True, None]}, {"step": "", "labels": []}])
rows.push_to_hub("me/rows", "prm", private=True)
rows.select([1]).push_to_hub("me/rows", "orm")
print(list(datasets.load_dataset("me/rows", "prm", split="train")))
print(list(datasets.load_dataset("me/rows", "orm", split="train")))
"""
    assert run_client(code, url, tmp_path).splitlines() == [
        "[{'step': '1 + 1 = 2', 'labels': [True, None]}, {'step': '', 'labels': []}]",
        "[{'step': '', 'labels': []}]",
    ]
    repository = hub.repositories["dataset", "me/rows"]
    assert repository.is_private
    assert sorted(repository.files) == [
        "README.md",
        "orm/train-00000-of-00001.parquet",
        "prm/train-00000-of-00001.parquet",
    ]
    assert repository.files["prm/train-00000-of-00001.parquet"].is_lfs
    assert not repository.files["README.md"].is_lfs


def test_transformers_pushes_a_model_and_loads_it_by_name(hub: Hub, url: str, tmp_path: Path):
    code = f"""
import torch
from huggingface_hub import HfApi
from transformers import AutoModelForTokenClassification, LlamaConfig, LlamaForTokenClassification
config = LlamaConfig(vocab_size=11, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_labels=2)
model = LlamaForTokenClassification(config)
model.save_pretrained({str(tmp_path / "saved")!r})
api = HfApi()
api.create_repo("me/prm", private=True)
api.upload_folder(repo_id="me/prm", folder_path={str(tmp_path / "saved")!r})
back = AutoModelForTokenClassification.from_pretrained("me/prm")
print(all(torch.equal(weight, back.state_dict()[name]) for name, weight in model.state_dict().items()), len(back.state_dict()))
model.push_to_hub("me/again")
print(len(AutoModelForTokenClassification.from_pretrained("me/again").state_dict()))
"""  # noqa: E501
    # DeepSpeed greets before that
    assert run_client(code, url, tmp_path).splitlines()[-2:] == ["True 13", "13"]
    assert {"config.json", "model.safetensors"} <= set(hub.repositories["model", "me/prm"].files)
    assert hub.repositories["model", "me/prm"].files["model.safetensors"].is_lfs


def test_refusals_reach_the_client_as_its_own_errors(url: str, tmp_path: Path):
    code = """
import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError
api = huggingface_hub.HfApi()
def attempt(what):
    try:
        print("done", what() is not None)
    except HfHubHTTPError as error:
        print(type(error).__name__, error.response.status_code, error.server_message)
attempt(lambda: api.create_repo("me/m", private=True))
attempt(lambda: api.create_repo("me/m"))
attempt(lambda: api.create_repo("me/m", exist_ok=True))
attempt(lambda: api.create_repo("other/m"))
attempt(lambda: api.create_repo("me/n", token="wrong"))
attempt(lambda: api.create_repo("me/n", token=False))
attempt(lambda: api.create_repo("me/n", token="reader"))
attempt(lambda: api.repo_info("me/m", token=False))
attempt(lambda: api.repo_info("me/m", token="other"))
attempt(lambda: api.repo_info("me/m", token="reader"))
attempt(lambda: api.repo_info("me/m", revision="v2"))
attempt(lambda: api.hf_hub_download("me/m", "config.json"))
"""
    assert run_client(code, url, tmp_path).splitlines() == [
        "done True",
        "HfHubHTTPError 409 You already created this model repo",
        "done True",
        "HfHubHTTPError 403 You don't have the rights to create a model under the namespace other",
        "HfHubHTTPError 401 Invalid credentials in Authorization header",
        "HfHubHTTPError 401 Invalid username or password.",
        "HfHubHTTPError 403 Forbidden: you must use a write token to upload to a repository.",
        "RepositoryNotFoundError 401 Repository not found",
        "RepositoryNotFoundError 404 Repository not found",
        "done True",
        "RevisionNotFoundError 404 Invalid rev id: v2",
        "RemoteEntryNotFoundError 404 Entry not found",
    ]


# --- plain HTTP


def test_a_listing_names_folders_and_goes_down_only_when_asked(url: str):
    make_model(url, {"config.json": b"{}", "a/b/c.txt": b"c", "ab.txt": b"x"})
    tree = f"{url}/api/models/me/m/tree/main"

    def listed(address: str) -> list[tuple[str, str]]:
        return [(entry["type"], entry["path"]) for entry in httpx.get(address).raise_for_status().json()]

    assert listed(tree) == [("directory", "a"), ("file", "ab.txt"), ("file", "config.json")]
    assert listed(f"{tree}/a?recursive=True") == [("directory", "a/b"), ("file", "a/b/c.txt")]
    missing = httpx.get(f"{tree}/z")
    assert (missing.status_code, missing.headers["x-error-code"]) == (404, "EntryNotFound")


def test_a_download_names_its_commit_and_takes_ranges(hub: Hub, url: str):
    make_model(url, {"a.txt": b"0123456789"})
    address = f"{url}/me/m/resolve/main/a.txt"
    head, whole, part = (
        httpx.head(address),
        httpx.get(address),
        httpx.get(address, headers={"Range": "bytes=2-4"}),
    )
    assert (head.content, head.headers["content-length"], whole.content) == (b"", "10", b"0123456789")
    assert head.headers["x-repo-commit"] == hub.repositories["model", "me/m"].head
    # Printf 0123456789 | git hash-object --stdin
    assert head.headers["etag"] == '"ad471007bd7f5983d273b9584e5629230150fd54"'
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    assert httpx.get(address, headers={"Range": "bytes=20-"}).status_code == 416


def test_a_commit_that_cannot_be_made_whole_is_not_made(hub: Hub, url: str):
    make_model(url, {"a.txt": b"a"})
    repository = hub.repositories["model", "me/m"]
    head = repository.head
    pointer = {"path": "w.bin", "algo": "sha256", "oid": "0" * 64, "size": 1}
    body = ndjson(("header", {"summary": "second"}), ("deletedFile", {"path": "a.txt"}), ("lfsFile", pointer))
    refused = httpx.post(f"{url}/api/models/me/m/commit/main", content=body, headers=bearer("secret"))
    assert (refused.status_code, repository.head) == (400, head)
    stale = httpx.post(
        f"{url}/api/models/me/m/commit/main",
        content=ndjson(("header", {"parentCommit": "0" * 40})),
        headers=bearer("secret"),
    )
    assert (stale.status_code, repository.head) == (412, head)
    foreign = httpx.post(
        f"{url}/api/models/me/m/commit/main", content=ndjson(("header", {})), headers=bearer("other")
    )
    assert (foreign.status_code, repository.head) == (403, head)


def test_an_lfs_object_must_have_its_hash(hub: Hub, url: str):
    oid = hashlib.sha256(b"weights").hexdigest()
    assert httpx.put(f"{url}/lfs-objects/{oid}", content=b"weight").status_code == 400
    assert hub.lfs_objects == {}
    assert httpx.put(f"{url}/lfs-objects/{oid}", content=b"weights").status_code == 200
    assert hub.lfs_objects == {oid: b"weights"}


def test_front_matter_that_is_no_yaml_is_refused(url: str):
    def validate(content: str) -> tuple[int, int, int]:
        answer = httpx.post(f"{url}/api/validate-yaml", json={"content": content}, headers=bearer("secret"))
        return answer.status_code, len(answer.json()["errors"]), len(answer.json()["warnings"])

    assert validate("---\nlicense: mit\n---\n# A card") == (200, 0, 0)
    assert validate("---\nlicense: [mit\n---\n# A card") == (400, 1, 0)
    assert validate("---\nlicense: 3\n---\n# A card") == (400, 1, 0)
    assert validate("# A card") == (200, 0, 1)


def test_a_fault_hits_the_requests_it_names_and_no_more(hub: Hub, url: str):
    make_model(url, {"a.txt": b"a"})
    hub.fail("GET", r"/tree/", status=503, n_times=2)
    tree = f"{url}/api/models/me/m/tree/main"
    assert [httpx.get(tree).status_code for _ in range(3)] == [503, 503, 200]
    assert hub.requests[-3:] == ["GET /api/models/me/m/tree/main"] * 3
