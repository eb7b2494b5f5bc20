"""Where the servers of a policy are: URLs, and files of them."""

from pathlib import Path
from urllib.parse import urlsplit

from data_gen.settings.errors import InputError
from data_gen.settings.parse import without_secrets


def server_urls(servers: tuple[str, ...]) -> tuple[str, ...]:
    """The base URLs that `servers` names, those of `@file` entries included. Raises InputError for a file
    without any.
    """
    urls: list[str] = []
    for entry in servers:
        if not entry.startswith("@"):
            urls.append(server_url(entry))
            continue
        path = Path(entry[1:])
        lines = path.read_text(encoding="utf-8").split() if path.is_file() else []
        if not lines:
            raise InputError(f"servers: {path}: expected a file with the URL of a server on each line")
        urls += [server_url(line) for line in lines]
    return tuple(dict.fromkeys(urls))


def server_url(url: str) -> str:
    """`http://host:port` of a server's URL, with or without the `/v1` of other clients. Raises InputError,
    which shows no password.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query:  # either may hold a key
        raise InputError(
            "servers: a URL holds a user, a password or a query; expected http://host:port; a key goes into "
            "api_key_env's variable"
        )
    if parts.scheme not in ("http", "https") or not parts.netloc or len(url.split()) != 1:
        raise InputError(
            f"servers: got {without_secrets(url)!r}, expected a URL such as http://localhost:8000"
        )
    return url.rstrip("/").removesuffix("/v1").rstrip("/")
