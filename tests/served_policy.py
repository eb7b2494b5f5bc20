"""Real `prm-train serve-policy` processes on this machine."""

import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass


@dataclass
class ServedPolicy:
    """A server process that answers at `url`."""

    url: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def start_server(*arguments: str, environment: dict[str, str] | None = None) -> ServedPolicy:
    command = [sys.executable, "-m", "data_gen.serve_policy", "--port", "0", *arguments]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | (environment or {})
    )
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if found := re.search(r"serving .* on (http://\S+)", line):
            # A full pipe would stop the server
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return ServedPolicy(found[1], process)
    raise RuntimeError(f"serve-policy ended: {said}")
