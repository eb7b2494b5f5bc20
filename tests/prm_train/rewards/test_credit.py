import asyncio
from collections import defaultdict
from typing import Any, cast

import pytest
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from data_gen.settings.errors import InputError
from prm_train.encoding.aggregation import Aggregation
from prm_train.encoding.paths import prepare_encoding
from prm_train.rewards import OrmReward, StepCredit
from prm_train.rewards.completion_scores import CompletionScores, score_completions
from prm_train.scoring.incremental import IncrementalScorer
from prm_train.scoring.score import score
from tests.tiny_models import byte_level_tokenizer, tiny_config, tiny_model

QUESTION, OTHER = "Start with 3: plus 4.", "Start with 5: times 2."
STEPS = [("3 plus 4=7", "Answer: 7"), ("3 plus 4=7", "Answer: 8"), ("5 times 2=10",)]


def tiny_scorer(auto_class=AutoModelForTokenClassification, n_labels=2, **settings):
    tokenizer = byte_level_tokenizer()
    encoding = prepare_encoding(tokenizer, "\n", {tokenizer.eos_token_id})
    config = tiny_config("llama", len(tokenizer), num_labels=n_labels, pad_token_id=tokenizer.pad_token_id)
    return IncrementalScorer(tiny_model(auto_class, config), encoding, scorer_id="tiny", **settings)


@pytest.fixture(scope="module")
def prm():
    return tiny_scorer()


@pytest.fixture(scope="module")
def orm():
    return tiny_scorer(AutoModelForSequenceClassification, 1)


def test_a_batch_is_scored_as_one_by_one_with_each_distinct_token_once(prm):
    batch = score_completions(prm, [QUESTION, QUESTION, OTHER], STEPS)
    for question, steps, found in zip([QUESTION, QUESTION, OTHER], STEPS, batch.completions, strict=True):
        assert found.scores == pytest.approx(score(question, steps, prm), abs=1e-6)
    distinct = [prm.encode_head(QUESTION), prm.encode_head(OTHER)]
    distinct += [prm.encode_step(step) for step in ("3 plus 4=7", "Answer: 7", "Answer: 8", "5 times 2=10")]
    assert batch.usage.n_new == sum(map(len, distinct))


def test_what_cannot_be_scored_says_so_and_holds_up_no_other(prm, caplog):
    questions = [QUESTION, QUESTION, QUESTION, "word " * 300]
    batch = score_completions(prm, questions, [STEPS[0], (), ("3 plus 4=7", "again " * 200), STEPS[0]])
    whole, none, long, long_question = batch.completions
    assert whole.scores == pytest.approx(score(QUESTION, STEPS[0], prm), abs=1e-6)
    assert none == CompletionScores(failure="no step")
    assert long == long_question == CompletionScores(failure="PathTooLong")
    (record,) = caplog.records
    assert record.getMessage() == "no scores for 3 of 4 completions: PathTooLong 2, no step 1"


class FailingTree:
    usage, root = None, None

    def extend(self, parent, step):
        return step

    async def score(self, node):
        await asyncio.sleep(0)
        raise ZeroDivisionError


def test_a_fault_of_the_scorer_is_no_missing_score():
    class Broken:
        scorer_id, scores_steps = "broken", True
        aggregation: Aggregation = "min"

        def session(self, question: str) -> Any:
            class Session:
                async def __aenter__(self):
                    return FailingTree()

                async def __aexit__(self, *_):
                    return None

            return Session()

    with pytest.raises(ZeroDivisionError):
        score_completions(Broken(), [QUESTION], [STEPS[0]])


def test_the_reward_of_a_whole_completion_is_an_orms_score_or_a_prms_aggregated(prm, orm):
    prompts = [[{"role": "user", "content": QUESTION}]] * 2
    for scorer, whole in (
        (orm, score(QUESTION, STEPS[0], orm)[0]),
        (prm, min(score(QUESTION, STEPS[0], prm))),
    ):
        reward = OrmReward(scorer)
        assert reward(prompts, ["3 plus 4=7\nAnswer: 7\n", "\n"]) == [pytest.approx(whole, abs=1e-6), None]
        assert reward.work.unknown == {"no step": 1}
        assert reward.work.n_tokens > 0


def test_steps_are_found_scored_and_credited_and_the_monitors_are_told(prm):
    tokenizer = byte_level_tokenizer()
    texts = ["3 plus 4=7\nAnswer: 7\n", "3 plus 4=7\nAnswer: 8\n", "5 times 2=10", "\n"]
    ids = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in texts]
    logged = defaultdict(list)
    step_credit = StepCredit(prm, "min", temperature=0.0)
    found = step_credit.score(
        tokenizer, [QUESTION] * 2 + [OTHER] * 2, ids, lambda *each: logged[each[0]].append(each[1])
    )
    assert [each.texts for each in found.steps] == [*STEPS, ()]
    assert [each.failure for each in found.scores] == [None, None, None, "no step"]
    credit = step_credit.credit(
        [1.0, 0.0, 1.0, None], found.scores, "aabb", log=lambda *each: logged[each[0]].append(each[1])
    )
    worst = [2 * min(each.scores) - 1 for each in found.scores[:2]]
    assert credit.advantages[0][0] == pytest.approx(
        1 + worst[0] - credit_to_go_mean(found.scores[1], worst[1]), abs=1e-6
    )
    assert credit.excluded == (None, None, None, "no step")
    assert logged["step_credit/n_steps"] == [(2 + 2 + 1 + 0) / 4]
    assert logged["step_credit/unknown_share"] == logged["step_credit/excluded/no_step"] == [0.25]
    right = [min(found.scores[0].scores), min(found.scores[2].scores)]
    wrong = min(found.scores[1].scores)
    assert logged["step_credit/auroc"] == [sum((each > wrong) + 0.5 * (each == wrong) for each in right) / 2]
    assert step_credit.work.seconds == logged["step_credit/seconds"][0] > 0


def credit_to_go_mean(scored, worst):
    """Of temperature 0: the steps up to the worst one return its r, those behind it 0."""
    place = scored.scores.index(min(scored.scores))
    return worst * (place + 1) / len(scored.scores)


def test_step_credit_wants_a_prm_and_rules_that_can_be(orm):
    with pytest.raises(InputError, match="tiny: an ORM, expected a PRM"):
        StepCredit(orm, "min").score(byte_level_tokenizer(), [QUESTION], [[5]])
    with pytest.raises(InputError, match="grows with the number of steps"):
        StepCredit(orm, cast(Any, "sum"))
    with pytest.raises(ValueError, match="1 outcomes, 2 scored completions, 2 names of groups"):
        StepCredit(orm, "min").credit([1.0], [CompletionScores()] * 2, [0, 0])


def test_completions_of_a_group_need_not_follow_each_other(prm):
    outcomes, scores = [1.0, 0.0, 0.0, 1.0], [CompletionScores((each,)) for each in (0.9, 0.2, 0.6, 0.4)]
    step_credit = StepCredit(prm, "advantage")
    in_order = step_credit.credit(outcomes, scores, "aabb").advantages
    mixed = step_credit.credit(
        [outcomes[n] for n in (2, 0, 3, 1)], [scores[n] for n in (2, 0, 3, 1)], "baba"
    ).advantages
    assert [each.tolist() for each in mixed] == [in_order[n].tolist() for n in (2, 0, 3, 1)]
