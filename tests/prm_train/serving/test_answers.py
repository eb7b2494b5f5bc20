"""Answers by search over HTTP: what a client gets, and that it is what the search finds in process."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_gen.grading.graders import load_grader
from data_gen.ledger.store import IN_MEMORY, Ledger
from data_gen.problems.layouts import question_id
from data_gen.records.solutions import Question
from prm_train.search.answer import Answer
from prm_train.search.routing.fits import Fits
from prm_train.search.solve_settings import SolveSettings
from prm_train.search.solving.solver import Solver
from prm_train.serving.answering import Answerer, Models, first_draw
from prm_train.serving.chats import MessageBody
from prm_train.serving.search_request import ChatBody, SearchBody, settings_for
from prm_train.serving.streams import has_one_path
from tests.prm_train.search.test_allocation import ALLOCATION, write
from tests.prm_train.serving.conftest import QUESTION, Served
from tests.scripted_search import ScriptedPolicy, ScriptedScorer


def solved(models: Models, seed: int, **settings: Any) -> Answer:
    """In this process, without HTTP."""

    async def solve() -> Answer:
        with Ledger(IN_MEMORY) as ledger:
            asked = SolveSettings(max_new_tokens=80, **settings)
            solver = Solver(
                asked, models.policy, models.scorer, models.reader, ledger, first_draw=first_draw(seed)
            )
            return await solver.solve(Question(question_id(QUESTION), QUESTION))

    return asyncio.run(solve())


@pytest.mark.parametrize("strategy", ["majority", "weighted", "particle_filter", "beam:width=2"])
def test_a_seeded_answer_is_that_of_the_search_in_process(
    served: Served, reload: Models, strategy: str
) -> None:
    wanted = solved(reload, 5, strategy=strategy, n=4)
    search = {"strategy": strategy, "n": 4, "return_steps": True}
    reply = served.chat(seed=5, search=search)
    assert reply == {**served.chat(seed=5, search=search), "id": reply["id"], "created": reply["created"]}
    [choice], found = reply["choices"], reply["search"]
    assert choice["message"]["content"] == wanted.text
    assert choice["finish_reason"] == "stop"
    assert (found["answer"], found["shares"]) == (wanted.answer, pytest.approx(wanted.shares, abs=1e-6))
    assert found["confidence"] == pytest.approx(wanted.confidence, abs=1e-6)
    assert [step["text"] for step in found["steps"]] == list(wanted.steps)
    scores = [step["score"] for step in found["steps"]]
    assert scores == pytest.approx(wanted.scores or [None] * len(wanted.steps), abs=1e-6)
    usage = reply["usage"]
    assert usage["completion_tokens"] == wanted.cost.policy.n_generated
    assert usage["search_details"]["scorer_tokens"] == wanted.cost.scorer.n_new
    assert usage["completion_tokens_details"]["reasoning_tokens"] == (
        wanted.cost.policy.n_generated - wanted.n_tokens
    )


def test_the_strategy_may_stand_in_the_url_and_must_then_be_the_bodys(served: Served) -> None:
    body = {"messages": [{"role": "user", "content": QUESTION}], "seed": 1}
    reply = served.ask("/majority/v1/chat/completions", **body)
    assert (reply["search"]["strategy"], reply["search"]["n"]) == ("majority", 4)
    assert served.ask("/beam:width=2/v1/completions", prompt=QUESTION)["search"]["strategy"] == "beam:width=2"
    wrong = served.post("/majority/v1/chat/completions", {**body, "search": {"strategy": "beam"}})
    assert wrong.status_code == 400
    assert wrong.json()["error"]["message"].startswith("search.strategy: got 'beam' at the URL of 'majority'")


@pytest.mark.parametrize(("effort", "n"), [("none", 1), ("minimal", 1), ("low", 4), ("medium", 16)])
def test_reasoning_effort_is_a_number_of_samples(served: Served, effort: str, n: int) -> None:
    reply = served.chat(reasoning_effort=effort, seed=1, search={"strategy": "majority"})
    assert reply["search"]["n"] == n
    assert reply["search"]["n_voters"] == n


def test_requests_without_seed_differ_and_name_the_seed_that_gives_them_again(served: Served) -> None:
    hard = "Start with 3: knead 4 7, fold 5, mix 9, knead 2 8."
    search = {"strategy": "majority", "n": 1}
    replies = [served.chat(hard, search=search) for _ in range(3)]
    seeds = {reply["search"]["seed"] for reply in replies}
    assert len(seeds) == 3
    assert len({reply["choices"][0]["message"]["content"] for reply in replies}) > 1
    again = served.chat(hard, search=search, seed=replies[0]["search"]["seed"])
    assert again["choices"] == replies[0]["choices"]


def test_a_budget_ends_a_search(served: Served) -> None:
    search = {"strategy": "majority", "n": 64, "window": 1, "budget_tokens": 60}
    found = served.chat(seed=1, search=search)["search"]
    assert found["stopped"] == "budget_tokens"
    assert 0 < found["n_voters"] < 64


def test_nothing_found_is_no_empty_answer(served: Served) -> None:
    reply = served.chat(seed=1, max_tokens=3)
    [choice] = reply["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] is None
    assert choice["message"]["refusal"].startswith("No answer was found: none of 4 texts was finished")
    assert reply["search"]["answer"] is reply["search"]["confidence"] is None
    assert reply["usage"]["completion_tokens"] == 12
    [choice] = served.ask("/v1/completions", prompt=QUESTION, max_tokens=3)["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("", "length")


def test_several_turns_are_read_by_policy_and_scorer(served: Served) -> None:
    """The same last turn behind another first attempt is another prompt: more tokens, other scores."""
    turns = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "3 plus 4=8\nAnswer: 8"},
        {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
    ]
    chat = served.ask("/v1/chat/completions", messages=turns, seed=1, search={"return_steps": True})
    alone = served.chat(seed=1, search={"return_steps": True})
    assert chat["usage"]["prompt_tokens"] > 2 * alone["usage"]["prompt_tokens"]
    assert chat["search"]["steps"] != alone["search"]["steps"]
    system = served.post("/v1/chat/completions", {"messages": [{"role": "system", "content": "x"}, turns[0]]})
    assert system.status_code == 400
    assert "unknown role: system" in system.json()["error"]["message"]


@pytest.mark.parametrize(("effort", "method", "n"), [("minimal", "majority", 2), ("high", "weighted", 4)])
def test_reasoning_effort_is_a_budget_of_the_allocation_where_there_is_one(
    tmp_path: Path, effort: str, method: str, n: int
) -> None:
    """Its smallest budget, of 10 tokens, stands for a plain answer: 64 of them are beyond the one of 50."""
    path = tmp_path / "allocation.json"
    ALLOCATION.write(path)
    policy, scorer = ScriptedPolicy(write), ScriptedScorer(lambda steps: 0.2)
    answerer = Answerer(Models(policy, scorer, load_grader("exact", "a question"), fits=Fits(ALLOCATION)))
    body = ChatBody(messages=[MessageBody(role="user", content="?")], reasoning_effort=effort)
    settings = settings_for(SolveSettings(allocation=path), body, None, 64, ALLOCATION)

    async def found() -> Answer:
        return (await (await answerer.ask(body.asked, settings, 1)).answer()).answer

    answer = asyncio.run(found())
    assert (answer.answer, answer.strategy, answer.n) == ("7", method, n)
    assert answer.difficulty is not None
    one = asyncio.run(answerer.ask(body.asked, replace(settings, n=1), 1))
    assert not has_one_path(one)  # its strategies draw more, so no text is sent while it is written
    other = body.model_copy(update={"search": SearchBody(strategy="majority"), "reasoning_effort": "low"})
    chosen = settings_for(SolveSettings(allocation=path), other, None, 64, ALLOCATION)
    assert (chosen.allocation, chosen.strategy, chosen.n) == (None, "majority", 4)
