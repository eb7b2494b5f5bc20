"""Scores over HTTP: those of the scorer in process, each distinct token once, and what is unknown is null."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from data_gen.policies.servers.server_errors import ServerError
from prm_train.kinds.load import load_scorer
from prm_train.kinds.served import connect_scorer
from prm_train.scoring.incremental import IncrementalScorer
from prm_train.scoring.score import score
from prm_train.serving.answering import Models
from prm_train.serving.chats import asked_question
from prm_train.serving.scoring_sessions import SessionLimits, SessionStore
from tests.prm_train.serving.conftest import QUESTION, STEPS, Served, config_of, serving

WRONG = ["3 plus 4=8", "8 times 9=72, keep 2", "Answer: 8 2"]


def test_scores_are_those_of_the_scorer_in_process(served: Served, prm: Path) -> None:
    wanted = score(QUESTION, STEPS, load_scorer(str(prm)))
    reply = served.ask("/v1/score", question=QUESTION, steps=STEPS)
    assert reply["scores"] == pytest.approx(wanted, abs=1e-6)
    assert (reply["score"], reply["aggregation"]) == (pytest.approx(min(wanted), abs=1e-6), "min")
    assert reply["failures"] == []
    as_text = served.ask("/v1/score", question=QUESTION, solution="\n".join(STEPS))
    assert as_text["scores"] == pytest.approx(wanted, abs=1e-6)
    turns = [{"role": "user", "content": QUESTION}]
    assert served.ask("/v1/score", messages=turns, steps=STEPS)["scores"] == pytest.approx(wanted, abs=1e-6)


def test_an_orm_gives_one_score_for_the_solution(orm: Path) -> None:
    config = config_of(None, orm=str(orm), strategy="weighted")
    with serving(config) as server:
        [wanted] = score(QUESTION, STEPS, load_scorer(str(orm)))
        reply = server.ask("/v1/score", question=QUESTION, steps=STEPS)
        assert reply["scores"] == [pytest.approx(wanted, abs=1e-6)]
        assert reply["model"] == "orm"
        found = server.chat(seed=1, search={"return_steps": True})["search"]
        assert [step["score"] is None for step in found["steps"][:-1]] == [True] * (len(found["steps"]) - 1)
        assert 0 < found["steps"][-1]["score"] < 1
        refused = server.post("/beam/v1/completions", {"prompt": QUESTION})
        assert "got an ORM, which scores whole solutions" in refused.json()["error"]["message"]


def test_a_step_without_score_is_null_and_says_why(served: Served) -> None:
    reply = served.ask("/v1/score", question=QUESTION, steps=[STEPS[0], " ", STEPS[2]])
    assert reply["scores"][0] is not None
    assert reply["scores"][1:] == [None, None]
    assert reply["score"] is None
    assert [failure["index"] for failure in reply["failures"]] == [1, 2]
    assert "got a blank step" in reply["failures"][1]["reason"]
    long = served.ask("/v1/score", question=QUESTION, steps=[STEPS[0], "1" * 5000])
    assert long["scores"][1] is None
    assert "longer than the scorer's context of" in long["failures"][0]["reason"]


def test_a_session_computes_each_distinct_token_once(served: Served, prm: Path) -> None:
    session = served.ask("/v1/score/sessions", question=QUESTION)
    url = f"/v1/score/sessions/{session['id']}"
    first = served.ask(f"{url}/extend", steps=[{"step": STEPS[0]}, {"step": WRONG[0]}], score=True)
    assert first["nodes"] == [1, 2]
    chain = [
        {"parent": 1, "step": STEPS[1]},
        {"parent": 2, "step": WRONG[1]},
        {"parent": 0, "step": STEPS[0]},
    ]
    assert served.ask(f"{url}/extend", steps=chain)["nodes"] == [3, 4, 1]
    last = [{"parent": 3, "step": STEPS[2]}, {"parent": 4, "step": WRONG[2]}]
    ends = served.ask(f"{url}/extend", steps=last, score=True)
    assert ends["nodes"] == [5, 6]
    every = served.ask(f"{url}/score", nodes=[1, 3, 5, 2, 4, 6])
    scorer = load_scorer(str(prm))
    wanted = score(QUESTION, STEPS, scorer) + score(QUESTION, WRONG, scorer)
    assert every["scores"] == pytest.approx(wanted, abs=1e-6)
    texts = [*STEPS, *WRONG]
    assert isinstance(scorer, IncrementalScorer)
    pieces = [scorer.encode_head(QUESTION), *map(scorer.encode_step, texts)]
    n_distinct = len([token for piece in pieces for token in piece])
    assert every["usage"]["prompt_tokens"] == n_distinct
    closed = served.post(f"{url}/score", {"nodes": [0]})
    assert closed.json()["error"]["message"].startswith("nodes: got 0, the question, which has no score")
    assert served.client.delete(f"{served.url}{url}").json()["closed"] is True
    assert served.post(f"{url}/score", {"nodes": [1]}).status_code == 404


def test_sessions_are_bounded_and_close_when_nobody_uses_them(prm: Path, reload: Models) -> None:
    config = config_of(
        prm, max_sessions=1, max_session_nodes=2, max_session_bytes=30, session_idle_seconds=1.0
    )
    with serving(config, reload) as server:
        name = server.ask("/v1/score/sessions", question=QUESTION)["id"]
        second = server.post("/v1/score/sessions", {"question": QUESTION})
        assert (second.status_code, second.headers["Retry-After"]) == (429, "1")
        url = f"/v1/score/sessions/{name}"
        too_long = server.post(f"{url}/extend", {"steps": [{"step": "1" * 31}]})
        assert too_long.json()["error"]["message"] == "steps: one of 31 bytes, expected at most 30"
        server.ask(f"{url}/extend", steps=[{"step": "1"}, {"step": "2"}])
        full = server.post(f"{url}/extend", {"steps": [{"step": "3"}]})
        assert "holds 2 steps of 2 bytes, expected at most 2 of 30" in full.json()["error"]["message"]
        large = server.post("/v1/score", {"question": QUESTION, "steps": ["1"]})
        assert large.json()["error"]["message"] == "body: texts of 31 bytes, expected at most 30"
        sessions = server.serve_app.sessions
        assert sessions is not None
        patience = time.monotonic() + 10
        while len(sessions) and time.monotonic() < patience:
            time.sleep(0.05)
        gone = server.post(f"{url}/score", {"nodes": [1]})
        assert gone.status_code == 404
        assert "closed after 1 s without use" in gone.json()["error"]["message"]
        assert server.post("/v1/score/sessions", {"question": QUESTION}).status_code == 201


def test_verify_answers_as_nemo_gym_asks(served: Served, prm: Path) -> None:
    wanted = score(QUESTION, STEPS, load_scorer(str(prm)))
    said = [{"type": "output_text", "text": "\n".join(STEPS), "annotations": []}]
    body: dict[str, Any] = {
        "responses_create_params": {"input": [{"role": "user", "content": QUESTION}], "temperature": 1.0},
        "response": {
            "id": "resp",
            "output": [{"type": "reasoning", "summary": []}, {"type": "message", "content": said}],
        },
        "expected_answer": "7 3",
    }
    reply = served.ask("/verify", **body)
    assert {name: reply[name] for name in body} == body
    assert reply["reward"] == pytest.approx(min(wanted), abs=1e-6)
    assert reply["step_rewards"] == pytest.approx(wanted, abs=1e-6)
    assert reply["mask_sample"] is False
    said[0]["text"] = "1" * 5000
    unknown = served.ask("/verify", **body)
    assert (unknown["reward"], unknown["step_rewards"], unknown["mask_sample"]) == (None, [None], True)
    assert "longer than the scorer's context" in unknown["failure_reason"]


@pytest.mark.parametrize("kind", ["prm", "orm"])
def test_pooling_serves_the_scorer_of_another_process(
    served: Served, prm: Path, orm: Path, kind: str
) -> None:
    folder = prm if kind == "prm" else orm
    if kind == "prm":
        remote = connect_scorer(str(prm), (served.url,), model="prm")
        found = score(QUESTION, STEPS, remote)
    else:
        with serving(config_of(None, orm=str(orm), strategy="weighted")) as server:
            found = score(QUESTION, STEPS, connect_scorer(str(orm), (server.url,), model="orm"))
    assert found == pytest.approx(score(QUESTION, STEPS, load_scorer(str(folder))), abs=1e-6)
    [item] = served.ask("/pooling", input=[5, 6, 7])["data"]
    assert [sum(row) for row in item["data"]] == pytest.approx([1.0] * 3)


class BrokenTree:
    """A scorer that fails whenever it is asked, with the error that the step names."""

    scorer_id, scores_steps, aggregation, root = "broken", True, "min", "root"

    def session(self, question: str) -> Any:
        return self

    async def __aenter__(self) -> "BrokenTree":
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    def extend(self, parent: str, step: str) -> str:
        return f"{parent}/{step}"

    async def score(self, node: str) -> float:
        raise ServerError("http://scorer: no reply") if node.endswith("server") else RuntimeError("no memory")


def test_a_scorer_that_fails_gives_null_and_no_zero() -> None:
    async def scored() -> Any:
        store = SessionStore(SessionLimits(1, 1, 9, 99, 9.0))
        session = await store.open(asked_question("?"), BrokenTree())  # type: ignore[arg-type]
        found = await session.score([session.extend(0, "memory"), session.extend(0, "server")])
        await store.close(session.name)
        return found

    by_memory, by_server = asyncio.run(scored())
    assert (by_memory.score, by_memory.failure) == (None, "the scorer failed: RuntimeError")
    assert by_server.score is None
    assert by_server.failure == "a server behind this one failed; the log says more"
