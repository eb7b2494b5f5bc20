"""The protocol, against `prm-train serve`: NeMo-Gym itself needs a newer Python."""

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from data_gen.policies.servers.requests import RequestSettings
from data_gen.policies.servers.server_errors import ServerError
from prm_train.kinds.load import load_scorer
from prm_train.rewards.adapters.nemo_gym import StepVerifier, credited
from prm_train.rewards.group_credit import CreditRules
from prm_train.scoring.score import score
from tests.app_in_thread import in_thread
from tests.prm_train.serving.conftest import QUESTION, STEPS, config_of, serving, write_scorer

BODY: dict[str, Any] = {
    "responses_create_params": {"input": "?"},
    "response": {"output": []},
    "expected": "7",
}
MIN = CreditRules("min", temperature=0)


def verified(reply: dict[str, Any], status: int = 200) -> dict[str, Any]:
    async def verify(request: Request) -> JSONResponse:
        return JSONResponse(await request.json() | reply, status)

    with in_thread(Starlette(routes=[Route("/verify", verify, methods=["POST"])])) as port:
        settings = RequestSettings(n_attempts=2, retry_seconds=0.01)
        return asyncio.run(StepVerifier(f"http://127.0.0.1:{port}", settings=settings).verify(BODY))


def test_prm_train_serve_is_asked_and_its_scores_come_back(tmp_path):
    prm = write_scorer("prm", tmp_path / "prm")
    said = [{"type": "output_text", "text": "\n".join(STEPS)}]
    body = {
        "responses_create_params": {"input": [{"role": "user", "content": QUESTION}]},
        "response": {"output": [{"type": "message", "content": said}]},
    }
    with serving(config_of(prm)) as server:
        reply = asyncio.run(StepVerifier(server.url).verify(body))
    assert reply["step_rewards"] == pytest.approx(score(QUESTION, STEPS, load_scorer(str(prm))), abs=1e-6)
    assert (reply["reward"], reply["mask_sample"]) == (min(reply["step_rewards"]), False)


def test_a_reply_is_the_body_with_rewards_and_a_form_makes_them_credit():
    reply = verified(
        {"reward": 0.6, "step_rewards": [0.9, 0.6], "mask_sample": False, "failure_reason": None}
    )
    assert reply == BODY | {
        "reward": 0.6,
        "step_rewards": [0.9, 0.6],
        "mask_sample": False,
        "failure_reason": None,
    }
    known = credited(reply, MIN, 1.0)
    assert (known["reward"], known["step_rewards"]) == (pytest.approx(1.2), pytest.approx([0, 1.2]))
    assert credited(reply, MIN, None)["mask_sample"] is True


def test_an_unknown_step_masks_the_sample():
    reply = verified(
        {"reward": None, "step_rewards": [0.9, None], "mask_sample": True, "failure_reason": "long"}
    )
    assert reply["mask_sample"] is True
    unknown = credited(reply, MIN, 1.0)
    assert (unknown["reward"], unknown["step_rewards"], unknown["mask_sample"]) == (None, [], True)


@pytest.mark.parametrize(
    ("reply", "status"),
    [({"reward": 7, "step_rewards": [0.9], "mask_sample": False}, 200), ({"reward": 0.5}, 200), ({}, 500)],
)
def test_what_is_no_reply_is_no_reward_of_0(reply, status):
    with pytest.raises(ServerError):
        verified(reply, status)


def test_a_wrong_address_is_told_at_once():
    with pytest.raises(ServerError, match=r"^http://127\.0\.0\.1:\d+/verify: HTTP 404"):
        verified({}, 404)
