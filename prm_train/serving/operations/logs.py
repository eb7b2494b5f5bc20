"""The log as JSON, one object a line: for programs that collect logs. What was asked stands in it only where
`log_prompts` says so.
"""

import json
import logging
import time
from datetime import UTC, datetime
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prm_train.serving.answering import Asking, Found
from prm_train.serving.operations.accounts import CURRENT
from prm_train.serving.operations.settings import LogSettings

logger = logging.getLogger(__name__)
FACTS = "facts"  # the attribute of a record that holds what its line says, field by field


def facts(**known: object) -> dict[str, dict[str, object]]:
    """As `extra` of a log line: its fields where the log is JSON."""
    return {FACTS: known}


def answer_facts(found: Found, asking: Asking, *, with_prompts: bool) -> dict[str, object]:
    """What the line of an answer says."""
    answer, account = found.answer, CURRENT.get()
    known: dict[str, object] = {
        "strategy": answer.strategy,
        "n": answer.n,
        "seed": found.seed,
        "is_answered": answer.answer is not None,
        "confidence": answer.confidence,
        "stopped": answer.stopped,
        "n_generated": answer.cost.policy.n_generated,
        "n_drawn": found.n_drawn,
        "n_scored": answer.cost.scorer.n_new,
        "money": found.money,
        "key": account.name if account is not None else None,
    }
    if with_prompts:
        turns = [{"role": each.role, "content": each.content} for each in asking.asked.messages]
        known |= {"messages": turns, "text": answer.text}
    return known


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, FACTS, {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def set_up_logs(settings: LogSettings) -> None:
    """Of the whole process, as the command wants them."""
    if settings.json:
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines())


class LogRequests:
    """A middleware: a line for each request when it has been answered, with an id that the reply's header
    X-Request-Id names, too. Health checks and /metrics are not worth one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun, status, number = time.monotonic(), 500, uuid4().hex

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", number.encode())]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            if not scope["path"].startswith("/health") and scope["path"] != "/metrics":
                self._say(scope, status, time.monotonic() - begun, number)

    def _say(self, scope: Scope, status: int, seconds: float, number: str) -> None:
        account = CURRENT.get()
        known = facts(
            request_id=number,
            method=scope["method"],
            path=scope["path"],
            status=status,
            seconds=round(seconds, 4),
            key=account.name if account is not None else None,
        )
        logger.info("%s %s: %d in %.2f s", scope["method"], scope["path"], status, seconds, extra=known)
