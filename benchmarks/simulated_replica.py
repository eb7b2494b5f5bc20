"""A server of a policy with the latencies of a real one, and next to no computing:
`python -m benchmarks.simulated_replica --port 0`. It speaks as `prm-train serve-policy` does, and a signal
stops it.

The draws are those of the simulated policy of the built-in task (`data_gen.policies.simulated`). They come
when a batch of rows that goes on token by token would have written them: up to `MAX_ROWS` draws at a time,
each step taking BASE_SECONDS + ROW_SECONDS a row, times a lognormal factor of `SPREAD`; draws beyond wait for
a row. The two figures are those of our engine on an H200 with a model of Qwen2.5-1.5B's shape
(benchmarks/results/gpu.json): 4,304 tokens a second with 64 rows, 9,384 with 256, which is 14.9 and 27.3 ms a
step. `GET /counts` says how many draws were begun, and how many were made to their end. `--instant`: neither
latencies nor counts.
"""

import argparse
import asyncio
import heapq
import itertools
import random

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from data_gen.policies.protocol import Policy
from data_gen.policies.servers.completions_server import CompletionsServer
from data_gen.policies.servers.http_listener import listen, new_server, serve
from data_gen.policies.simulated import SimulatedPolicy
from data_gen.records.sampling import Completion, SamplingParams

MAX_ROWS = 64
BASE_SECONDS, ROW_SECONDS, SPREAD = 0.0108, 0.0000645, 0.1


class LatentPolicy(Policy):
    """A policy whose draws are known at once, and come when a batch of rows would have written them."""

    def __init__(self, policy: Policy) -> None:
        self.policy_id, self.base_seed, self.context_length = (
            policy.policy_id,
            policy.base_seed,
            policy.context_length,
        )
        self._policy = policy
        self._rows = asyncio.Semaphore(MAX_ROWS)
        # (step at which it ends, number, what waits for it) of each draw in a row
        self._ends: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers, self._step, self._rng = itertools.count(), 0, random.Random(0)
        self._batch: asyncio.Task[None] | None = None
        self.n_begun = self.n_made = 0

    def encode_prompt(self, question: str) -> tuple[int, ...]:
        return self._policy.encode_prompt(question)

    def token_bytes(self) -> list[bytes]:
        return self._policy.token_bytes()

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        async with self._rows:
            self.n_begun += 1
            draw = await self._policy.sample(prefix_ids, params, index)
            written = asyncio.get_running_loop().create_future()
            heapq.heappush(self._ends, (self._step + len(draw.token_ids), next(self._numbers), written))
            if self._batch is None:
                self._batch = asyncio.create_task(self._go_on())
            await written
        self.n_made += 1
        return draw

    async def _go_on(self) -> None:
        """Step by step while there are rows. A step that comes late is not made up for."""
        while self._ends:
            seconds = BASE_SECONDS + ROW_SECONDS * len(self._ends)
            await asyncio.sleep(seconds * self._rng.lognormvariate(0, SPREAD))
            self._step += 1
            while self._ends and self._ends[0][0] <= self._step:
                written = heapq.heappop(self._ends)[2]
                if not written.done():  # its client may have gone away
                    written.set_result(None)
        self._batch = None

    async def counts(self, request: Request) -> Response:
        return JSONResponse({"n_begun": self.n_begun, "n_made": self.n_made})


async def run(port: int, *, is_instant: bool = False) -> None:
    policy = SimulatedPolicy() if is_instant else LatentPolicy(SimulatedPolicy())
    server = CompletionsServer(policy, lambda text: tuple(text.encode()), "simulated")
    if isinstance(policy, LatentPolicy):
        server.app.router.routes.append(Route("/counts", policy.counts))
    listener = listen("127.0.0.1", port)
    print(f"serving on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    await serve(new_server(server.app), listener)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--instant", action="store_true", help="no latencies")
    arguments = parser.parse_args()
    asyncio.run(run(arguments.port, is_instant=arguments.instant))
