"""Prime Intellect's verifiers, whose traces prime-rl trains on; by its documented protocol.

`ScorerJudge`, plugged by config or called from a task, gives a scorer's score of the last reply, and raises
where there is none: verifiers then records no reward instead of 0. `assign_step_credit` writes the credit of
a group of traces into `MessageNode.advantages`, which prime-rl's trainer reads token by token: call it in the
hook of your prime-rl algorithm that gets the finished group (its name differs between versions). A trace that
is excluded keeps None there, as one that was never scored.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import verifiers.v1 as vf

from data_gen.records.steps import split_steps
from data_gen.settings.errors import InputError
from prm_train.rewards.completion_scores import gather_scores, whole_score
from prm_train.rewards.credit import StepCredit
from prm_train.rewards.step_spans import per_token
from prm_train.scoring.protocol import Scorer


class ScorerJudge(vf.Judge[float]):
    """Subclass it with your scorer and the separator of the policy's steps."""

    scorer: ClassVar[Scorer]
    separator: ClassVar[str] = "\n"

    async def score(self, task: Any, trace: Any) -> float:
        steps = split_steps(trace.last_reply, self.separator)
        batch = await gather_scores(self.scorer, [task.prompt_text], [steps])
        if (score := whole_score(self.scorer, batch.completions[0])) is None:
            raise ValueError(f"no score: {batch.completions[0].failure}")
        return score


async def assign_step_credit(step_credit: StepCredit, tokenizer: Any, traces: Sequence[Any]) -> None:
    """`traces` are of one task and have one sampled message each; a reward that is None is unknown."""
    turns = [[node for node in trace.nodes if node.sampled] for trace in traces]
    if any(len(own) != 1 for own in turns):
        raise InputError(f"traces: got {max(map(len, turns))} turns of the policy in one, expected 1 in each")
    nodes = [own[0] for own in turns]
    ids = [[token for token, own in zip(node.token_ids, node.mask, strict=True) if own] for node in nodes]
    scored = await step_credit.gather(tokenizer, [trace.task.data.prompt_text for trace in traces], ids)
    outcomes = [None if t.has_error or None in t.rewards.values() else t.reward for t in traces]
    credit = step_credit.credit(outcomes, scored.scores, [0] * len(nodes))
    for node, own, steps, reason in zip(nodes, credit.advantages, scored.steps, credit.excluded, strict=True):
        node.advantages = None if reason else per_token(own, steps).tolist()
