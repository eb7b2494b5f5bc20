"""What `prm-train serve` costs and withstands: `python -m benchmarks.serving [PART …] [--size small|full]`.

A tiny policy (`base`) and a tiny PRM of it (a fresh head: costs do not depend on it), served by processes of
their own on this machine, whose cores the clients share. Each part can be run by itself, and puts its figures
into benchmarks/results/serving.json beside those that are there (also those of other commands, as `router`).

What is compared, and how it is judged:

- `clients`: 1, 10, 50 and 200 clients, each with one request under way, half of them of the simple path (one
  sample), half of the complex one (a particle filter, N = 8). Requests a second and p50, p95, p99 of the
  seconds from a request to its reply: of all, and by path. A server in steady state answers
  `max_concurrency` requests at a time, so beyond that more clients wait longer and are answered as fast: the
  figure to look at is whether requests a second hold up. Absolute numbers are of this machine.
- `overhead_ratio`: the same searches by HTTP and in process (`prm_train.search.solve.Solver`), ten side by
  side, alternating, each of the two in a process that has done nothing else. CPU-seconds of the server over
  CPU-seconds in process, since other work on a shared machine stretches wall clocks, the client's included,
  by more than what is to be measured; `overhead` holds wall times, too, and searches one by one. Twenty
  clients keep the server's queue from running dry: with ten, a place is empty from one reply to the next
  request, and the engine computes smaller batches meanwhile (13 to 20 % more CPU-seconds when it was tried),
  which is nothing that a server could mend. Goal: 1.1.
- `memory`: resident bytes of a server over 10,000 requests (answers, scores, sessions, one bad request in
  ten) with small caches, so that they are full before half-time. Flat where the mean of the last quarter is
  at most 2 % above that of the second: caches and allocators fill in the first quarter, a leak of 1 kB a
  request would be 5 MB by then, 1 % of the whole, and its slope is given, too. Goal: flat.
- `tokens_per_distinct`: tokens that the scorer computed for beam searches over HTTP sessions, over the
  distinct tokens of their trees. Goal: 1.05. `scores_difference`: the largest difference between these scores
  and those of the same sessions in process. Goal: 1e-6. (Whole paths, each computed by itself, are other sums
  of float32 numbers: `difference_from_whole_paths` is about 1e-6 in process, too.)
- `faults`: kill -9 of one of two policy replicas, and of the server of the scorer, in the midst of seeded
  searches whose answers are known from before. `injected` kills; `wrong`: an answer that is another one;
  `lost`: no reply with a status, or none in time. `errors` are replies that say so (5xx): not lost.
"""

import argparse
import json
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.serving.clients import measure_clients
from benchmarks.serving.faults import measure_faults
from benchmarks.serving.memory import measure_memory
from benchmarks.serving.overhead import measure_overhead
from benchmarks.serving.sessions import measure_sessions
from benchmarks.serving.sizes import FULL, SMALL, Size
from benchmarks.serving.target import start_server, write_prm
from data_gen.files.jsonl import write_text
from data_gen.files.stored_record import read_object
from data_gen.process.machine import machine_name
from data_gen.settings.parse import run_command

RESULT = Path(__file__).parents[1] / "results" / "serving.json"
Part = Callable[[Path, Size], dict[str, Any]]


def clients(prm: Path, size: Size) -> dict[str, Any]:
    with start_server(prm) as target:
        return {"clients": measure_clients(target.url, size)}


def sessions(prm: Path, size: Size) -> dict[str, Any]:
    with start_server(prm) as target:
        return measure_sessions(target.url, prm, size)


PARTS: dict[str, Part] = {
    "clients": clients,
    "overhead": measure_overhead,
    "memory": measure_memory,
    "sessions": sessions,
    "faults": measure_faults,
}


def merge(path: Path, figures: dict[str, Any]) -> None:
    """What the file holds beside `figures` stays."""
    stored = read_object(path) if path.exists() else {}
    write_text(path, json.dumps({**stored, **figures}, indent=1) + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(PARTS)}; all of them if none is named")
    parser.add_argument("--size", choices=("small", "full"), default="full")
    parser.add_argument("--output", type=Path, default=RESULT)
    given = parser.parse_args(argv)
    if unknown := [name for name in given.parts if name not in PARTS]:
        parser.error(f"got {unknown[0]}, expected some of {', '.join(PARTS)}")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each request
    size = FULL if given.size == "full" else SMALL
    with tempfile.TemporaryDirectory() as folder:
        prm = write_prm(Path(folder) / "prm")
        for name in given.parts or PARTS:
            figures = PARTS[name](prm, size)
            merge(given.output, {"machine": machine_name(), **figures, f"size_of_{name}": given.size})
            print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    run_command(main, "benchmarks.serving")
