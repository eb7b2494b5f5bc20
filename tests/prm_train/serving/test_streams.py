"""Answers as streams: what the search does meanwhile, text as it is written, and the answer as soon as it
stands.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from data_gen.grading.graders import load_grader
from data_gen.ledger.store import IN_MEMORY, Ledger
from data_gen.records.sampling import Completion, SamplingParams
from data_gen.records.solutions import Question
from prm_train.search.solve_settings import SolveSettings
from prm_train.search.solving.solver import Solver
from prm_train.serving.answering import Models
from prm_train.serving.progress import Progress
from prm_train.serving.streams import LiveText
from tests.data_gen.test_serve_policy import EndlessPolicy
from tests.prm_train.serving.conftest import QUESTION, Served, config_of, serving
from tests.prm_train.serving.test_operations import wait_for
from tests.scripted_search import ScriptedPolicy, ScriptedScorer

CHAT = {"messages": [{"role": "user", "content": QUESTION}], "stream": True}


def events_of(served: Served, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    with served.client.stream("POST", f"{served.url}{path}", json=body) as reply:
        assert reply.headers["X-Accel-Buffering"] == "no"
        lines = [line for line in reply.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_a_stream_holds_the_answer_in_one_piece_and_the_usage_at_its_end(served: Served) -> None:
    whole = served.chat(seed=3)
    body = {**CHAT, "seed": 3, "search": {"progress": False}}
    events = events_of(served, "/v1/chat/completions", body)
    assert len({(event["id"], event["created"]) for event in events}) == 1
    deltas = [event["choices"][0]["delta"] for event in events]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert deltas[1]["content"] == whole["choices"][0]["message"]["content"]
    assert [event["choices"][0]["finish_reason"] for event in events] == [None, None, "stop"]
    assert (events[-1]["usage"], events[-1]["search"]) == (whole["usage"], whole["search"])
    with_usage = {**body, "stream_options": {"include_usage": True}}
    *others, last = events_of(served, "/v1/chat/completions", with_usage)
    assert (last["choices"], last["usage"]) == ([], whole["usage"])
    assert not any("usage" in event for event in others)
    assert served.post("/foo/v1/chat/completions", body).status_code == 400


@pytest.mark.parametrize("strategy", ["particle_filter", "weighted"])
def test_a_stream_tells_the_tree_as_it_grows_and_ends_as_the_answer_without_stream(
    served: Served, strategy: str
) -> None:
    search = {"strategy": strategy, "n": 4, "return_steps": True}
    whole = served.chat(seed=3, search=search)
    *events, last = events_of(served, "/v1/chat/completions", {**CHAT, "seed": 3, "search": search})
    assert (last["usage"], last["search"]) == (whole["usage"], whole["search"])
    told = [event["progress"] for event in events if "progress" in event]
    assert told[0] == {"event": "search", "strategy": strategy, "n": 4}
    nodes: dict[int | None, dict[str, Any]] = {None: {"parent": None, "text": ""}}
    for each in told:
        if each["event"] == "step":
            assert each["parent"] in nodes
            nodes[each["node"]] = each
        elif each["event"] == "round":
            assert {kept["node"] for kept in each["kept"]} | set(each["left"]) <= nodes.keys()
    *_, cost, vote = told
    assert cost["generated_tokens"] == whole["usage"]["completion_tokens"]
    assert cost["scorer_tokens"] == whole["usage"]["search_details"]["scorer_tokens"]
    assert sum(path["weight"] for path in vote["paths"]) == pytest.approx(1)
    shares: dict[str, float] = {}
    for path in vote["paths"]:
        shares[path["answer"]] = shares.get(path["answer"], 0) + path["weight"]
    assert shares == pytest.approx(whole["search"]["shares"])
    assert (
        sum(node["n_draws"] for node in nodes.values() if node.get("parent", 0) is None and node["text"]) == 4
    )
    lines = []
    for path in vote["paths"]:
        line, number = [], path["node"]
        while number is not None:
            line.append({"text": nodes[number]["text"].rstrip("\n"), "score": nodes[number]["score"]})
            number = nodes[number]["parent"]
        lines.append(line[::-1])
    assert whole["search"]["steps"] in lines


Scorer = Callable[[tuple[str, ...]], float]


def told_of(
    strategy: str, write: Callable[[str, int], str], judge: Scorer, n: int = 2
) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    settings = SolveSettings(strategy, n, max_new_tokens=100)
    reader = load_grader("exact", "a question")

    async def solve() -> None:
        with Ledger(IN_MEMORY) as ledger:
            watch = Progress(events.append, "\n")
            policy, scorer = ScriptedPolicy(write), ScriptedScorer(judge)
            await Solver(settings, policy, scorer, reader, ledger, watch=watch).solve(Question("q", "?"))

    asyncio.run(solve())
    return events


def node(number: int, parent: int | None, text: str, score: float | None, **more: Any) -> dict[str, Any]:
    said = {"event": "step", "node": number, "parent": parent, "text": text, "score": score}
    return said | {"state": "open", "n_draws": 1} | more


def cost(generated: int, scored: int = 0) -> dict[str, Any]:
    return {"event": "cost", "generated_tokens": generated, "scorer_tokens": scored}


def test_the_events_of_a_beam_worked_out_by_hand() -> None:
    """Two first steps, a at 0.5 and b at 0.25; a stays, and is ended twice, alike."""

    def write(text: str, index: int) -> str:
        return ["a\n", "b\n"][index] if not text else "so 7"

    assert told_of("beam:width=2", write, lambda steps: 0.25 if steps[0] == "b" else 0.5) == [
        {"event": "search", "strategy": "beam:width=2", "n": 2},
        {"event": "round", "kept": [{"node": None, "n_draws": 2}], "left": []},
        node(0, None, "a\n", 0.5),
        node(1, None, "b\n", 0.25),
        cost(4),
        {"event": "round", "kept": [{"node": 0, "n_draws": 2}], "left": [1]},
        node(2, 0, "so 7", 0.5, state="finished"),
        node(2, 0, "so 7", 0.5, state="finished", n_draws=2),
        cost(12),
        {"event": "vote", "paths": [{"node": 2, "answer": "7", "weight": 1.0}]},
    ]


def test_samples_are_told_as_they_are_drawn_and_again_with_their_scores() -> None:
    """Both begin with a; the second one is the better one by 3 to 1."""

    def write(text: str, index: int) -> str:
        return ["a\nso 7", "a\nso 8"][index]

    def judge(steps: tuple[str, ...]) -> float:
        return {"a": 1.0, "so 7": 0.25, "so 8": 0.75}[steps[-1]]

    assert told_of("weighted", write, judge) == [
        {"event": "search", "strategy": "weighted", "n": 2},
        node(0, None, "a", None),
        node(1, 0, "so 7", None, state="finished", answer="7"),
        cost(12),
        node(0, None, "a", None, n_draws=2),
        node(2, 0, "so 8", None, state="finished", answer="8"),
        node(0, None, "a", 1.0, n_draws=2),
        node(1, 0, "so 7", 0.25, state="finished", answer="7"),
        node(2, 0, "so 8", 0.75, state="finished", answer="8"),
        {
            "event": "vote",
            "paths": [
                {"node": 1, "answer": "7", "weight": 0.25},
                {"node": 2, "answer": "8", "weight": 0.75},
            ],
        },
    ]


def test_the_weights_of_a_vote_are_those_of_the_paths_that_vote() -> None:
    """The only path with an answer scores 0, beside one without an answer that scores 0.5."""

    def judge(steps: tuple[str, ...]) -> float:
        return 0.0 if steps[-1] == "so 7" else 0.5

    vote = told_of("weighted", lambda text, index: ["hm", "so 7"][index], judge)[-1]
    assert vote == {"event": "vote", "paths": [{"node": 1, "answer": "7", "weight": 1.0}]}


@pytest.mark.parametrize("strategy", ["majority", "particle_filter"])
def test_the_text_of_the_only_path_comes_as_it_is_written(served: Served, strategy: str) -> None:
    search = {"strategy": strategy, "n": 1}
    whole = served.chat(seed=3, search=search)
    body = {**CHAT, "seed": 3, "search": {**search, "progress": False}}
    events = events_of(served, "/v1/chat/completions", body)
    pieces = [event["choices"][0]["delta"].get("content", "") for event in events]
    assert "".join(pieces) == whole["choices"][0]["message"]["content"]
    assert sum(map(bool, pieces)) > 8
    assert (events[-1]["usage"], events[-1]["search"]) == (whole["usage"], whole["search"])


def test_a_text_that_ends_without_an_answer_is_refused_behind_what_was_sent(served: Served) -> None:
    search = {"strategy": "majority", "n": 1, "progress": False}
    body = {**CHAT, "seed": 3, "max_tokens": 5, "search": search}
    *texts, refused, last = events_of(served, "/v1/chat/completions", body)
    assert "".join(event["choices"][0]["delta"]["content"] for event in texts)
    assert refused["choices"][0]["delta"].keys() == {"refusal"}
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["search"]["unsolved"]


@pytest.mark.parametrize(
    ("draws", "pieces"),
    [
        (["ab", "c"], ["ab", "c"]),
        (["x\n", "\nQ", "2"], ["x", "\n\nQ2"]),  # which might have been \n\nQ:
        (["x\n\n"], ["x"]),
        (["\xe2\x82", "\xac!"], ["€!"]),  # a character in two tokens
    ],
)
def test_what_may_be_a_stop_string_or_half_a_character_is_held_back(
    draws: list[str], pieces: list[str]
) -> None:
    told: list[str] = []
    vocabulary = [text.encode("latin-1") for text in draws]
    live = LiveText(vocabulary, ["\n\nQ:"], told.append)
    for n in range(len(draws)):
        live.read((), list(range(n + 1)))
    assert told == pieces
    assert live.text == "".join(pieces)


def test_what_was_written_before_a_draw_and_was_not_told_is_told_with_it() -> None:
    """The last token of a draw is never told, and a ledger may know whole draws."""
    told: list[str] = []
    live = LiveText([b"a", b"b", b"c", b"\xe2"], [], told.append)
    live.read((), [0])
    live.read((0, 1), [])
    live.read((0, 1), [2])
    live.read((0, 1, 2, 3, 0), [1])  # half a character at the end of a draw stays one
    assert told == ["a", "b", "c", "\ufffdab"]


class HalfEndlessPolicy(EndlessPolicy):
    """The first `n` samples say 7, the others never end; of a stepwise draw the first step ends alone."""

    def __init__(self, n: int, text: str) -> None:
        super().__init__()
        self.n, self.text = n, text

    async def sample(self, prefix_ids: tuple[int, ...], params: SamplingParams, index: int) -> Completion:
        self.n_begun += 1
        if self.n_begun > self.n:
            self.n_begun -= 1
            return await super().sample(prefix_ids, params, index)
        return await ScriptedPolicy(lambda text, index: self.text).sample(prefix_ids, params, index)


def test_a_policy_that_does_not_tell_gives_the_text_in_one_piece(reload: Models) -> None:
    models = Models(HalfEndlessPolicy(1, "Answer: 7"), None, reload.reader)
    with serving(config_of(None, strategy="majority"), models) as server:
        body = {"prompt": "x", "stream": True, "search": {"n": 1, "progress": False}}
        events = events_of(server, "/v1/completions", body)
    assert [event["choices"][0]["text"] for event in events] == ["Answer: 7", ""]


@pytest.mark.parametrize("is_stream", [False, True])
def test_an_answer_that_is_sure_enough_comes_at_once_and_the_rest_is_cancelled(
    reload: Models, is_stream: bool
) -> None:
    """Seven of seven are certain to win among 12: the window's last one is given up, the others not begun."""
    policy = HalfEndlessPolicy(7, "Answer: 7")
    models = Models(policy, ScriptedScorer(lambda steps: 1.0), reload.reader)
    search = {"strategy": "weighted", "n": 12, "window": 8, "stop_early": "certain"}
    with serving(config_of(None, strategy="majority"), models) as server:
        body = {"prompt": "x", "search": search, "stream": is_stream}
        if is_stream:
            found = events_of(server, "/v1/completions", body)[-1]["search"]
        else:
            found = server.ask("/v1/completions", **body)["search"]
    assert (found["answer"], found["stopped"], found["n_voters"]) == ("7", "certain", 7)
    assert (policy.n_begun, policy.n_cancelled) == (8, 1)


@pytest.mark.hostile
def test_a_client_that_goes_away_between_two_events_ends_the_draws(reload: Models) -> None:
    policy = HalfEndlessPolicy(3, "3 plus 4=7\n")
    models = Models(policy, ScriptedScorer(lambda steps: 1.0), reload.reader)
    with serving(config_of(None, strategy="majority"), models) as server:
        body = {"prompt": "x", "stream": True, "search": {"strategy": "beam", "n": 3}}
        with httpx.stream("POST", f"{server.url}/v1/completions", json=body) as reply:
            assert any('"event": "cost"' in line for line in reply.iter_lines())
        wait_for(lambda: policy.n_cancelled == 3)
        wait_for(lambda: server.client.get(f"{server.url}/health").json()["under_way"] == 0)
