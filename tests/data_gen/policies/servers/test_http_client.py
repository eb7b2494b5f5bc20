"""HTTP as every client of a server does it."""

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yarl

from data_gen.policies.servers.http_client import proxy_for
from data_gen.policies.servers.requests import RequestSettings, ServerPool
from data_gen.policies.servers.server_errors import ServerError
from data_gen.settings.errors import InputError
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
    settings = RequestSettings(api_key_env="CLIENT_KEY", n_attempts=1, timeout_seconds=5)
    async with ServerPool((url,), settings) as pool:
        return await pool.get("/v1/models", lambda body: body)


def test_a_redirect_is_a_fault_and_not_followed(
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


def test_what_a_proxy_refuses_is_told_without_its_password(
    hostile: Callable[[bytes], HostileServer],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("CLIENT_KEY", "of-one-server")
    proxy = hostile(response(407, b"no"))
    monkeypatch.setenv("https_proxy", proxy.url.replace("//", "//me:of-the-proxy@"))
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(ServerError, match="the proxy refused: HTTP 407") as caught:
        asyncio.run(models("https://policy.example"))
    assert "of-the-proxy" not in str(caught.value) + caplog.text
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("https_proxy", f"http://me:of-the-proxy@127.0.0.1:{port}")
    with pytest.raises(ServerError, match="no connection to the proxy: Connection refused") as caught:
        asyncio.run(models("https://policy.example"))
    assert "of-the-proxy" not in str(caught.value) + caplog.text


@pytest.fixture
def own_certificate(tmp_path: Path) -> Iterator[str]:
    """The URL of a server whose certificate nobody signed but itself."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    names = ("-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert"), "-subj", "/CN=localhost")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *names], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    server = HostileServer(
        lambda connection: context.wrap_socket(connection, server_side=True).close(), reads_first=False
    )
    yield server.url.replace("http:", "https:")
    server.close()


def test_a_certificate_that_nobody_trusts_ends_the_request_at_once(
    own_certificate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIENT_KEY", "of-one-server")
    with pytest.raises(
        ServerError, match=rf"^{own_certificate}: its certificate is not trusted: .*self.signed certificate"
    ):
        asyncio.run(models(own_certificate))


def test_a_server_that_speaks_no_tls_is_told_of_in_the_words_of_tls(
    hostile: Callable[[bytes], HostileServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIENT_KEY", "of-one-server")
    server = hostile(b"plain words")
    with pytest.raises(ServerError, match=r"no connection: .*(SSL|record|version)"):
        asyncio.run(models(server.url.replace("http:", "https:")))


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
    assert proxy_for(URL) == (None if proxy is None else yarl.URL(proxy))


def test_addresses_of_ipv6_and_proxies_of_another_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://gate:3128")
    monkeypatch.setenv("no_proxy", "localhost,::1")
    assert proxy_for("http://[::1]:8000") is None
    assert proxy_for("http://[::2]:8000") == yarl.URL("http://gate:3128")
    for proxy in ("socks5://gate:1080", "http://me:pass/word@gate:3128", "http://gate:port", "http://"):
        monkeypatch.setenv("http_proxy", proxy)
        with pytest.raises(InputError) as caught:
            proxy_for("http://[::2]:8000")
        assert str(caught.value) == (
            "http://[::2]:8000: the environment names a proxy that is no http://host:port; expected one"
        )
