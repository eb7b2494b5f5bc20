"""The page at `/`, on which people ask and watch the search; and `/v1/strategies`, which it reads.

It is one document, with its style and its scripts in it, that fetches nothing from elsewhere: its policy
names them by their hashes and allows requests to this server alone. It asks as any client does, so it is
served without a key, and sends the one that it is given.
"""

import base64
import hashlib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from data_gen.ledger.store import IN_MEMORY, Ledger
from prm_train.search.solve_settings import OF_SAMPLES, SolveSettings, base_settings
from prm_train.search.solving.solver import Solver
from prm_train.serving.answering import Models
from prm_train.serving.settings import ServeConfig
from prm_train.strategies.deepconf_online import DEEPCONF_ONLINE
from prm_train.strategies.tree_searches import TREE_SEARCHES

FOLDER = Path(__file__).parent / "page"
SCRIPTS = ("tree.js", "column.js", "page.js")  # one after the other
STYLE, SCRIPT = "/*page.css*/", "/*page.js*/"  # their places in page.html
# What a server may be set to that means nothing to another strategy
UNSET: dict[str, Any] = dict.fromkeys(
    ("aggregation", "vote", "stop_early", "allocation", "allocation_budget", "router")
)


@cache
def document() -> tuple[str, str]:
    """The page, and its Content-Security-Policy."""
    style = _text("page.css")
    script = "".join(map(_text, SCRIPTS))
    policy = (
        f"default-src 'none'; script-src {_named(script)}; style-src {_named(style)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return _text("page.html").replace(STYLE, style).replace(SCRIPT, script), policy


def _text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _named(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


async def show_page(request: Request) -> Response:
    html, policy = document()
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return HTMLResponse(html, headers=headers)


class StrategiesEndpoint:
    """`routes` say which strategies may be asked for here, and what is done where none is."""

    def __init__(self, config: ServeConfig, models: Models) -> None:
        settings = base_settings(config)
        names = (*OF_SAMPLES, DEEPCONF_ONLINE, *TREE_SEARCHES)
        is_chosen = settings.allocation is not None or settings.router is not None
        strategy = None if is_chosen else settings.strategy
        self._known: dict[str, Any] = {
            "object": "list",
            "data": [{"id": name, "object": "strategy"} for name in names if works(name, settings, models)],
            "default": {"strategy": strategy, "n": settings.n},
            "max_n": config.max_n,
            # The server's own comes first
            "models": [config.policy_name, *models.policies],
            "scorers": [name for name in (config.scorer_label, *models.scorers) if name is not None],
        }

    @property
    def routes(self) -> list[Route]:
        return [Route("/v1/strategies", self._list)]

    async def _list(self, request: Request) -> Response:
        return JSONResponse(self._known)


def works(strategy: str, settings: SolveSettings, models: Models) -> bool:
    """Whether policy and scorer can do what a strategy needs."""
    try:
        with Ledger(IN_MEMORY) as ledger:
            asked = replace(settings, **UNSET, strategy=strategy)
            Solver(asked, models.policy, models.scorer, models.reader, ledger, models.flops)
    except ValueError:
        return False
    return True
