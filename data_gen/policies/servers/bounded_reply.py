"""Bodies of replies, read up to a limit: what a server sends must fit our memory and our patience."""

import httpx

# httpx unpacks what it asks for, and a megabyte of gzip may be ten gigabytes
PLAIN = {"Accept-Encoding": "identity"}


class UnusableBodyError(ValueError):
    """A body that is longer than its limit, or packed although a plain one was asked for."""


async def read_body(response: httpx.Response, max_bytes: int) -> bytes:
    """The body of a streamed response. Raises UnusableBodyError before more than `max_bytes` are in
    memory.
    """
    packing = response.headers.get("Content-Encoding", "identity").strip().lower()
    if packing not in ("", "identity"):
        raise UnusableBodyError("a packed body, expected a plain one")
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > max_bytes:
            raise UnusableBodyError(f"a body of more than {max_bytes:,} bytes")
    return bytes(body)


async def read_beginning(response: httpx.Response, max_bytes: int) -> str:
    """What a server says of an error; the rest is left where it is."""
    try:
        return (await read_body(response, max_bytes)).decode(errors="replace")
    except UnusableBodyError as error:
        return str(error)
