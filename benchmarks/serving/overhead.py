"""The same searches by HTTP and in process, in turn."""

import asyncio
import time
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
from prm_train.search.solve import Solver
from prm_train.search.solve_settings import SolveSettings
from prm_train.serving.answering import Models, first_draw
from prm_train.serving.loading import load_models
from prm_train.serving.settings import ServeConfig

N_CLIENTS = 10


async def solve_all(models: Models, asked: list[tuple[str, int]], path: str) -> list[str | None]:
    """Answers in order, so many side by side as clients ask."""
    turns = asyncio.Semaphore(N_CLIENTS)
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


def compare(target: Target, models: Models, path: str, size: Size) -> dict[str, Any]:
    rounds, n_other = [], 0
    for number in range(-1, size.n_rounds):  # the first one warms both up
        texts = questions(size.n_searches, seed=1000 + number)
        asked = [(text, index) for index, text in enumerate(texts)]
        requests: list[Request] = [(path, CHAT, chat(text, seed, PATHS[path])) for text, seed in asked]
        wall, cpu = time.perf_counter(), target.cpu_seconds
        replies = asyncio.run(ask_all(target.url, N_CLIENTS, requests))
        http = time.perf_counter() - wall, target.cpu_seconds - cpu
        wall, cpu = time.perf_counter(), time.process_time()
        answers = asyncio.run(solve_all(models, asked, path))
        inside = time.perf_counter() - wall, time.process_time() - cpu
        said = [reply.body["search"]["answer"] for reply in replies]
        n_other += sum(one != other for one, other in zip(said, answers, strict=True))
        if number >= 0:
            rounds.append((http, inside))
    walls = [http[0] / inside[0] for http, inside in rounds]
    cpus = [http[1] / inside[1] for http, inside in rounds]
    return {
        "n_searches": len(rounds) * size.n_searches,
        "n_other_answers": n_other,
        "cpu_ratio": round(sum(http[1] for http, _ in rounds) / sum(inside[1] for _, inside in rounds), 3),
        "cpu_ratio_by_round": {
            "median": round(median(cpus), 3),
            "low": round(min(cpus), 3),
            "high": round(max(cpus), 3),
        },
        "wall_ratio": round(median(walls), 3),
        "cpu_ms_per_search": {
            "http": round(1000 * sum(http[1] for http, _ in rounds) / len(rounds) / size.n_searches, 2),
            "in_process": round(
                1000 * sum(inside[1] for _, inside in rounds) / len(rounds) / size.n_searches, 2
            ),
        },
    }


def measure_overhead(prm: Path, size: Size) -> dict[str, Any]:
    config = ServeConfig(policy=PolicyConfig("base"), prm=str(prm), grader="arithmetic")
    models = load_models(config)
    with start_server(prm) as target:
        found = {path: compare(target, models, path, size) for path in PATHS}
    return {"overhead_ratio": found["complex"]["cpu_ratio"], "overhead": found}
