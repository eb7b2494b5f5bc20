"""What every server of ours does with a request before it knows what it is about: its key, its body read
within bounds and parsed, refusals, and a client that goes away.
"""

import asyncio
import json
import re
import secrets
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from data_gen.policies.servers.foreign_text import shown_text

Result = TypeVar("Result")
Body = TypeVar("Body", bound=BaseModel)
MAX_BODY_BYTES = 8 * 2**20  # a million token ids
BODY_SECONDS = 30.0
REQUEST_TIMEOUT, CONTENT_TOO_LARGE, CLIENT_CLOSED_REQUEST = 408, 413, 499
LONGEST_MESSAGE = 500  # characters of a refusal, which repeats what came
LONE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class BadRequestError(ValueError):
    """A request that the server cannot answer as it stands; `status` is that of the reply. After
    `retry_seconds` the same request may be answered.
    """

    def __init__(self, message: str, status: int = 400, retry_seconds: int | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_seconds = status, retry_seconds


def check_key(request: Request, api_key: str | None) -> None:
    """Raises BadRequestError (401) for a request without the key, in a time that says nothing of it."""
    if api_key is None:
        return
    given = request.headers.get("Authorization", "").encode()
    if not secrets.compare_digest(given, f"Bearer {api_key}".encode()):
        raise BadRequestError("Authorization: expected 'Bearer' and the API key of this server", 401)


async def read_body(request: Request) -> bytes:
    """Raises BadRequestError for a body that is too long or does not come whole in time, ClientDisconnect
    where the client goes away.
    """
    too_long = BadRequestError(f"body: more than {MAX_BODY_BYTES} bytes", CONTENT_TOO_LARGE)
    said_length = request.headers.get("Content-Length", "0")
    if len(said_length) > len(str(MAX_BODY_BYTES)) or int(said_length) > MAX_BODY_BYTES:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise too_long
    except TimeoutError:
        raise BadRequestError(f"body: not whole after {BODY_SECONDS:g} s", REQUEST_TIMEOUT) from None
    return bytes(body)


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object that a body is. Raises BadRequestError for anything else, as NaN, which is no JSON."""
    try:
        text = raw.decode()
        fields = json.loads(text, parse_constant=_refuse_constant)
        if LONE_SURROGATE.search(text):  # perhaps one of a pair
            json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadRequestError("body: holds half of a surrogate pair, which is no text") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested too deep
        raise BadRequestError(f"body: not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise BadRequestError("body: expected a JSON object")
    return fields


def _refuse_constant(name: str) -> float:
    raise ValueError(f"got {name}, expected a number")


def take_neutral(
    fields: dict[str, Any], neutral: Mapping[str, tuple[object, ...]], why: str
) -> dict[str, Any]:
    """`fields` without those that are null or change nothing. Raises BadRequestError, with the reason `why`,
    for one of `neutral` that would change something.
    """
    for name, allowed in neutral.items():
        value = fields.get(name)
        if value is not None and value not in allowed:
            raise BadRequestError(f"{name}: got {value!r}; {why}, expected {allowed[0]!r}")
    return {name: value for name, value in fields.items() if value is not None and name not in neutral}


def validated(kind: type[Body], fields: Mapping[str, Any]) -> Body:
    """Raises BadRequestError, naming the field."""
    try:
        return kind.model_validate(dict(fields))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(each) for each in first["loc"] if not _names_a_type(each)) or "body"
        raise BadRequestError(f"{place}: {first['msg']}") from None


def _names_a_type(part: int | str) -> bool:
    """Of a place, what pydantic adds to say which of several types it tried."""
    return isinstance(part, str) and (part in ("str", "int", "float") or "[" in part)


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, Result]) -> Result | None:
    """The result of `work`, which is cancelled when the client goes away: then None. The request's body must
    have been read.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnection(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnection(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def refusal(request: Request, error: Exception) -> Response:
    """Starlette's handler of BadRequestError."""
    assert isinstance(error, BadRequestError)
    headers = {}
    if error.status in (REQUEST_TIMEOUT, CONTENT_TOO_LARGE):
        headers["Connection"] = "close"  # the body's rest is not read
    if error.retry_seconds is not None:
        headers["Retry-After"] = str(error.retry_seconds)
    return JSONResponse(error_body(error), error.status, headers)


def internal_error_body(error: Exception) -> dict[str, Any]:
    """Of a fault of ours, of which the log says more."""
    message = f"the server failed: {type(error).__name__}; its log says more"
    return {"error": {"message": message, "type": "InternalError", "code": 500}}


def error_body(error: BadRequestError) -> dict[str, Any]:
    message, kind = shown_text(str(error), longest=LONGEST_MESSAGE), "BadRequestError"
    if error.status >= 500 or error.retry_seconds is not None:
        kind = "UnavailableError"
    return {"error": {"message": message, "type": kind, "code": error.status}}
