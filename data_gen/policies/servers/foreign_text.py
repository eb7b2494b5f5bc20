"""What servers say, on its way into a log line or an error: without our API key, on one line, without control
characters, and short.
"""

import html
import re
from functools import lru_cache
from urllib.parse import quote_plus

LONGEST_SHOWN = 300  # characters
SHORTEST_PIECE = 8  # of a key: a text may have been cut in its midst


def shown_text(text: str, key: str | None = None, longest: int = LONGEST_SHOWN) -> str:
    """`text` as a terminal can show it."""
    text = text if key is None else _key_pattern(key).sub("***", text)
    cut = text[: longest + 1]
    printable = "".join(character if character.isprintable() else repr(character)[1:-1] for character in cut)
    return printable if len(printable) <= longest else f"{printable[:longest]}…"


@lru_cache
def _key_pattern(key: str) -> re.Pattern[str]:
    """The beginning of the key and what follows of its characters, each as it is or as URLs, JSON, Python and
    HTML quote it.
    """
    pieces = [_quoted(character) for character in key]
    return re.compile(
        f"{''.join(pieces[:SHORTEST_PIECE])}(?:{'|'.join(sorted(set(pieces[SHORTEST_PIECE:])))})*",
        re.IGNORECASE,
    )


def _quoted(character: str) -> str:
    """A pattern of the ways to write it."""
    code = ord(character)
    escapes = (
        rf"\\u{code:04x}",
        rf"\\x{code:02x}",
        rf"\\{re.escape(character)}",
        f"&#x0*{code:x};",
        f"&#0*{code};",
    )
    in_urls = "".join(f"%{byte:02x}" for byte in character.encode())
    written = {re.escape(each) for each in (character, quote_plus(character), html.escape(character))}
    return f"(?:{'|'.join((in_urls, *escapes, *sorted(written, key=len, reverse=True)))})"
