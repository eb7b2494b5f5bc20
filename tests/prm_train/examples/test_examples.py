from pathlib import Path

import pytest

from data_gen.models.tokenizer import load_tokenizer
from data_gen.rows.layouts import OrmRow, PrmRow, read_row_of
from data_gen.settings.errors import InputError
from prm_train.encoding.paths import ScorerEncoding, prepare_encoding
from prm_train.examples.examples import Example, orm_examples, prm_examples, split_by_question
from prm_train.examples.targets import LabelAlgebra, step_targets

HARD, SOFT = LabelAlgebra(), LabelAlgebra(label_kind="soft")
STEPS = ("3 plus 4 = 7", "7 times 2 = 15, keep 5", "Answer: 7 5")


@pytest.fixture
def encoding(tiny_policy: Path) -> ScorerEncoding:
    return prepare_encoding(load_tokenizer(str(tiny_policy)), "\n")


def row(labels=(True, False, None), n_correct=(3, 0, 0), n_rollouts=(8, 8, 0), stopping="fixed") -> PrmRow:
    return PrmRow(
        "p0",
        "Start with 3",
        STEPS,
        labels,
        n_correct,
        n_rollouts,
        (0, 0, 0),
        (stopping,) * 3,
        ("rollouts", "rollouts", "none"),
    )


def test_a_prm_example_ends_with_its_last_labeled_step(encoding):
    (example,) = prm_examples([row()], encoding, HARD, max_length=100).examples
    ids, ends = encoding.encode("Start with 3", STEPS[:2])
    assert example == Example("Start with 3", ids, ends, (1.0, 0.0), (1.0, 1.0), (0, 1))


def test_soft_targets_are_shares_of_right_rollouts_and_unprobed_steps_are_masked():
    assert step_targets(row(), SOFT) == [(0.375, 1.0), (0.0, 1.0), None]
    assert step_targets(row(), HARD) == [(1.0, 1.0), (0.0, 1.0), None]


def test_soft_targets_from_rollouts_that_stopped_early_are_refused():
    with pytest.raises(
        InputError,
        match=r"problem p0, step 0: a soft value needs a fixed number .* got stopping 'first_success'",
    ):
        step_targets(row(stopping="first_success"), SOFT)


def test_a_step_in_the_middle_without_a_label_gets_no_position(encoding):
    (example,) = prm_examples([row(labels=(True, None, False))], encoding, HARD, max_length=100).examples
    ids, ends = encoding.encode("Start with 3", STEPS)
    assert example == Example("Start with 3", ids, (ends[0], ends[2]), (1.0, 0.0), (1.0, 1.0), (0, 2))


def test_a_long_prm_row_loses_its_last_steps_and_they_are_counted(encoding):
    ids, ends = encoding.encode("Start with 3", STEPS)
    all_labeled = row(labels=(True, True, False))
    found = prm_examples([all_labeled, all_labeled], encoding, HARD, max_length=len(ids) - 1)
    assert found.examples[0] == Example(
        "Start with 3", ids[: ends[1] + 1], ends[:2], (1.0, 1.0), (1.0, 1.0), (0, 1)
    )
    assert found.left_out == {
        "labeled steps beyond max_length": 2,
        "steps beyond max_length": 2,
        "rows cut at max_length": 2,
    }


def test_rows_that_lose_every_label_are_counted_by_reason(encoding):
    unlabeled, late = row(labels=(None, None, None)), row(labels=(None, None, True))
    _, ends = encoding.encode("Start with 3", STEPS)
    found = prm_examples([row(), unlabeled, late], encoding, HARD, max_length=ends[1] + 1)
    assert len(found.examples) == 1
    assert found.left_out == {
        "rows without a label": 1,
        "rows with every label beyond max_length": 1,
        "labeled steps beyond max_length": 1,
        "steps beyond max_length": 3,
    }


def test_a_step_with_the_separator_inside_has_its_label_behind_the_last_of_its_parts_and_a_blank_one_none(
    encoding, caplog
):
    steps = ("3 plus 4\nis 7", " \n", "Answer: 7\n")
    none = (0, 0, 0)
    whole = PrmRow(
        "p0", "Start with 3", steps, (True, False, False), none, none, none, ("fixed",) * 3, ("none",) * 3
    )
    found = prm_examples([whole], encoding, HARD, max_length=100)
    ids, ends = encoding.encode("Start with 3", ["3 plus 4", "is 7", "Answer: 7"])
    assert found.examples == (Example("Start with 3", ids, ends[1:], (1.0, 0.0), (1.0, 1.0), (0, 2)),)
    assert found.left_out == {"blank steps": 1}
    assert (
        "1 of 3 steps hold the separator '\\n' and are encoded as several, as search cuts them" in caplog.text
    )


def test_an_example_keeps_what_validation_compares_with(encoding):
    fixed = row(labels=(True, False, None), n_correct=(3, 0, 0), n_rollouts=(8, 8, 0))
    (example,) = prm_examples([fixed], encoding, HARD, max_length=100).examples
    assert (example.n_correct, example.n_rollouts, example.first_error) == ((3, 0), (8, 8), 1)
    stopped = row(
        labels=(True, True, True), n_correct=(1, 1, 1), n_rollouts=(3, 1, 1), stopping="first_success"
    )
    (example,) = prm_examples([stopped], encoding, HARD, max_length=100).examples
    assert (example.n_correct, example.n_rollouts, example.first_error) == ((0, 0, 0), (0, 0, 0), -1)
    above_half = LabelAlgebra(label_kind="hard", hard_threshold=0.5)
    (example,) = prm_examples([fixed], encoding, above_half, max_length=100).examples
    assert (example.targets, example.first_error) == ((0.0, 0.0), 0)


def test_a_first_error_that_was_cut_off_is_not_known(encoding):
    _, ends = encoding.encode("Start with 3", STEPS)
    rows = [row(labels=(True, True, False)), row(labels=(True, True, True)), row(labels=(False, True, None))]
    found = prm_examples(rows, encoding, HARD, max_length=ends[1] + 1).examples
    assert [example.first_error for example in found] == [None, None, 0]


def test_no_label_left_is_an_error_that_says_why(encoding):
    with pytest.raises(
        InputError, match=r"1 PRM rows: no label is left to train on \(2 labeled steps beyond max_length"
    ):
        prm_examples([row()], encoding, HARD, max_length=3)
    with pytest.raises(InputError, match="there are no rows"):
        orm_examples([], encoding, max_length=100)
    given = read_row_of(PrmRow, {"prompt": "q", "completions": ["a", "b"], "labels": [0.75, None]}, "x")
    with pytest.raises(
        InputError, match=r"no label is left .*1 rows whose labels are values, which label_kind soft"
    ):
        prm_examples([given], encoding, HARD, max_length=100)
    (example,) = prm_examples([given], encoding, LabelAlgebra(label_kind="soft"), max_length=100).examples
    assert example.targets == (0.75,)


def test_an_orm_example_is_the_whole_solution_scored_at_its_end(encoding):
    (example,) = orm_examples(
        [OrmRow("p0", "Start with 3", "\n".join(STEPS), True)], encoding, max_length=100
    ).examples
    ids, ends = encoding.encode("Start with 3", STEPS)
    assert example == Example("Start with 3", ids, (ends[2],), (1.0,), (1.0,), (2,))


def test_solutions_too_long_for_an_orm_are_left_out_and_counted(encoding):
    long, short = (
        OrmRow("p0", "Start with 3", "\n".join(STEPS), True),
        OrmRow("p0", "Start with 3", "Answer: 7", False),
    )
    found = orm_examples([long, short, OrmRow("p0", "Start with 3", " \n", False)], encoding, max_length=25)
    assert [example.targets for example in found.examples] == [(0.0,)]
    assert found.left_out == {"rows longer than max_length": 1, "rows without a step": 1}


def test_all_examples_of_a_question_are_on_one_side():
    examples = [Example(f"question {i % 500}", (i,), (0,), (1.0,), (1.0,)) for i in range(1000)]
    training, validation = split_by_question(examples, 0.2)
    assert len(training) + len(validation) == 1000
    assert not {example.question for example in training} & {example.question for example in validation}
    assert 150 < len(validation) < 250
    assert split_by_question(examples[:10], 0.2)[1] == [
        example for example in validation if example in examples[:10]
    ]
    assert split_by_question(examples, 0.0) == (examples, [])
