"""The same searches by HTTP and in process, in turn."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.serving.clients import CHAT, Request, ask_all
from benchmarks.serving.sizes import Size
from benchmarks.serving.target import PATHS, SETTINGS, Target, chat, questions, start_server
from data_gen.ledger.store import IN_MEMORY, Ledger
from data_gen.policies.config import PolicyConfig
from data_gen.problems.layouts import question_id
from data_gen.records.solutions import Question
from prm_train.search.solve_settings import SolveSettings
from prm_train.search.solving.solver import Solver
from prm_train.serving.answering import Models, first_draw
from prm_train.serving.loading import load_models
from prm_train.serving.settings import ServeConfig

N_BESIDE = 10  # searches side by side


async def solve_all(
    models: Models, asked: list[tuple[str, int]], path: str, n_beside: int
) -> list[str | None]:
    """Answers in order."""
    turns = asyncio.Semaphore(n_beside)
    settings = SolveSettings(max_new_tokens=SETTINGS["max_new_tokens"], **PATHS[path])  # type: ignore[arg-type]

    async def one(question: str, seed: int) -> str | None:
        async with turns:
            with Ledger(IN_MEMORY) as ledger:
                solver = Solver(
                    settings,
                    models.policy,
                    models.scorer,
                    models.reader,
                    ledger,
                    first_draw=first_draw(seed),
                )
                return (await solver.solve(Question(question_id(question), question))).answer

    return list(await asyncio.gather(*(one(*each) for each in asked)))


@dataclass(frozen=True)
class Spent:
    """On the searches of a round."""

    wall_seconds: float
    cpu_seconds: float


def by_http(
    target: Target, asked: list[tuple[str, int]], path: str, n_clients: int
) -> tuple[Spent, list[str | None]]:
    requests: list[Request] = [(path, CHAT, chat(text, seed, PATHS[path])) for text, seed in asked]
    wall, cpu = time.perf_counter(), target.cpu_seconds
    replies = asyncio.run(ask_all(target.url, n_clients, requests))
    spent = Spent(time.perf_counter() - wall, target.cpu_seconds - cpu)
    return spent, [reply.body["search"]["answer"] for reply in replies]


def in_process(
    models: Models, asked: list[tuple[str, int]], path: str, n_beside: int
) -> tuple[Spent, list[str | None]]:
    wall, cpu = time.perf_counter(), time.process_time()
    answers = asyncio.run(solve_all(models, asked, path, n_beside))
    return Spent(time.perf_counter() - wall, time.process_time() - cpu), answers


def compare(target: Target, models: Models, path: str, size: Size, n_beside: int) -> dict[str, Any]:
    """A server that works on `n_beside` requests at a time has as many waiting, as the loop in process has
    its next search at hand; one by one neither has.
    """
    n_clients = 1 if n_beside == 1 else 2 * n_beside
    rounds, n_other = [], 0
    for number in range(-1, size.n_rounds):  # the first one warms both up
        texts = questions(size.n_searches, seed=1000 + number)
        asked = [(text, index) for index, text in enumerate(texts)]
        http, said = by_http(target, asked, path, n_clients)
        here, answers = in_process(models, asked, path, n_beside)
        n_other += sum(one != other for one, other in zip(said, answers, strict=True))
        if number >= 0:
            rounds.append((http, here))
    n_searches = len(rounds) * size.n_searches
    http_seconds = sum(http.cpu_seconds for http, _ in rounds)
    here_seconds = sum(here.cpu_seconds for _, here in rounds)
    by_round = [http.cpu_seconds / here.cpu_seconds for http, here in rounds]
    return {
        "n_searches": n_searches,
        "n_other_answers": n_other,
        "cpu_ratio": round(http_seconds / here_seconds, 3),
        "cpu_ratio_of_rounds": {"low": round(min(by_round), 3), "high": round(max(by_round), 3)},
        "wall_ratio": round(median(http.wall_seconds / here.wall_seconds for http, here in rounds), 3),
        "cpu_ms_by_http": round(1000 * http_seconds / n_searches, 2),
        "cpu_ms_in_process": round(1000 * here_seconds / n_searches, 2),
    }


def measure_overhead(prm: Path, size: Size) -> dict[str, Any]:
    config = ServeConfig(policy=PolicyConfig("base"), prm=str(prm), grader="arithmetic")
    models = load_models(config)
    with start_server(prm, max_concurrency=N_BESIDE) as target:
        found = {
            f"{path}_{n_beside}": compare(target, models, path, size, n_beside)
            for path in PATHS
            for n_beside in (1, N_BESIDE)
        }
    return {"overhead_ratio": found[f"complex_{N_BESIDE}"]["cpu_ratio"], "overhead": found}
