"""The benchmark of `prm-train serve`: its parts at small size, and how it judges."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.serving import memory
from benchmarks.serving.__main__ import merge
from benchmarks.serving.clients import CHAT, Reply, ask_all, measure_clients
from benchmarks.serving.faults import judge
from benchmarks.serving.overhead import compare
from benchmarks.serving.sessions import measure_sessions
from benchmarks.serving.sizes import Size
from benchmarks.serving.target import Target, write_prm
from tests.prm_train.serving.conftest import Served, config_of, serving

TINY = Size((1, 2), 4, 1, 2, 40, 1, 1)


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prm(tmp_path_factory.mktemp("prm"))


@pytest.fixture(scope="module")
def served(prm: Path) -> Iterator[Served]:
    with serving(config_of(prm)) as server:
        yield server


def test_parts_of_a_tiny_run_have_their_figures(served: Served, prm: Path) -> None:
    found = measure_clients(served.url, TINY)
    assert [each["n_requests"] for each in found.values()] == [4, 4]
    for each in found.values():
        assert 0 < each["p50"] <= each["p95"] <= each["p99"]
        assert each["simple"]["p50"] < each["complex"]["p99"]
    found = measure_sessions(served.url, prm, TINY)
    assert found["tokens_per_distinct"] == 1.0
    assert found["scores_difference"] < 1e-6
    assert found["sessions"]["n_scores"] > 10
    target = Target(served.url, os.getpid())
    overhead = compare(target, served.models, "simple", TINY, 2)
    assert (overhead["n_searches"], overhead["n_other_answers"]) == (2, 0)
    samples = memory.sample_memory(target, TINY.n_memory_requests)
    assert samples[-1][0] == 40
    assert memory.judge(samples)["is_flat"]


def test_memory_that_grows_with_each_request_is_not_flat() -> None:
    grown = memory.judge([(100 * n, 400_000_000 + 3000 * 100 * n) for n in range(1, 101)])
    assert grown["bytes_per_request"] == 3000
    assert not grown["is_flat"]
    filled = memory.judge([(100 * n, 400_000_000 + 10_000_000 * min(n, 25)) for n in range(1, 101)])
    assert (filled["is_flat"], filled["bytes_per_request"]) == (True, 0)


def reply(status: int | None, answer: str = "7", share: float = 1.0) -> Reply:
    body: dict[str, Any] = {"search": {"answer": answer, "shares": {answer: share}}}
    return Reply("search", status, {"error": {}} if status != 200 else body, 0.1)


def test_a_reply_after_a_fault_is_right_an_error_wrong_or_lost() -> None:
    before = [reply(200)] * 6
    after = [
        reply(200),
        reply(200, share=0.9999),
        reply(200, "8"),
        reply(200, share=0.5),
        reply(502),
        reply(None),
    ]
    assert judge(before, after) == {"right": 2, "wrong": 2, "errors": 1, "lost": 1}
    assert judge(before[:1], [reply(400)]) == {"wrong": 1}
    with pytest.raises(RuntimeError, match="a search without faults failed"):
        judge([reply(502)], [reply(200)])


def test_a_request_that_nobody_answers_is_lost() -> None:
    [found] = asyncio.run(ask_all("http://127.0.0.1:9", 1, [("search", CHAT, {})]))
    assert (found.status, found.kind) == (None, "search")


def test_figures_of_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "serving.json"
    merge(path, {"router": {"tokens_saved": {"mean": 0.6}}, "overhead_ratio": 2.0})
    merge(path, {"overhead_ratio": 1.1})
    assert json.loads(path.read_text()) == {"router": {"tokens_saved": {"mean": 0.6}}, "overhead_ratio": 1.1}
