from copy import deepcopy
from pathlib import Path

import pytest

from data_gen.models.prompt_ids import encode_chain
from data_gen.models.tokenizer import load_tokenizer
from data_gen.records.chats import ChainPrompts, Message, without_oldest
from data_gen.records.solutions import GradedSolution, Problem, Solution
from data_gen.records.verdicts import CORRECT, INCORRECT
from data_gen.rows.layouts import RevisionRow
from data_gen.rows.orm import history_rows, orm_rows
from data_gen.rows.revision import RevisionSettings, revision_rows
from data_gen.settings.errors import InputError
from prm_train.encoding.paths import prepare_encoding
from prm_train.examples.examples import split_by_question
from prm_train.examples.outcome import outcome_examples
from prm_train.examples.revision import encode_answer, revision_examples, sft_row
from prm_train.examples.unlabeled import UNLABELED

QUESTION, RIGHT = Message("user", "Start with 3: plus 4."), Message("assistant", "3 plus 4 = 7\nAnswer: 7")
WRONG = tuple(Message("assistant", f"3 plus 4 = {wrong}\nAnswer: {wrong}") for wrong in (6, 8, 9))
TOO_LONG = "earlier attempts beyond max_length"


@pytest.fixture
def tokenizer(tiny_policy: Path):
    return load_tokenizer(str(tiny_policy))


def row(n_attempts: int) -> RevisionRow:
    turns = [turn for wrong in WRONG[:n_attempts] for turn in (wrong, QUESTION)]
    return RevisionRow(
        "p0", (QUESTION, *turns), (RIGHT,), "revision" if n_attempts else "first_attempt", n_attempts, 2, (0,)
    )


def test_the_loss_is_on_the_last_attempt_and_its_end_alone(tokenizer):
    (example,) = revision_examples([row(2)], tokenizer, 256).examples
    labels = sft_row(example)["labels"]
    n_context = labels.count(int(UNLABELED))
    assert tokenizer.decode(example.input_ids[:n_context]) == (
        "<|user|>Start with 3: plus 4.<|end|><|assistant|>3 plus 4 = 6\nAnswer: 6<|end|>"
        "<|user|>Start with 3: plus 4.<|end|><|assistant|>3 plus 4 = 8\nAnswer: 8<|end|>"
        "<|user|>Start with 3: plus 4.<|end|><|assistant|>"
    )
    assert labels[n_context:] == list(example.input_ids[n_context:])
    assert tokenizer.decode(labels[n_context:]) == "3 plus 4 = 7\nAnswer: 7<|end|>"


def test_an_answer_that_spells_the_end_goes_on_behind_it_and_one_without_any_end_is_refused(tokenizer):
    spelled = RevisionRow(
        "p0", row(1).prompt, (Message("assistant", "7<|end|> so 7"),), "revision", 1, 2, (0,)
    )
    for chat_template in (tokenizer.chat_template, None):
        tokenizer.chat_template = chat_template
        labels = sft_row(revision_examples([spelled], tokenizer, 256).examples[0])["labels"]
        learnt = [label for label in labels if label != int(UNLABELED)]
        assert tokenizer.decode(learnt) == "7<|end|> so 7<|end|>"
        assert learnt.count(tokenizer.eos_token_id) == 1
    tokenizer.eos_token = None
    with pytest.raises(
        InputError, match="neither its tokenizer nor its config has an EOS; expected one, to end answers with"
    ):
        revision_examples([row(1)], tokenizer, 256)


def test_a_chain_that_is_too_long_loses_its_oldest_attempts_and_never_its_answer(tokenizer):
    lengths = [len(revision_examples([row(n)], tokenizer, 256).examples[0].input_ids) for n in range(4)]
    found = revision_examples([row(3)], tokenizer, lengths[2])
    assert found.left_out == {TOO_LONG: 1}
    kept = tokenizer.decode(found.examples[0].input_ids)
    assert "= 6" not in kept
    assert kept.index("= 8") < kept.index("= 9") < kept.index("= 7")
    bare = revision_examples([row(3)], tokenizer, lengths[0])
    assert bare.left_out == {TOO_LONG: 3}
    assert bare.examples[0].input_ids == revision_examples([row(0)], tokenizer, 256).examples[0].input_ids


def test_a_row_whose_answer_does_not_fit_is_counted_and_no_row_left_is_an_error(tokenizer):
    with pytest.raises(
        InputError,
        match=r"1 rows: no label .* 1 rows longer than max_length without any earlier attempt",
    ):
        revision_examples([row(1)], tokenizer, 12)


def test_the_oldest_attempt_goes_with_the_turn_that_answered_it():
    system = Message("system", "Be brief.")
    assert without_oldest(
        (system, QUESTION, WRONG[0], Message("user", "again"), WRONG[1], Message("user", "and again"))
    ) == (
        system,
        QUESTION,
        WRONG[1],
        Message("user", "and again"),
    )


def test_a_template_that_renders_a_chain_otherwise_before_an_answer_is_refused(tokenizer):
    thinking = deepcopy(tokenizer)  # strips what stands before an earlier turn of the assistant
    thinking.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}<|user|>{{ m.content }}<|end|>"
        "{% elif loop.last %}<|assistant|>{{ m.content }}<|end|>{% else %}<|assistant|>{{ m.content[:3] "
        "}}<|end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{{ 'Think: ' }}{% endif %}"
    )
    with pytest.raises(
        InputError, match=r"the chain is rendered otherwise before an answer, from token \d+ on"
    ):
        encode_answer(thinking, row(1).prompt, RIGHT.content)


def test_without_a_template_each_turn_ends_with_a_newline(tokenizer):
    plain = deepcopy(tokenizer)
    plain.chat_template = None
    assert plain.decode(encode_chain(plain, row(1).prompt)) == (
        "Start with 3: plus 4.\n3 plus 4 = 6\nAnswer: 6\nStart with 3: plus 4.\n"
    )
    assert encode_answer(plain, row(1).prompt, "7")[-1] == plain.eos_token_id


def test_trainings_hold_out_the_same_questions_whatever_the_first_turn_says_besides(tokenizer):
    prompts = ChainPrompts("{question} Answer in a box.", "Look again.")
    plain, histories, revisions = [], [], []
    for i in range(30):
        problem = Problem(f"p{i}", f"Start with {i}: plus 4.", "7")
        wrong = GradedSolution(Solution(problem.problem_id, 0, "Answer: 8"), "8", INCORRECT)
        right = GradedSolution(Solution(problem.problem_id, 1, "Answer: 7"), "7", CORRECT)
        plain += orm_rows(problem, [wrong, right])
        histories += history_rows(problem, [wrong, right], 1, prompts)
        revisions += revision_rows(problem, [wrong, right], RevisionSettings(floor=0.0), prompts, 0)[0]
    encoding = prepare_encoding(tokenizer, "\n")
    sets = (
        outcome_examples(plain, encoding, 256),
        outcome_examples(histories, encoding, 256),
        revision_examples(revisions, tokenizer, 256),
    )
    held_out = [{example.question for example in split_by_question(found.examples, 0.4)[1]} for found in sets]
    assert held_out[0] == held_out[1] == held_out[2]
    assert 5 < len(held_out[0]) < 25
    assert all(question.endswith("plus 4.") for question in held_out[0])
    assert "Answer in a box." in tokenizer.decode(sets[2].examples[0].input_ids)


def test_the_question_of_a_row_without_one_is_the_first_turn_of_the_user(tokenizer):
    chat = (Message("system", "Be brief."), *row(1).prompt)
    foreign = RevisionRow("p0", chat, (RIGHT,), "revision", 1, 2, (0,))
    assert foreign.question == QUESTION.content
    plain = deepcopy(tokenizer)
    plain.chat_template = None  # the one of this tokenizer refuses a system turn
    assert revision_examples([foreign], plain, 256).examples[0].question == QUESTION.content
