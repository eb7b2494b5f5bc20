"""Answers as OpenAI's API words them: whole, or as a stream of chunks.

`choices` holds the text of the best path; beside it stands what a plain model does not know, under `search`:
the answer, its share of the vote, those of the others, what was drawn. Nothing found is no empty answer: the
content is null, the finish_reason `length`, and `refusal` and `search.unsolved` say why.
"""

import json
import time
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import uuid4

from prm_train.search.answer import Answer
from prm_train.search.results import Cost
from prm_train.serving.answering import Found


@dataclass(frozen=True)
class Wording:
    """How replies are worded: of a chat, or of a plain completion, by the name `model`. `fingerprint` names
    the weights of policy and scorer.
    """

    is_chat: bool
    model: str
    fingerprint: str
    return_steps: bool
    # Of the reply, which the chunks of a stream share
    number: str = field(default_factory=lambda: uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, found: Found) -> dict[str, Any]:
        body = self._head("chat.completion" if self.is_chat else "text_completion")
        return body | {
            "choices": [self._choice(found.answer)],
            "usage": usage_of(found),
            "search": self.search_of(found),
        }

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"{'chatcmpl' if self.is_chat else 'cmpl'}-{self.number}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }

    def _choice(self, answer: Answer) -> dict[str, Any]:
        said = {"index": 0, "finish_reason": finish_reason(answer), "logprobs": None}
        if not self.is_chat:
            return said | {"text": answer.text}
        return said | {"message": {"role": "assistant", **_content(answer)}}

    def search_of(self, found: Found) -> dict[str, Any]:
        answer = found.answer
        said: dict[str, Any] = {
            "answer": answer.answer,
            "confidence": answer.confidence if answer.answer is not None else None,
            "shares": dict(answer.shares),
            "strategy": answer.strategy,
            "n": answer.n,
            "n_voters": answer.n_voters,
            "stopped": answer.stopped,
            "unsolved": answer.unsolved,
            "seed": found.seed,
        }
        if answer.difficulty is not None:
            said["difficulty"] = {"pass_at_1": answer.difficulty.pass_at_1, "bin": answer.difficulty.bin}
        if answer.route is not None:
            said["route"] = asdict(answer.route)
        if self.return_steps:
            said["steps"] = steps_of(answer)
        return said

    def text_chunk(self, text: str) -> dict[str, Any]:
        """A piece of the answer's text."""
        return self._chunk({"content": text} if self.is_chat else text, None)

    def progress_chunk(self, progress: dict[str, Any]) -> dict[str, Any]:
        """An event of the search, beside an empty piece of text for clients that know of none."""
        return self._chunk({} if self.is_chat else "", None) | {"progress": progress}

    def chunks(self, found: Found, sent: str, *, include_usage: bool) -> list[dict[str, Any]]:
        """What ends a stream: the text behind what was `sent` of it, the end, and the usage (in a chunk of
        its own where the client asked for that, else in the last one).
        """
        answer, usage = found.answer, usage_of(found)
        assert answer.answer is None or answer.text.startswith(sent), "sent what is not the answer's text"
        said = _content(answer)
        if answer.answer is None:
            del said["content"]  # what was sent stays
        else:
            said["content"] = answer.text[len(sent) :]
        last = self._chunk({} if self.is_chat else "", finish_reason(answer))
        last |= {"search": self.search_of(found)} | ({} if include_usage else {"usage": usage})
        found_chunks = [self._chunk(said if self.is_chat else said.get("content", ""), None), last]
        if include_usage:
            found_chunks.append(self._chunk(None, None) | {"choices": [], "usage": usage})
        return found_chunks

    def first_chunk(self) -> list[dict[str, Any]]:
        return [self._chunk({"role": "assistant", "content": ""}, None)] if self.is_chat else []

    def _chunk(self, delta: dict[str, Any] | str | None, reason: str | None) -> dict[str, Any]:
        key = "delta" if self.is_chat else "text"
        choice = {"index": 0, key: delta, "finish_reason": reason, "logprobs": None}
        kind = "chat.completion.chunk" if self.is_chat else "text_completion"
        return self._head(kind) | {"choices": [choice]}


def finish_reason(answer: Answer) -> str:
    """`length` where the search ended, at its limits, without an answer."""
    return "stop" if answer.answer is not None else "length"


def _content(answer: Answer) -> dict[str, Any]:
    if answer.answer is not None:
        return {"content": answer.text, "refusal": None}
    return {"content": None, "refusal": f"No answer was found: {answer.unsolved}"}


def steps_of(answer: Answer) -> list[dict[str, Any]]:
    """With their scores; of an ORM the last one alone has one, without scorer none."""
    n_without = len(answer.steps) - len(answer.scores)
    scores: list[float | None] = [*[None] * n_without, *answer.scores]
    return [{"text": text, "score": score} for text, score in zip(answer.steps, scores, strict=True)]


def usage_of(found: Found) -> dict[str, Any]:
    """`completion_tokens` are those of all paths; those beside the answer's own path are its
    `reasoning_tokens`. `search_details` count the rest: what the policy read and the scorer computed.

    All counts are those of the search, also where its draws were in the ledger (`ledger_tokens`), or all of
    it was done for an earlier request (`answer_cached`, which costs nothing). `cost` is in the currency of
    the server's prices, if it has any.
    """
    cost, n_prompt = found.answer.cost, found.n_prompt_tokens
    large = found.answer.large_cost or Cost()
    n_generated = cost.policy.n_generated + large.policy.n_generated
    money = {} if found.money is None else {"cost": found.money}
    return money | {
        "prompt_tokens": n_prompt,
        "completion_tokens": n_generated,
        "total_tokens": n_prompt + n_generated,
        "prompt_tokens_details": {"cached_tokens": min(cost.policy.n_cached, n_prompt)},
        "completion_tokens_details": {"reasoning_tokens": max(0, n_generated - found.answer.n_tokens)},
        "search_details": {
            "prefilled_tokens": cost.policy.n_prefilled + large.policy.n_prefilled,
            "cached_tokens": cost.policy.n_cached + large.policy.n_cached,
            "scorer_tokens": cost.scorer.n_new,
            "scorer_cached_tokens": cost.scorer.n_reused,
            "ledger_tokens": 0 if found.is_cached else max(0, n_generated - found.n_drawn),
            "answer_cached": found.is_cached,
        },
    }


def event(body: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n".encode()
