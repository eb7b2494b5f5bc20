"""Against verifiers' own classes, where verifiers is installed."""

import asyncio

import pytest

from data_gen.settings.errors import InputError
from prm_train.rewards import StepCredit
from tests.tiny_models import byte_level_tokenizer
from tests.written_scores import WrittenScores

vf = pytest.importorskip("verifiers.v1", reason="verifiers is not installed")
from verifiers.v1.types import AssistantMessage, UserMessage  # noqa: E402

from prm_train.rewards.adapters.verifiers import ScorerJudge, assign_step_credit  # noqa: E402

QUESTION = "Start with 3: plus 4."
SCORES = {"3 plus 4=7": 0.9, "Answer: 7": 0.6, "3 plus 4=8": 0.2, "Answer: 8": 0.4}
SCAFFOLD = [5, 6]  # of the template, before what the policy sampled


def trace(text, reward):
    tokenizer = byte_level_tokenizer()
    ids = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
    asked = vf.MessageNode(message=UserMessage(content=QUESTION), token_ids=[7, 8], mask=[False] * 2)
    said = vf.MessageNode(
        parent=0,
        message=AssistantMessage(content=text),
        sampled=True,
        token_ids=[*SCAFFOLD, *ids],
        mask=[False] * 2 + [True] * len(ids),
        logprobs=[-1.0] * len(ids),
    )
    made = vf.Trace(
        task=vf.TraceTask(type="Task", data=vf.TaskData(prompt=QUESTION)),
        agent=vf.AgentInfo(config=vf.AgentConfig()),
        nodes=[asked, said],
        ok=True,
        rewards={"correct": None if reward is None else vf.Reward(score=reward)},
    )
    return made, len(ids)


def test_credit_is_written_to_the_tokens_that_the_policy_sampled():
    made = [
        trace("3 plus 4=7\nAnswer: 7", 1.0),
        trace("3 plus 4=8\nAnswer: 8", 0.0),
        trace("3 plus 4=7", None),
    ]
    traces = [each for each, _ in made]
    step_credit = StepCredit(WrittenScores(SCORES), "min", temperature=0.0)
    asyncio.run(assign_step_credit(step_credit, byte_level_tokenizer(), traces))
    advantages = [each.nodes[1].advantages for each in traces]
    assert advantages[0] == pytest.approx([1 + 0.2 + 0.3] * made[0][1])
    assert advantages[1][0] == pytest.approx(-1 - 0.6 - 0.2)
    assert advantages[1][-1] == pytest.approx(-1 - 0.2)
    assert advantages[2] is None  # as never scored
    spread = traces[0].branches[0].advantages  # as prime-rl reads them
    assert spread[:4] == [0] * 4
    assert spread[4:] == advantages[0]


def test_a_trace_of_several_turns_is_refused():
    made, _ = trace("3 plus 4=7", 1.0)
    made.nodes.append(made.nodes[1].model_copy(update={"parent": 1}))
    with pytest.raises(InputError, match="got 2 turns of the policy in one, expected 1"):
        asyncio.run(assign_step_credit(StepCredit(WrittenScores({}), "min"), byte_level_tokenizer(), [made]))


def test_a_judge_gives_the_score_of_the_reply_and_raises_without_one():
    class Judge(ScorerJudge):
        scorer = WrittenScores(SCORES)

    made, _ = trace("3 plus 4=7\nAnswer: 7", 1.0)
    assert asyncio.run(Judge().score(made.task.data, made)) == 0.6
    with pytest.raises(ValueError, match="no score: PathTooLong"):
        asyncio.run(Judge().score(made.task.data, trace("3 plus 4=7\n!", 1.0)[0]))
