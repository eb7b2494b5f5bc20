import asyncio
import time
from collections import Counter

from data_gen.policies.servers.routing import RecentPrompts, Server, choose, rank

URLS = [f"http://host-{i}:8000" for i in range(4)]
KEYS = [bytes([i, j]) for i in range(20) for j in range(20)]


def servers(max_concurrency: int = 8, pause_seconds: float = 60) -> list[Server]:
    return [Server(url, max_concurrency, pause_seconds) for url in URLS]


def test_keys_spread_evenly_and_stay_where_they_are():
    first = Counter(rank(servers(), key)[0].url for key in KEYS)
    assert all(70 <= first[url] <= 130 for url in URLS)  # 400 keys, 100 each expected, standard deviation 8.7
    assert [rank(servers(), key)[0].url for key in KEYS] == [rank(servers(), key)[0].url for key in KEYS]


def test_only_the_keys_of_a_server_that_goes_away_move():
    for key in KEYS:
        before = [server.url for server in rank(servers(), key)]
        after = [server.url for server in rank(servers()[1:], key)]
        assert after == [url for url in before if url != URLS[0]]


def test_a_full_server_passes_work_on_and_a_full_house_waits_at_the_best():
    ranked = rank(servers(max_concurrency=1), b"key")

    async def take(server: Server) -> None:
        await server.places.acquire()

    assert choose(ranked, ()) is ranked[0]
    asyncio.run(take(ranked[0]))
    assert choose(ranked, ()) is ranked[1]
    for server in ranked[1:]:
        asyncio.run(take(server))
    assert choose(ranked, ()) is ranked[0]
    assert choose(ranked, {ranked[0]}) is ranked[1]
    assert choose(ranked, set(ranked)) is None


def test_three_failures_in_a_row_set_a_server_aside_and_one_request_tries_it_again():
    server = Server("http://a", 8, pause_seconds=0.05)
    for _ in range(2):
        server.failed("HTTP 500", server.start())
    server.succeeded()
    for _ in range(2):
        server.failed("HTTP 500", server.start())
    assert server.is_open()  # three, but not in a row
    server.failed("HTTP 500", server.start())
    assert not server.is_open()
    for _ in range(50):
        server.failed("HTTP 500", False)  # what was under way fails too; the pause stays as it was
    time.sleep(0.06)
    assert server.is_open()
    assert server.start() is True
    assert not server.is_open()  # the others wait for the trial
    server.failed("HTTP 500", True)
    time.sleep(0.06)
    assert not server.is_open()  # the second pause is twice as long
    time.sleep(0.06)
    assert server.start() is True
    server.succeeded()
    assert server.is_open()
    assert server.start() is False


def test_a_server_that_asked_for_time_gets_it():
    ranked = rank(servers(), b"key")
    ranked[0].ask_again_in(60)
    assert choose(ranked, ()) is ranked[1]
    ranked[0].ask_again_in(0)  # a later word does not shorten it
    assert not ranked[0].is_open()


def test_the_prompt_that_a_prefix_begins_with_is_found():
    prompts = RecentPrompts()
    for prompt in ((1, 2, 3), (1, 2, 4), (1, 5), (9, 9)):
        prompts.add(prompt)
    assert prompts.find((1, 2, 3, 7, 7)) == (1, 2, 3)
    assert prompts.find((1, 2, 4)) == (1, 2, 4)
    assert prompts.find((1, 5, 0)) == (1, 5)
    assert prompts.find((1, 2)) is None
    assert prompts.find((1, 2, 5, 1)) is None
    assert prompts.find((0,)) is None
    assert (
        prompts.affinity_key((1, 2, 3, 7))
        == prompts.affinity_key((1, 2, 3))
        != prompts.affinity_key((1, 2, 4, 7))
    )


def test_the_oldest_prompts_are_forgotten():
    prompts = RecentPrompts(n_prompts=2)
    for prompt in ((3,), (1,), (1,), (2,)):  # the same again takes no place
        prompts.add(prompt)
    assert [prompts.find((i, 0)) for i in (1, 2, 3)] == [(1,), (2,), None]
