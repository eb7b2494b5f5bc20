"""An application behind a port: how our servers listen, how many connections they take, and how they end."""

import asyncio
import socket

import uvicorn
from starlette.types import ASGIApp

from data_gen.policies.servers.patient_protocol import PatientProtocol, quiet_without_files
from data_gen.process.open_files import raise_open_files_limit
from data_gen.settings.errors import InputError

BACKLOG = 128  # connections that wait to be taken: asyncio tries as many at a time, and logs as many faults
OWN_FILES = 100  # open files that are no connections: the model, the log, libraries
ENDING_SECONDS = 30  # for requests under way when the server is told to end


def listen(host: str, port: int) -> socket.socket:
    """Raises InputError where nothing can listen there."""
    try:
        return socket.create_server((host, port), backlog=BACKLOG)
    except OSError as error:
        raise InputError(
            f"cannot listen on {host}:{port}: {error.strerror}; expected a free port (--port)"
        ) from error


def new_server(app: ASGIApp, ending_seconds: int = ENDING_SECONDS) -> uvicorn.Server:
    """A server that is told to end waits so long for requests under way."""
    n_connections = max(1, raise_open_files_limit() - OWN_FILES)  # beyond them a request is answered with 503
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=PatientProtocol,
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            backlog=BACKLOG,
            limit_concurrency=n_connections,
            timeout_graceful_shutdown=ending_seconds,
        )
    )


async def serve(server: uvicorn.Server, listener: socket.socket) -> None:
    """Until the process is told to end."""
    asyncio.get_running_loop().set_exception_handler(quiet_without_files)
    await server.serve(sockets=[listener])
