import asyncio
import logging
from collections.abc import Iterator

import pytest

from data_gen.judging.judge import Answer, ChatJudge, JudgeSettings, judge_prompt, read_answer
from data_gen.settings.errors import InputError
from tests.chat_server import FAULTS, ChatServer, serve

STEPS = ("3 * 4 = 12", "2 + 12 = 15")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve(lambda prompt: "Paragraph 0 is right; 2 + 12 = 14. \\boxed{1}") as running:
        yield running


def ask(server: ChatServer, **settings: object) -> Answer:
    async def one() -> Answer:
        chosen = {
            "base_url": server.base_url,
            "model": "judge",
            "pause_seconds": 0.01,
            "timeout_seconds": 1.0,
            **settings,
        }
        async with ChatJudge(JudgeSettings(**chosen)) as judge:  # type: ignore[arg-type]
            return await judge.judge("What is 2 + 3 * 4?", STEPS)

    return asyncio.run(one())


def test_the_prompt_numbers_the_paragraphs_and_asks_for_a_boxed_number() -> None:
    prompt = judge_prompt("What is 2 + 3 * {4}?", STEPS)
    assert "[Problem]\nWhat is 2 + 3 * {4}?\n" in prompt
    assert "<paragraph_0>\n3 * 4 = 12\n</paragraph_0>\n\n<paragraph_1>\n2 + 12 = 15\n</paragraph_1>" in prompt
    assert prompt.endswith("for example \\boxed{2} or \\boxed{-1}.")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("\\boxed{1}", (1, "")),
        ("All is well. \\boxed{ -1 }", (-1, "")),
        ("Not \\boxed{0} but \\boxed{1}", (1, "")),
        ("<think>\\boxed{0}</think>\n\\boxed{1}", (1, "")),
        ("Paragraph 1 is wrong.", (None, "no_box")),
        ("", (None, "no_box")),
        ("\\boxed{1", (None, "no_box")),
        ("\\boxed{paragraph 1}", (None, "box_holds_no_number")),
        ("\\boxed{1.0}", (None, "box_holds_no_number")),
        ("\\boxed{١}", (None, "box_holds_no_number")),
        ("\\boxed{2}", (None, "no_such_step")),
        ("\\boxed{-2}", (None, "no_such_step")),
        ("\\boxed{" + "9" * 5000 + "}", (None, "box_holds_no_number")),
    ],
)
def test_an_answer_names_a_step_or_is_unknown(text: str, found: tuple[int | None, str]) -> None:
    assert read_answer(text, n_steps=2) == found


def test_a_request_says_what_is_wanted_and_its_answer_is_kept(server: ChatServer) -> None:
    assert ask(server, max_tokens=99) == Answer(1, "", "Paragraph 0 is right; 2 + 12 = 14. \\boxed{1}")
    (body,) = server.bodies
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("judge", 0.0, 99)
    assert body["messages"] == [{"role": "user", "content": judge_prompt("What is 2 + 3 * 4?", STEPS)}]
    assert server.authorizations == [None]


@pytest.mark.hostile
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_server_is_asked_again_and_is_no_judgement(server: ChatServer, fault: str) -> None:
    server.faults.append(fault)
    assert ask(server).first_error == 1
    assert len(server.bodies) == 2


def test_the_pause_that_the_server_asks_for_may_be_a_date(
    server: ChatServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.retry_after = "Mon, 01 Jan 2001 00:00:00 GMT"  # over
    server.faults.append("429")
    assert ask(server, pause_seconds=0.3).first_error == 1
    assert "again in 0.0 s" in caplog.text


@pytest.mark.hostile
def test_a_server_that_keeps_failing_ends_the_run_with_what_it_said_last(server: ChatServer) -> None:
    server.faults.extend(["reset", "html", "503"])
    with pytest.raises(InputError, match=r"judge at http://127.*: failed 3 times, the last time: status 503"):
        ask(server, attempts=3)
    assert len(server.bodies) == 3


@pytest.mark.hostile
@pytest.mark.parametrize("status", ["401", "403", "404", "302"])
def test_a_wrong_key_model_or_address_ends_the_run_at_once(server: ChatServer, status: str) -> None:
    server.faults.append(status)
    with pytest.raises(InputError, match=rf"status {status}: .* \(check base_url, model and api_key_env\)"):
        ask(server)
    assert len(server.bodies) == 1


@pytest.mark.hostile
def test_a_refused_solution_is_unknown_for_now(server: ChatServer) -> None:
    server.faults.append("400")
    assert ask(server) == Answer(None, "refused_400", "", is_final=False)


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"message": {"content": "So far \\boxed{1}"}, "finish_reason": "length"}, "truncated"),
        ({"message": {"content": None}, "finish_reason": "content_filter"}, "finish_reason_content_filter"),
        ({"message": {"content": None}, "finish_reason": "stop"}, "no_box"),
    ],
)
def test_an_answer_that_is_cut_or_empty_is_unknown(
    server: ChatServer, choice: dict[str, object], reason: str
) -> None:
    server.answer = lambda prompt: choice
    assert ask(server)[:2] == (None, reason)


def test_a_stored_answer_counts_for_the_same_request_only() -> None:
    def asked(question: str = "Why?", steps: tuple[str, ...] = STEPS, **settings: object) -> str:
        chosen = {"base_url": "http://a/v1", "model": "m", **settings}
        return ChatJudge(JudgeSettings(**chosen)).asked(question, steps)  # type: ignore[arg-type]

    # Elsewhere, but the same question to the same model
    assert asked() == asked(base_url="http://b/v1", at_once=3)
    assert (
        len(
            {
                asked(),
                asked("How?"),
                asked(steps=("a",)),
                asked(model="n"),
                asked(temperature=0.5),
                asked(max_tokens=9),
            }
        )
        == 6
    )


def test_the_key_is_sent_and_never_shown(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-secret")
    caplog.set_level(logging.DEBUG)
    server.faults.append("500")
    assert ask(server, api_key_env="JUDGE_KEY").first_error == 1
    assert server.authorizations == ["Bearer sk-secret"] * 2
    server.faults.append("401")
    with pytest.raises(InputError, match=r"status 401 for Bearer \*\*\*") as caught:
        ask(server, api_key_env="JUDGE_KEY")
    server.faults.append("400")
    ask(server, api_key_env="JUDGE_KEY")
    assert "sk-secret" not in str(caught.value) + caplog.text
    assert "Bearer ***" in caplog.text


def test_a_key_that_is_not_there_is_named(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(InputError, match="the environment variable JUDGE_KEY is not set"):
        ask(server, api_key_env="JUDGE_KEY")


@pytest.mark.parametrize(
    "base_url",
    [
        "localhost:8000",
        "ftp://host/v1",
        "http://",
        "http://user:sk-secret@host/v1",
        "http://host/v1?key=sk-secret",
    ],
)
def test_an_address_is_plain_http(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url: ") as caught:
        JudgeSettings(base_url=base_url, model="m")
    assert "sk-secret" not in str(caught.value)
