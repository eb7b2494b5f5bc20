import json
from pathlib import Path

import pytest

from data_gen.models.tokenizer import load_tokenizer, train_tokenizer
from data_gen.records.chats import Message, without_oldest
from data_gen.rows.layouts import AnyRow, OrmHistoryRow, OrmPair, OrmRow, write_rows
from data_gen.settings.errors import InputError
from prm_train.encoding.paths import ScorerEncoding, prepare_encoding
from prm_train.examples.examples import Example
from prm_train.examples.outcome import (
    Pair,
    outcome_examples,
    pairs_of_rows,
    pairs_within_questions,
    read_outcome_rows,
)

USER = Message("user", "Start with 3")


@pytest.fixture
def encoding(tiny_policy: Path) -> ScorerEncoding:
    return prepare_encoding(load_tokenizer(str(tiny_policy)), "\n")


def example(question: str, token: int, is_right: bool) -> Example:
    return Example(question, (1, 2, token), (2,), (float(is_right),), (1.0,))


def history(*attempts: str) -> tuple[Message, ...]:
    return (USER, *(message for attempt in attempts for message in (Message("assistant", attempt), USER)))


def test_a_file_holds_the_kind_of_rows_that_its_first_row_is(tmp_path):
    rows: dict[str, AnyRow] = {
        "orm": OrmRow("p", "q", "a\nb", True),
        "pairs": OrmPair("p", "q", "a", "b"),
        "history": OrmHistoryRow("p", history("a"), (Message("assistant", "b"),), True, 1, (0, 1)),
    }
    for name, row in rows.items():
        write_rows(tmp_path / name, [row])
        assert read_outcome_rows(tmp_path / name) == [row]
    (tmp_path / "mixed").write_text(
        json.dumps({"prompt": "q", "chosen": "a", "rejected": "b"}) + '\n{"prompt": "q", "completion": "a"}\n'
    )
    with pytest.raises(InputError, match=r"mixed:2: no OrmPair: no field chosen"):
        read_outcome_rows(tmp_path / "mixed")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"prompt": [{"role": "user", "content": "q"}], "completion": "a", "label": True},
            r"no OrmRow: prompt: got \[.*valid string",
        ),
        (
            {"chosen": [{"role": "user", "content": "q"}], "rejected": []},
            "no OrmPair: no field prompt; fields present: chosen, rejected",
        ),
        (
            {"prompt": 3, "completion": "a", "label": True},
            "no OrmRow: prompt: got 3, input should be a valid string",
        ),
        ({"question": "q", "completion": "a", "label": True}, "no OrmRow: no field prompt"),
        ({"prompt": ["q"], "chosen": "a", "rejected": "b"}, r"no OrmPair: prompt: got \['q'\]"),
    ],
)
def test_a_prompt_that_is_no_text_is_named_and_not_the_id_that_it_would_make(fields, said, tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps(fields) + "\n")
    with pytest.raises(InputError, match=said):
        read_outcome_rows(tmp_path / "rows.jsonl")


def test_equal_rows_are_one_and_counted(encoding):
    rows = [OrmRow("p", "Start with 3", f"3 plus 4 = {digit}", digit == 7) for digit in (7, 8, 7, 7, 8)]
    rows.append(OrmRow("p", "Start with 3", "3 plus 4 = 8", True))  # another label is another row
    found = outcome_examples(rows, encoding, 100)
    assert [example.targets for example in found.examples] == [(1.0,), (0.0,), (1.0,)]
    assert found.left_out == {"rows equal to an earlier one": 3}


def test_pairs_are_of_one_question_and_use_every_solution_once_before_any_twice():
    right, wrong = (
        [example("q", 10, True), example("q", 11, True)],
        [example("q", token, False) for token in (20, 21, 22)],
    )
    others = [example("only right", 10, True), example("only wrong", 20, False)]
    pairs = pairs_within_questions([*right, *wrong, *others], max_per_question=3, seed=0)
    assert len(pairs) == 3
    assert {pair.rejected for pair in pairs} == set(wrong)
    assert {pair.chosen for pair in pairs} == set(right)
    everything = pairs_within_questions([*right, *wrong, *others], max_per_question=None, seed=0)
    assert set(everything) == {Pair(one, other) for one in right for other in wrong}
    assert len(everything) == 6


def test_pairs_are_the_same_in_every_run_and_others_with_another_seed():
    solutions = [example("q", 10 + i, i % 2 == 0) for i in range(12)]
    assert pairs_within_questions(solutions, 4, seed=1) == pairs_within_questions(solutions, 4, seed=1)
    assert pairs_within_questions(solutions, 4, seed=1) != pairs_within_questions(solutions, 4, seed=2)


def test_solutions_that_make_no_pair_are_refused():
    with pytest.raises(
        InputError, match="2 solutions of 2 questions: no question has a right and a wrong one"
    ):
        pairs_within_questions([example("a", 10, True), example("b", 10, False)], None, 0)


def test_a_pair_is_two_examples_and_a_solution_of_several_pairs_is_one(encoding):
    rows = [
        OrmPair("p", "Start with 3", "3 plus 4 = 7", "3 plus 4 = 8"),
        OrmPair("p", "Start with 3", "3 plus 4 = 7", "3 plus 4 = 9"),
    ]
    found = outcome_examples(rows, encoding, 100)
    examples = found.examples
    assert not found.left_out
    assert [encoding.tokenizer.decode(each.input_ids[-3:]) for each in examples] == [
        f"{digit}\n<|step|>" for digit in (7, 8, 9)
    ]
    assert [each.targets for each in examples] == [(1.0,), (0.0,), (0.0,)]
    assert pairs_of_rows(rows, examples, encoding) == [
        Pair(examples[0], examples[1]),
        Pair(examples[0], examples[2]),
    ]
    assert pairs_of_rows(rows, examples[:2], encoding) == [
        Pair(examples[0], examples[1])
    ]  # the other one was left out, or is for validation
    with pytest.raises(InputError, match="2 pairs: none has both of its sides among 1 solutions"):
        pairs_of_rows(rows, examples[:1], encoding)


def test_earlier_attempts_stand_before_the_attempt_that_is_scored(encoding):
    row = OrmHistoryRow(
        "p", history("3 plus 4 = 8"), (Message("assistant", "3 plus 4 = 7\nAnswer: 7"),), True, 1, (0, 1)
    )
    (found,) = outcome_examples([row], encoding, 200).examples
    assert encoding.tokenizer.decode(found.input_ids) == (
        "<|user|>Start with 3<|end|><|assistant|>3 plus 4 = 8<|end|><|user|>Start with 3<|end|><|assistant|>"
        "3 plus 4 = 7\n<|step|>Answer: 7\n<|step|>"
    )
    assert (found.question, found.positions, found.targets) == (
        "Start with 3",
        (len(found.input_ids) - 1,),
        (1.0,),
    )


def test_without_a_chat_template_every_turn_is_a_line():
    tokenizer = train_tokenizer(["one two"], 300, 64)
    tokenizer.chat_template = None
    assert (
        tokenizer.decode(prepare_encoding(tokenizer, "\n").encode_chat(history("one")))
        == "Start with 3\none\nStart with 3\n"
    )


def test_a_row_that_is_too_long_loses_its_oldest_attempts_and_never_the_last_one(encoding):
    row = OrmHistoryRow(
        "p", history("first", "second", "third"), (Message("assistant", "Answer: 7"),), False, 3, (0, 1, 2, 3)
    )
    whole = outcome_examples([row], encoding, 500).examples[0].input_ids
    found = outcome_examples([row], encoding, len(whole) - 1)
    assert found.left_out == {"earlier attempts beyond max_length": 1}
    text = encoding.tokenizer.decode(found.examples[0].input_ids)
    assert "first" not in text
    assert text.startswith("<|user|>Start with 3<|end|><|assistant|>second<|end|>")
    assert text.endswith("<|assistant|>Answer: 7\n<|step|>")
    alone = len(encoding.encode("Start with 3", ["Answer: 7"])[0])
    assert outcome_examples([row], encoding, alone).left_out == {"earlier attempts beyond max_length": 3}
    with pytest.raises(InputError, match=r"1 rows longer than max_length; max_length"):
        outcome_examples([row], encoding, alone - 1)


def test_the_oldest_attempt_goes_with_the_turn_that_follows_it():
    assert without_oldest(history("a", "b")) == history("b")
    assert without_oldest(history("a")) == (USER,)
    assert without_oldest((USER,)) == (USER,)
    assert without_oldest((Message("system", "s"), *history("a"))) == (Message("system", "s"), USER)
