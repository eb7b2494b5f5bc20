"""`prm-train serve`: a policy, a scorer and a search behind HTTP, for whoever wants a verifier in front of a
model.

It speaks OpenAI's `/v1/chat/completions` and `/v1/completions`, scores steps at `/v1/score` and in sessions
that compute each token once, and answers `/pooling` as vLLM and `/verify` as NeMo-Gym ask it. docs/serving.md
says what goes in and out. Not here: a policy alone for other processes to draw from (`serve-policy`).
"""

import asyncio
import logging
import socket
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

from data_gen.process.daemon_threads import DaemonThreads
from data_gen.settings.api_keys import read_api_key
from data_gen.settings.errors import InputError
from data_gen.settings.parse import parse_config, run_command
from prm_train.search.routing.fits import Fits, read_fits
from prm_train.serving.settings import ServeConfig

logger = logging.getLogger(__name__)


async def run(config: ServeConfig, fits: Fits, listener: socket.socket, api_key: str | None) -> None:
    """Until the process is told to end. Requests are answered with 503 while the models are being loaded."""
    from data_gen.policies.servers.http_listener import new_server, serve
    from prm_train.serving.app import ServeApp
    from prm_train.serving.loading import load_models
    from prm_train.serving.operations.ledger_file import LedgerFile

    app = ServeApp(config, api_key)
    server = new_server(app.app, config.drain_seconds)
    serving = asyncio.create_task(serve(server, listener))
    loading = asyncio.create_task(DaemonThreads(1).call(load_models, config, fits))
    await asyncio.wait((serving, loading), return_when=asyncio.FIRST_COMPLETED)
    # A ledger belongs to the thread that opened it
    kept = nullcontext() if config.ledger is None else LedgerFile(config.ledger, config.ledger_max_bytes)
    with kept as ledger:
        try:
            if loading.done():
                app.ready(replace(loading.result(), ledger=ledger))
                address = f"http://{config.host}:{listener.getsockname()[1]}"
                logger.info(
                    "serving %s by %s, N = %d, on %s", config.policy_name, config.strategy, config.n, address
                )
        except BaseException:
            server.should_exit = True
            await serving
            raise
        await serving


def main(argv: Sequence[str] | None = None) -> None:
    config = parse_config(ServeConfig, argv)
    config.check()
    try:
        from data_gen.policies.servers.http_listener import listen
        from prm_train.serving.operations.api_keys import key_ring
        from prm_train.serving.operations.logs import set_up_logs
    except ImportError as error:
        raise InputError(
            f"serve needs starlette and uvicorn ({error}): pip install 'prm-train[serve]'"
        ) from error
    set_up_logs(config.log)
    api_key = read_api_key(config.api_key_env)
    # Files that will not do are refused before anything is loaded
    key_ring(config, api_key)
    fits = read_fits(config)
    listener = listen(config.host, config.port)
    asyncio.run(run(config, fits, listener, api_key))


if __name__ == "__main__":
    run_command(main, "serve")
