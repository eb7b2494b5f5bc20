"""A Starlette app behind a port of its own, in a thread of the test's process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from data_gen.policies.servers import patient_protocol


@contextmanager
def in_thread(app: Starlette) -> Iterator[int]:
    """The port at which `app` is served."""
    server = uvicorn.Server(
        uvicorn.Config(app, http=patient_protocol.PatientProtocol, port=0, log_level="warning")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:  # also where a test fails, or its process would not end
        server.should_exit = True
        thread.join(10)
