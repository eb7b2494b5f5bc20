"""Who may ask, by the keys of a file and the one of the environment, and how much.

    keys:
      - name: course            # in the log, never the key
        key: 2f1c…              # 16 characters or more; or `sha256`, of a key that this file need not hold
        tokens_per_day: 2000000 # what is left out is as `quota` has it

The file must not be readable by everyone, nor writable by anyone but its owner.
"""

import hashlib
import hmac
import stat
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from data_gen.policies.servers.http_requests import BadRequestError
from data_gen.settings.errors import InputError
from data_gen.settings.values import Yaml12Loader, compose
from prm_train.serving.operations.settings import Quota
from prm_train.serving.settings import ServeConfig

SHORTEST_KEY = 16
UNAUTHORIZED = 401
OF_ENVIRONMENT = "environment"
Limit = Annotated[int, Field(ge=1)] | None


@dataclass(frozen=True)
class ApiKey:
    """A key by its digest, and what its holder may use."""

    name: str
    digest: bytes
    quota: Quota


class _KeyBody(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)
    name: Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")]
    key: Annotated[str, Field(min_length=SHORTEST_KEY, pattern=r"^[\x21-\x7e]+$")] | None = (
        None  # of a header
    )
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    requests_per_minute: Limit = None
    requests_per_day: Limit = None
    tokens_per_minute: Limit = None
    tokens_per_day: Limit = None

    def api_key(self, default: Quota) -> ApiKey:
        if (self.key is None) == (self.sha256 is None):
            raise ValueError("expected one of key and sha256")
        digest = digest_of(self.key) if self.key is not None else bytes.fromhex(self.sha256 or "")
        given = self.model_dump(include={each.name for each in fields(Quota)}, exclude_none=True)
        return ApiKey(self.name, digest, Quota(**{**asdict(default), **given}))


class _FileBody(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)
    keys: Annotated[list[_KeyBody], Field(min_length=1)]


def digest_of(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def read_keys(path: Path, default: Quota) -> tuple[ApiKey, ...]:
    """Raises InputError, which shows no value, for a file that others may read or change, or that does not
    say what it should.
    """
    if not path.is_file():
        raise InputError(f"api_keys: {path}: no such file; expected a YAML file of keys")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise InputError(
            f"api_keys: {path}: has mode {mode:o}, expected one that keeps others out: chmod 600"
        )
    try:
        root = compose(path.read_text(encoding="utf-8"))
        found: Any = None if root is None else Yaml12Loader("").construct_document(root)
        bodies = _FileBody.model_validate(found).keys
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise InputError(f"api_keys: {path}{line}: not valid YAML") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"api_keys: {path}: {place}: {first['msg']}") from None
    return _checked(path, bodies, default)


def _checked(path: Path, bodies: Sequence[_KeyBody], default: Quota) -> tuple[ApiKey, ...]:
    keys = []
    for body in bodies:
        try:
            keys.append(body.api_key(default))
        except ValueError as error:
            raise InputError(f"api_keys: {path}: {body.name}: {error}") from None
    for what, values in (("name", [key.name for key in keys]), ("key", [key.digest for key in keys])):
        if len({*values}) < len(values):
            raise InputError(f"api_keys: {path}: got a {what} twice, expected each once")
    return tuple(keys)


def key_ring(config: ServeConfig, of_environment: str | None) -> "KeyRing":
    """Raises InputError as `read_keys` does."""
    keys = () if config.api_keys is None else read_keys(config.api_keys, config.quota)
    if of_environment is not None:
        key = ApiKey(OF_ENVIRONMENT, digest_of(of_environment), config.quota)
        if any(key.name == each.name or key.digest == each.digest for each in keys):
            raise InputError(
                f"api_keys: {config.api_keys}: holds the key of api_key_env, or one that is named as it is, "
                f"{OF_ENVIRONMENT!r}; expected others, since each has a quota of its own"
            )
        keys += (key,)
    return KeyRing(keys)


class KeyRing:
    """All keys of a server; without any everybody may ask."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = tuple(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def holder(self, request: Request) -> ApiKey | None:
        """None where no key is wanted. Raises BadRequestError (401) for a request without one of the keys, in
        a time that says nothing of them: digests are compared, all of them, each in constant time.
        """
        if not self._keys:
            return None
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        digest, found = digest_of(given), None
        for key in self._keys:
            if hmac.compare_digest(digest, key.digest):
                found = key
        if found is None or kind != "Bearer":
            raise BadRequestError(
                "Authorization: expected 'Bearer' and an API key of this server", UNAUTHORIZED
            )
        return found
