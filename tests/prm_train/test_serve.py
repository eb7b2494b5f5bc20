"""`prm-train serve` as its clients see it: a real process, asked by the official openai client."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from data_gen.ledger.store import COMMIT_EVERY_SECONDS, Ledger
from data_gen.settings.errors import InputError
from prm_train.serve import main
from tests.prm_train.serving.conftest import QUESTION, write_scorer

KEY = {"Authorization": "Bearer secret"}
CHAT = {"messages": [{"role": "user", "content": QUESTION}]}


@dataclass
class Process:
    url: str
    process: subprocess.Popen[str]
    ledger: Path
    said: list[str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("serve")
    (folder / "serve.yaml").write_text(
        f"policy: {{model: base}}\nprm: {write_scorer('prm', folder / 'prm')}\ngrader: arithmetic\nn: 4\n"
        f"strategy: majority\nmax_new_tokens: 80\nledger: {folder / 'ledger.sqlite'}\n"
        "api_key_env: SERVE_KEY\n"
    )
    command = [sys.executable, "-m", "prm_train.serve", "--config", str(folder / "serve.yaml"), "--port", "0"]
    environment = os.environ | {"SERVE_KEY": "secret"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"serving .* on (http://\S+)", line):
            # A full pipe would stop the server
            threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True).start()
            yield Process(found[1], process, folder / "ledger.sqlite", said)
            break
    process.kill()
    process.wait()
    assert len(said) > 1, said


def test_the_official_client_works_unchanged(server: Process) -> None:
    openai = pytest.importorskip("openai", reason="openai is not installed: its client cannot be tried")
    client: Any = openai.OpenAI(base_url=f"{server.url}/v1", api_key="secret", max_retries=0)
    assert [model.id for model in client.models.list()] == ["base", "prm"]
    search = {"search": {"strategy": "particle_filter", "n": 4, "return_steps": True}}
    asked = {"model": "base", "messages": CHAT["messages"], "seed": 7}
    whole = client.chat.completions.create(**asked, extra_body=search)
    text = whole.choices[0].message.content
    assert text.splitlines()[-1].startswith("Answer: ")
    assert whole.search["answer"] is not None
    assert len(whole.search["steps"]) == len(text.splitlines())
    assert whole.usage.completion_tokens_details.reasoning_tokens > 0
    chunks = list(client.chat.completions.create(**asked, extra_body=search, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    told = [chunk.progress["event"] for chunk in chunks if hasattr(chunk, "progress")]
    assert (told[0], told[-1]) == ("search", "vote")
    with client.chat.completions.stream(**asked, extra_body=search) as stream:
        assert stream.get_final_completion().choices[0].message.content == text
    effort = client.chat.completions.create(**asked, reasoning_effort="low")
    assert (effort.search["strategy"], effort.search["n"]) == ("majority", 4)
    by_url = openai.OpenAI(base_url=f"{server.url}/majority/v1", api_key="secret", max_retries=0)
    assert by_url.completions.create(model="base", prompt=QUESTION, seed=7).choices[0].text
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="other").models.list()
    with pytest.raises(openai.BadRequestError, match="n: got 2; one answer is found"):
        client.chat.completions.create(**asked, n=2)
    with pytest.raises(openai.NotFoundError, match="this server serves 'base'"):
        client.chat.completions.create(**{**asked, "model": "gpt-4"})


def test_a_server_that_is_told_to_end_answers_what_it_was_asked_and_keeps_its_draws(server: Process) -> None:
    """Two requests with one seed draw 4 + 12 samples, not 4 + 16; the second is under way when it ends."""
    asked = {**CHAT, "seed": 99}
    before = httpx.post(f"{server.url}/v1/chat/completions", json=asked, headers=KEY, timeout=60)
    assert before.json()["search"]["n"] == 4
    time.sleep(2 * COMMIT_EVERY_SECONDS)
    with Ledger(server.ledger, read_only=True) as ledger:
        n_drawn = ledger.n_draws()
    found: list[httpx.Response] = []

    def ask() -> None:
        body = {**asked, "reasoning_effort": "medium"}
        url = f"{server.url}/v1/chat/completions"
        found.append(httpx.post(url, json=body, headers=KEY, timeout=60))

    thread = threading.Thread(target=ask)
    thread.start()
    patience = time.monotonic() + 20
    while httpx.get(f"{server.url}/health").json()["under_way"] == 0 and time.monotonic() < patience:
        assert not found
    server.process.send_signal(signal.SIGTERM)
    thread.join(60)
    assert found[0].json()["search"]["n_voters"] == 16
    server.process.wait(30)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/health")
    said = "".join(server.said)
    assert "majority, N = 16: answered in" in said
    assert "Traceback" not in said
    assert "plus 4" not in said  # no prompt is logged
    with Ledger(server.ledger, read_only=True) as ledger:
        assert ledger.n_draws() == n_drawn + 12


def test_a_router_that_cannot_be_read_is_refused_before_any_model_is_loaded(tmp_path: Path) -> None:
    router = tmp_path / "router.json"
    router.write_text('{"models": {}}')
    (tmp_path / "config.json").write_text("{}")  # of a model that could not be loaded
    with pytest.raises(
        InputError, match=r"router\.json: no draws; expected what `prm-train route fit` writes"
    ):
        main(["--policy.model", "base", "--prm", str(tmp_path), "--router", str(router), "--port", "0"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "strategy: got particle_filter without a scorer, expected prm or orm"),
        (["--strategy", "majority", "--max_queue", "-1"], "max_queue: got -1, expected 0 or more"),
        (["--strategy", "majority", "--max_sessions", "0"], "max_sessions: got 0, expected more than 0"),
        (["--strategy", "majority", "--n", "300"], "n: got 300, expected at most max_n, 256"),
        (["--strategy", "majority", "--api_key_env", "sk-123"], "api_key_env: expected the NAME of an"),
        (["--strategy", "majority", "--api_key_env", "NO_SUCH_KEY"], "the environment variable NO_SUCH_KEY"),
        (["--strategy", "majority", "--ledger_max_bytes", "2000000"], "ledger_max_bytes: got 2000000, expec"),
        (
            ["--strategy", "majority", "--policy_prices", "{large: {generated: 1.0}}"],
            "policy_prices: got 'large', expected some of: none, for there is no other policy",
        ),
        (["--prm", "/none/such"], "prm /none/such: no such folder"),
    ],
)
def test_settings_that_serve_nothing_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        main(["--policy.model", "base", *arguments])
