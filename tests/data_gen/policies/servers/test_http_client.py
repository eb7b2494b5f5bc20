"""HTTP as every client of a server does it."""

import asyncio
import socket
from collections.abc import Callable, Iterator

import pytest

from data_gen.policies.servers.http_client import proxy_for
from data_gen.policies.servers.requests import RequestSettings, ServerError, ServerPool
from tests.data_gen.policies.servers.test_server_faults import HostileServer, response

URL = "http://policy.example:8000"


@pytest.fixture
def hostile() -> Iterator[Callable[[bytes], HostileServer]]:
    servers: list[HostileServer] = []

    def start(reply: bytes) -> HostileServer:
        servers.append(HostileServer(lambda connection: connection.sendall(reply)))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


async def models(url: str) -> bytes:
    settings = RequestSettings(api_key_env="CLIENT_KEY", n_attempts=1)
    async with ServerPool((url,), settings) as pool:
        return await pool.get("/v1/models", lambda body: body)


def test_a_redirect_is_not_followed_which_would_take_the_key_along(
    hostile: Callable[[bytes], HostileServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIENT_KEY", "of-one-server")
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.2)
        elsewhere = f"http://127.0.0.1:{other.getsockname()[1]}/v1/models"
        server = hostile(response(307, b"", f"Location: {elsewhere}\r\n"))
        with pytest.raises(ServerError, match=rf"^{server.url}/v1/models: HTTP 307"):
            asyncio.run(models(server.url))
        with pytest.raises(TimeoutError):
            other.accept()


def test_requests_go_through_the_proxy_that_the_environment_names(
    hostile: Callable[[bytes], HostileServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIENT_KEY", "of-one-server")
    proxy = hostile(response(200, b"from behind the proxy"))
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", "")
    assert asyncio.run(models("http://a-host-that-only-the-proxy-knows")) == b"from behind the proxy"


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"http_proxy": "http://gate:3128"}, "http://gate:3128"),
        ({"http_proxy": "gate:3128"}, "http://gate:3128"),
        ({"all_proxy": "http://gate:3128"}, "http://gate:3128"),
        ({"https_proxy": "http://gate:3128"}, None),
        ({"http_proxy": "http://gate:3128", "no_proxy": "localhost,.example"}, None),
        ({"http_proxy": "http://gate:3128", "no_proxy": "policy.example:8000"}, None),
    ],
)
def test_the_proxy_of_a_server(
    environment: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(URL) == proxy
