"""A reply that is not exactly an answer to its request is refused."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from data_gen.policies.servers.replies import (
    CompletionRequest,
    NoTokenIdsError,
    OtherModelError,
    WrongReplyError,
    read_reply,
)
from data_gen.policies.servers.vllm_policy import NEVER, vllm_bias
from data_gen.policies.vocabulary import Vocabulary
from data_gen.records.sampling import Truncation, Usage
from data_gen.records.token_rules import TokenRules

# Tokens 0–255 are bytes, 256 is EOS, 257 is the text ".\n\n", 258 a special token without bytes.
VOCABULARY = Vocabulary(
    [*(bytes([i]) for i in range(256)), b"", b".\n\n", b""],
    frozenset({256}),
    lambda text: tuple(text.encode()),
    "v",
)
REQUEST = CompletionRequest("m", (65, 66), max_tokens=4, temperature=1.0, seed=0)
STEP = CompletionRequest("m", (65, 66), max_tokens=4, temperature=1.0, seed=0, stop="\n\n")


def reply(ids: list[int], text: str, finish_reason: str | None = "stop", **changes: Any) -> bytes:
    logprobs = {"token_logprobs": [-0.5] * len(ids)}
    choice = {
        "text": text,
        "finish_reason": finish_reason,
        "token_ids": ids,
        "prompt_token_ids": [65, 66],
        "logprobs": logprobs,
    }
    whole = {"choices": [choice | changes], "usage": {"prompt_tokens": 2, "completion_tokens": len(ids)}}
    return json.dumps(whole).encode()


def cached(n: int) -> bytes:
    whole = json.loads(reply([67, 68, 69, 70], "CDEF", "length"))
    whole["usage"]["prompt_tokens_details"] = {"cached_tokens": n}
    return json.dumps(whole).encode()


def test_a_sound_reply_is_read():
    draw = read_reply(
        reply([67, 68, 256], "CD", prompt_token_ids=[65, 66], stop_reason=None), REQUEST, VOCABULARY
    )
    assert (draw.token_ids, draw.logprobs, draw.finish, draw.is_eos) == (
        (67, 68, 256),
        (-0.5, -0.5, -0.5),
        "stop",
        True,
    )
    assert draw.usage == Usage(n_generated=3, n_prefilled=2, n_cached=0)
    draw = read_reply(cached(1), REQUEST, VOCABULARY)
    assert (draw.finish, draw.is_eos, draw.usage) == ("length", False, Usage(4, 1, 1))


def test_an_eos_that_only_the_server_knows_is_named_by_its_stop_reason():
    assert read_reply(reply([67, 258], "C", stop_reason=258), REQUEST, VOCABULARY).is_eos
    with pytest.raises(WrongReplyError, match="finish_reason stop after token 258, which is no EOS"):
        read_reply(reply([67, 258], "C"), REQUEST, VOCABULARY)


@pytest.mark.parametrize("text", ["C.", "C.\n\n"])
def test_a_text_may_end_before_or_with_the_stop_string(text: str):
    draw = read_reply(reply([67, 257], text, stop_reason="\n\n"), STEP, VOCABULARY)
    assert (draw.token_ids, draw.finish, draw.is_eos) == ((67, 257), "stop", False)
    assert read_reply(reply([67, 257, 68], text, stop_reason="\n\n"), STEP, VOCABULARY).token_ids == (
        67,
        257,
        68,
    )


@pytest.mark.hostile
def test_a_text_that_ends_elsewhere_is_refused():
    with pytest.raises(WrongReplyError, match="text 'C' beside ids"):
        read_reply(reply([67, 257], "C", stop_reason="\n\n"), STEP, VOCABULARY)


def test_an_eos_with_a_text_of_its_own_may_be_shown_or_not():
    vocabulary = Vocabulary(
        [*(bytes([i]) for i in range(256)), b"<end>"],
        frozenset({256}),
        lambda text: tuple(text.encode()),
        "v",
    )
    for text in ("C", "C<end>"):
        assert read_reply(reply([67, 256], text), REQUEST, vocabulary).is_eos
    with pytest.raises(WrongReplyError):
        read_reply(reply([67, 256], ""), REQUEST, vocabulary)


def test_half_a_character_is_no_difference():
    euro = list("€".encode())
    read_reply(reply([67, *euro[:2], 256], "C�"), REQUEST, VOCABULARY)
    read_reply(reply([67, *euro[:2], 256], "C"), REQUEST, VOCABULARY)
    continued = CompletionRequest("m", (65, euro[0]), max_tokens=4, temperature=1.0, seed=0)
    # VLLM shows the whole character
    read_reply(reply([*euro[1:], 67, 256], "€C", prompt_token_ids=[65, euro[0]]), continued, VOCABULARY)
    read_reply(reply([*euro[1:], 67, 256], "��C"), CompletionRequest("m", (65, 66), 4, 1.0, 0), VOCABULARY)


WRONG = {
    "half a body": (reply([67, 256], "C")[:-30], "that are no completion"),
    "not JSON": (b"<html>", "6 bytes that are no completion"),
    "not a completion": (b'{"error": "busy"}', "no completion: choices Field required"),
    "no choice": (
        json.dumps({"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 0}}).encode(),
        "0 choices, expected 1",
    ),
    "no usage": (
        json.dumps({"choices": json.loads(reply([256], ""))["choices"]}).encode(),
        "no completion: usage Field required",
    ),
    "no ids": (reply([67, 256], "C", token_ids=None), "no token ids"),
    "empty": (reply([], ""), "0 token ids, expected 1 to 4"),
    "too long": (reply([67] * 5, "CCCCC", "length"), "5 token ids, expected 1 to 4"),
    "unknown id": (reply([67, 300], "C"), "token id 300, expected ids below 259"),
    "negative id": (reply([-1, 256], ""), "token id -1"),
    "ids as text": (
        reply([67, 256], "C", token_ids=["67", "256"]),
        "no completion: choices.0.token_ids.0 Input should be a valid integer",
    ),
    "beyond EOS": (reply([256, 67], "C"), "go on after an EOS"),
    "another prompt": (reply([67, 256], "C", prompt_token_ids=[65, 67]), "the answer to another prompt"),
    "no prompt": (
        reply([67, 256], "C", prompt_token_ids=None),
        "no prompt_token_ids, which say what was continued",
    ),
    "more cached than sent": (cached(3), "3 cached tokens of a prompt of 2"),
    "fewer cached than none": (cached(-1), "-1 cached tokens of a prompt of 2"),
    "one wrong id": (reply([68, 256], "C"), "text 'C' beside ids of the text 'D'"),
    "text cut": (reply([67, 68, 256], "C"), "text 'C' beside ids of the text 'CD'"),
    "no logprobs": (reply([67, 256], "C", logprobs=None), "0 log-probabilities among 0 values, expected 2"),
    "a logprob short": (
        reply([67, 256], "C", logprobs={"token_logprobs": [-1.0]}),
        "1 log-probabilities among 1 values, expected 2",
    ),
    "a null logprob": (
        reply([67, 256], "C", logprobs={"token_logprobs": [None, -1.0]}),
        "1 log-probabilities among 2 values",
    ),
    "a logit": (
        reply([67, 256], "C", logprobs={"token_logprobs": [7.5, -1.0]}),
        "1 log-probabilities among 2 values",
    ),
    "beyond 4 bytes": (
        reply([67, 256], "C", logprobs={"token_logprobs": [-1e39, -1.0]}),
        "1 log-probabilities among 2 values",
    ),
    "NaN": (
        reply([67, 256], "C", logprobs={"token_logprobs": [float("nan"), -1.0]}),
        "1 log-probabilities among 2 values",
    ),
    "unknown finish": (reply([67, 256], "C", "abort"), "finish_reason 'abort', expected 'stop' or 'length'"),
    "no finish": (reply([67, 256], "C", None), "finish_reason None"),
    "length too early": (reply([67, 68], "CD", "length"), "finish_reason length after 2 tokens, expected 4"),
    "stop without reason": (
        reply([67, 68], "CD", stop_reason="D"),
        "finish_reason stop after token 68, which is no EOS",
    ),
    "usage of another": (
        reply([67, 256], "C").replace(b'"prompt_tokens": 2', b'"prompt_tokens": 9'),
        r"usage of 9 \+ 2 tokens, expected 2 \+ 2",
    ),
}


@pytest.mark.hostile
@pytest.mark.parametrize(("body", "message"), WRONG.values(), ids=WRONG)
def test_wrong_replies_are_refused_with_what_came(body: bytes, message: str):
    with pytest.raises(WrongReplyError, match=message):
        read_reply(body, REQUEST, VOCABULARY)


@pytest.mark.hostile
def test_a_reply_without_ids_is_its_own_error():
    with pytest.raises(NoTokenIdsError):
        read_reply(reply([67, 256], "C", token_ids=None), REQUEST, VOCABULARY)
    with pytest.raises(NoTokenIdsError):
        read_reply(reply([67, 256], "C", prompt_token_ids=None), REQUEST, VOCABULARY)


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("of_reply", "said"),
    [
        ({"policy_id": "b"}, "a draw that is by b, expected one by policy_id a"),
        ({}, "a draw that does not say which policy drew it, expected one by policy_id a"),
    ],
)
def test_a_draw_of_another_policy_is_refused_by_name(of_reply: dict[str, str], said: str):
    asked, sound = replace(REQUEST, policy_id="a"), json.loads(reply([67, 68, 256], "CD"))
    with pytest.raises(OtherModelError) as caught:
        read_reply(json.dumps(sound | of_reply).encode(), asked, VOCABULARY)
    assert str(caught.value) == said
    assert read_reply(json.dumps(sound | {"policy_id": "a"}).encode(), asked, VOCABULARY).finish == "stop"
    with pytest.raises(NoTokenIdsError):  # says more than the missing name
        read_reply(reply([67], "C", token_ids=None), asked, VOCABULARY)


def test_a_stop_that_is_not_in_the_ids_is_refused():
    with pytest.raises(WrongReplyError, match="finish_reason stop after token 68"):
        read_reply(reply([67, 68], "CD", stop_reason="\n\n"), STEP, VOCABULARY)


def test_requests_say_all_that_shapes_the_distribution():
    body = STEP.as_json()
    assert body == {
        "model": "m",
        "prompt": [65, 66],
        "max_tokens": 4,
        "temperature": 1.0,
        "seed": 0,
        "n": 1,
        "logprobs": 0,
        "return_token_ids": True,
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "stop": ["\n\n"],
        "include_stop_str_in_output": True,
    }
    assert REQUEST.as_json().keys().isdisjoint({"stop", "logit_bias", "allowed_token_ids"})


def test_what_restricts_a_draw_is_sent_and_each_of_the_strings_may_end_it():
    restricted = replace(STEP, stop_strings=("Q:", "C"), truncation=Truncation(0.9, 20, 0.05))
    body = restricted.as_json()
    assert [body[name] for name in ("top_p", "top_k", "min_p", "stop")] == [
        0.9,
        20,
        0.05,
        ["\n\n", "Q:", "C"],
    ]
    assert read_reply(reply([66, 67], "BC"), restricted, VOCABULARY).token_ids == (66, 67)
    assert read_reply(reply([66, 67], "B"), restricted, VOCABULARY).finish == "stop"
    with pytest.raises(WrongReplyError, match="finish_reason stop after token 68"):
        read_reply(reply([66, 68], "BD"), restricted, VOCABULARY)


def test_rules_about_ids_are_sent_as_openai_and_vllm_have_them_and_a_reply_that_breaks_them_is_refused():
    ruled = replace(STEP, rules=TokenRules(banned_ids=(68, 66), biases=((67, -2.5),)))
    assert ruled.as_json()["logit_bias"] == {"66": -100.0, "67": -2.5, "68": -100.0}
    assert "allowed_token_ids" not in ruled.as_json()
    with pytest.raises(WrongReplyError, match="token id 68, which the request forbids"):
        read_reply(reply([67, 68], "CD", "length"), replace(ruled, max_tokens=2), VOCABULARY)
    allowed = replace(STEP, max_tokens=2, rules=TokenRules(allowed_ids=(68, 67)))
    assert allowed.as_json()["allowed_token_ids"] == [67, 68]
    assert read_reply(reply([67, 68], "CD", "length"), allowed, VOCABULARY).token_ids == (67, 68)
    with pytest.raises(WrongReplyError, match="token id 66, which the request forbids"):
        read_reply(reply([67, 66], "CB", "length"), allowed, VOCABULARY)


def test_bans_for_vllm_in_process_outweigh_any_logit():
    assert vllm_bias(TokenRules(banned_ids=(3,), biases=((4, -2.5),))) == {3: NEVER, 4: -2.5}
    assert math.exp(NEVER + 100_000) == 0
    assert vllm_bias(TokenRules(allowed_ids=(3,))) is None
