"""NeMo-Gym's `/verify`, asked of `prm-train serve`; by its documented protocol (it needs Python 3.13). In
`verify` of a resources server of yours: `return MyResponse(**await verifier.verify(body.model_dump()))`. The
reply is the body with `reward`, `step_rewards` (as NeMo-Gym issue 1298 proposes) and `mask_sample`, true if
the reward is unknown and must not be trained on. `credited` is the reply by a form and an outcome of yours.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_gen.policies.servers.pool_of_loop import PoolOfLoop
from data_gen.policies.servers.replicas import fixed
from data_gen.policies.servers.replies import WrongReplyError
from data_gen.policies.servers.requests import RequestSettings
from prm_train.rewards.completion_scores import CompletionScores
from prm_train.rewards.group_credit import CreditRules, Outcome, rewards_of_one


class Verified(BaseModel):
    model_config = ConfigDict(extra="allow")
    reward: float | None = Field(ge=0, le=1)
    step_rewards: list[float | None]
    mask_sample: bool
    failure_reason: str | None = None


def read(body: bytes) -> Verified:
    try:
        return Verified.model_validate_json(body)
    except ValidationError as error:
        raise WrongReplyError(f"/verify: {error.errors()[0]['msg']}") from None


class StepVerifier:
    def __init__(self, *urls: str, settings: RequestSettings | None = None) -> None:
        self._pool = PoolOfLoop(fixed(urls), settings or RequestSettings())

    async def verify(self, body: dict[str, Any]) -> dict[str, Any]:
        """Raises ServerError where no server gave a sound reply: a fault is no reward of 0."""
        return (await (await self._pool.get()).post("/verify", body, 4096, None, 0, read)).model_dump()


def credited(reply: dict[str, Any], rules: CreditRules, outcome: Outcome) -> dict[str, Any]:
    scores = tuple(each for each in reply["step_rewards"] if each is not None)
    failure = reply["failure_reason"] if len(scores) < len(reply["step_rewards"]) else None
    rewards = rewards_of_one(rules, outcome, CompletionScores(scores, failure))
    if rewards is None:
        return reply | {"reward": None, "step_rewards": [], "mask_sample": True}
    return reply | {"reward": float(rewards.sum()), "step_rewards": rewards.tolist(), "mask_sample": False}
