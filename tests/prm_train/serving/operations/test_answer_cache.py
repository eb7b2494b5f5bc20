"""Answers that are given again: which, for how long, and that they are the same."""

import asyncio
import tracemalloc
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_gen.ledger.store import IN_MEMORY, Ledger
from prm_train.search.answer import Answer
from prm_train.search.results import Cost
from prm_train.search.solve_settings import SolveSettings
from prm_train.serving.answering import Answerer, Found, Models
from prm_train.serving.chats import asked_question
from prm_train.serving.operations.answer_cache import AnswerCache, cache_control
from prm_train.serving.operations.draw_cache import DrawCache
from prm_train.serving.operations.ledger_file import LedgerFile
from prm_train.serving.operations.settings import CacheSettings
from prm_train.serving.replies import usage_of
from tests.prm_train.serving.conftest import QUESTION, Served, config_of, serving

MAJORITY = {"strategy": "majority", "n": 2}


def found(text: str) -> Found:
    answer = Answer("q", "?", text, 1.0, {text: 1.0}, (), (), "majority", 1, Cost(), text=text)
    return Found(answer, 0, 1)


def test_the_answer_that_was_asked_for_longest_ago_goes_first() -> None:
    cache = AnswerCache(CacheSettings(max_answers=2))
    for key in ("a", "b"):
        cache.put(key, found(key))
    assert cache.get("a") == replace(found("a"), is_cached=True)
    cache.put("c", found("c"))
    assert [key for key in "abc" if cache.get(key)] == ["a", "c"]


def test_kept_answers_have_no_more_bytes_than_they_may() -> None:
    one = AnswerCache(CacheSettings(max_answers=9))
    one.put("a", found("a"))
    size = one.n_bytes
    cache = AnswerCache(CacheSettings(max_answers=9, max_bytes=2 * size))
    for key in "abc":
        cache.put(key, found(key))
    assert (len(cache), cache.n_bytes, cache.get("a")) == (2, 2 * size, None)
    cache.put("b", found("b"))
    assert cache.n_bytes == 2 * size
    cache.put("d", found("x" * (size // 4)))
    assert cache.get("d") is not None
    cache.put("e", found("x" * 2 * size))
    assert (cache.get("e"), len(cache)) == (None, 1)


def test_the_bytes_of_kept_answers_are_those_of_the_memory_that_they_take() -> None:
    """By what Python's allocator says; a letter of another alphabet takes two bytes, and a digit one."""
    cache = AnswerCache(CacheSettings(max_answers=99))

    def long(number: int) -> Found:
        answer = found(f"{number} " + "ж" * 2000).answer
        steps = tuple(f"{number} {step} " + "2" * 300 for step in range(20))
        scores = tuple(number + step / 7 for step in range(20))
        return Found(replace(answer, steps=steps, scores=scores, text="".join(steps)), number + 10**6, 1)

    tracemalloc.start()
    for number in range(50):
        cache.put(f"{number:064d}", long(number))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert cache.n_bytes == pytest.approx(taken, rel=0.1)


def test_an_answer_that_is_too_old_is_found_anew() -> None:
    now = 0.0
    cache = AnswerCache(CacheSettings(max_answers=2, max_age_seconds=10), lambda: now)
    cache.put("a", found("a"))
    now = 10.0
    assert cache.get("a") is not None
    now = 10.5
    assert (cache.get("a"), len(cache), cache.n_bytes) == (None, 0, 0)


@pytest.mark.parametrize(
    ("seed", "without_seed", "seconds", "is_kept"),
    [(1, False, None, True), (None, False, None, False), (None, True, None, True), (1, True, 2.0, False)],
)
def test_only_what_would_come_out_the_same_is_kept(
    seed: int | None, without_seed: bool, seconds: float | None, is_kept: bool
) -> None:
    settings = SolveSettings(strategy="majority", budget_seconds=seconds)
    assert CacheSettings(max_answers=1, without_seed=without_seed).keeps(settings, seed) is is_kept
    assert not CacheSettings(without_seed=without_seed).keeps(settings, seed)


def test_cache_control_says_what_may_be_read_and_kept() -> None:
    headers = (None, "max-age=0", "no-cache", "max-age=1, No-Store", "no-cache\nno-store")
    said = [cache_control(header.split("\n") if header else []) for header in headers]
    assert [(each.may_read, each.may_keep) for each in said] == [
        (True, True),
        (True, True),
        (False, True),
        (False, False),
        (False, False),
    ]


@pytest.fixture(scope="module")
def keeping(prm: Path, reload: Models) -> Iterator[Served]:
    with serving(config_of(prm, cache=CacheSettings(max_answers=8, without_seed=True)), reload) as server:
        yield server


def test_the_same_request_is_answered_once_unless_its_header_wants_more(keeping: Served) -> None:
    def ask(header: str | None = None, **body: Any) -> dict[str, Any]:
        headers = {} if header is None else {"Cache-Control": header}
        body = {"messages": [{"role": "user", "content": QUESTION}], "search": MAJORITY} | body
        reply = keeping.post("/v1/chat/completions", body, headers=headers).json()
        return {**reply, "is_cached": reply["usage"]["search_details"]["answer_cached"]}

    first, again = ask(seed=1), ask(seed=1)
    assert (first["is_cached"], again["is_cached"]) == (False, True)
    assert (again["choices"], again["search"]) == (first["choices"], first["search"])
    others = ask(seed=2), ask(seed=1, temperature=0.5), ask(seed=1, search={**MAJORITY, "n": 3})
    assert [each["is_cached"] for each in others] == [False, False, False]
    steps = ask(seed=1, search={**MAJORITY, "return_steps": True})
    assert (steps["is_cached"], "steps" in steps["search"]) == (True, True)
    assert [ask("no-cache", seed=1)["is_cached"], ask("no-store", seed=1)["is_cached"]] == [False, False]
    # Without seed the seed of the first is that of all, as this server was set
    unseeded = [ask(search={**MAJORITY, "n": 1}) for _ in range(2)]
    assert [each["is_cached"] for each in unseeded] == [False, True]
    assert unseeded[0]["search"]["seed"] == unseeded[1]["search"]["seed"]
    page = keeping.client.get(f"{keeping.url}/metrics").text
    assert 'prm_train_answer_cache_total{result="hit"} 3.0' in page
    assert 'prm_train_answer_cache_total{result="bypassed"} 1.0' in page


def test_draws_are_kept_for_the_last_questions_but_not_dropped_while_they_are_used() -> None:
    now = 0.0
    draws = DrawCache(CacheSettings(max_questions=1, max_age_seconds=10), lambda: now)
    with draws.open("a") as first:
        with draws.open("b") as second, draws.open("a") as again:
            assert first is again
            assert first is not second
            assert len(draws) == 2
        assert len(draws) == 1
        now = 11.0
        with draws.open("a") as again:
            assert first is again
    with draws.open("a") as young:
        assert young is not first


def test_draws_that_take_more_memory_than_they_may_are_dropped_but_not_while_they_are_used() -> None:
    """A ledger of one question takes 64 KiB and 4/3 of its 40 KiB of empty tables: two of them 240 kB."""
    draws = DrawCache(CacheSettings(max_questions=9, max_draw_bytes=250_000))
    for key in "ab":
        with draws.open(key) as ledger:
            assert ledger.n_bytes == 10 * 4096
    assert (len(draws), draws.n_bytes) == (2, 2 * (65_536 + 54_613))
    with draws.open("a"), draws.open("c"):
        assert len(draws) == 3
    assert len(draws) == 2
    with draws.open("a") as first, draws.open("c"):
        pass
    with draws.open("a") as again:  # "b" was asked for longest ago
        assert first is again


def test_a_ledger_that_has_its_size_is_set_aside_once_nobody_uses_it(tmp_path: Path) -> None:
    path = tmp_path / "draws.sqlite"
    old = tmp_path / "draws.sqlite.old"
    with LedgerFile(path, max_bytes=12 * 4096) as file:
        with file.open() as first:
            assert not first.n_draws()
            first._execute("CREATE TABLE filled AS SELECT randomblob(20000)")
            first.commit()
            with file.open() as meanwhile:  # its draws are dropped
                assert meanwhile.path == IN_MEMORY
            assert not old.exists()
        with file.open() as second:
            assert second is not first
            assert second.n_bytes == 10 * 4096
        with file.open() as again:
            assert again is second
    assert old.stat().st_size > 12 * 4096
    with Ledger(path, read_only=True) as ledger, Ledger(old, read_only=True) as before:
        assert ledger.n_draws() == before.n_draws() == 0


@pytest.mark.parametrize("has_file", [True, False])
def test_a_higher_budget_draws_only_what_is_missing_unless_nothing_may_be_kept(
    reload: Models, tmp_path: Path, has_file: bool
) -> None:
    draws = DrawCache(CacheSettings(max_questions=1))

    async def ask(answerer: Answerer, n: int, is_kept: bool) -> tuple[int, int]:
        settings = SolveSettings(strategy="majority", n=n, max_new_tokens=80)
        asking = await answerer.ask(asked_question(QUESTION), settings, 77)
        usage = usage_of(await replace(asking, may_be_kept=is_kept, draws=draws).answer())
        return usage["completion_tokens"], usage["search_details"]["ledger_tokens"]

    async def ask_all() -> list[tuple[int, int]]:
        with LedgerFile(tmp_path / "draws.sqlite") if has_file else nullcontext() as ledger:
            answerer = Answerer(replace(reload, ledger=ledger))
            return [await ask(answerer, n, is_kept) for n, is_kept in ((2, False), (2, True), (5, True))]

    aside, low, high = asyncio.run(ask_all())
    assert aside == low == (low[0], 0)
    assert high[0] > low[0]
    assert high[1] == low[0]
    assert len(draws) == (0 if has_file else 1)
