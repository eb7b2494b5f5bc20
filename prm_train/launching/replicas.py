"""Servers that are started with the shards: each on a free port of the node where an engine puts it, started
again when it ends. `replicas.txt` in the output names those that answer, and the shards read it again and
again, so they go on elsewhere when one dies and take in one that comes late.
"""

import shlex
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from data_gen.files.jsonl import write_text
from data_gen.process.parent_death import end_with_parent
from prm_train.launching.settings import LaunchConfig
from prm_train.launching.shards import REPLICAS

LOOK_SECONDS = 0.5
LAST_SECONDS = 20.0
OURS = "prm-train"  # as a command's first word: this package, by the Python that runs here


@dataclass(frozen=True)
class ReplicaTask:
    """A server with {host} and {port} in its command line. `folder`, which all nodes see, gets its URL while
    it answers, and its log.
    """

    number: int
    command: str
    folder: str
    directory: str
    cpus: float
    gpus: float

    @property
    def key(self) -> str:
        return f"replica-{self.number}"

    def run(self, stop: threading.Event, host: str) -> str:
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        name, port = folder / f"{self.key}.url", free_port(host)
        name.unlink(missing_ok=True)
        words = [word.format(host=host, port=port) for word in shlex.split(self.command)]
        if words[0] == OURS:
            words[:1] = [sys.executable, "-m", "prm_train.cli"]
        directory = self.directory if Path(self.directory).is_dir() else None
        with (folder / f"{self.key}.txt").open("a") as log:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        try:
            url = f"http://{host}:{port}"
            while process.poll() is None and not stop.wait(LOOK_SECONDS):
                if not name.exists() and answers(url):
                    write_text(name, url + "\n")
        finally:
            name.unlink(missing_ok=True)
            _end(process)
        return f"ended with exit code {process.returncode}; see {folder / self.key}.txt"


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(LAST_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port(host: str) -> int:
    with socket.socket() as free:
        free.bind((host, 0))
        port: int = free.getsockname()[1]
        return port


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/v1/models", timeout=5) as reply:
            return bool(reply.status == 200)
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)  # it is up and wants a key
    except OSError:
        return False


def replica_tasks(config: LaunchConfig, output: str) -> list[ReplicaTask]:
    settings = config.replicas
    if settings.command is None:
        return []
    here = str(Path.cwd())
    for left in Path(output, "replicas").glob("*.url"):  # by a launch that was killed, with its servers
        left.unlink()
    return [
        ReplicaTask(number, settings.command, f"{output}/replicas", here, settings.cpus, settings.gpus)
        for number in range(settings.n)
    ]


def list_replicas(output: str) -> int:
    """Write the URLs of the servers that answer into replicas.txt, where they have changed, and count them.
    Of none at all the last ones stay: who has nobody else to ask tries them again.
    """
    urls = sorted(path.read_text().strip() for path in Path(output, "replicas").glob("*.url"))
    urls = [url for url in urls if url]
    file = Path(output, REPLICAS)
    if urls and (not file.exists() or file.read_text().split() != urls):
        write_text(file, "\n".join(urls) + "\n")
    return len(urls)
