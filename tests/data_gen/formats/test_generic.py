from typing import Any

import pytest

from data_gen.formats.generic import GenericFields, read_row
from data_gen.formats.stepwise import RowError, StepwiseRow

STEPS = ["A", "B", "C"]


def labels_of(labels: Any, **names: Any) -> tuple[bool | float | None, ...]:
    ((row,), _) = read_row(
        {"question": "Why?", "steps": STEPS, "labels": labels}, "x", GenericFields(**names)
    )
    return row.labels


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        ([True, False, None], {}, (True, False, None)),
        ([1, 0, 1], {}, (True, False, True)),
        (["+", "- ", "+"], {}, (True, False, True)),
        ([0.5, 1.0, None], {}, (0.5, 1.0, None)),
        ([1, -1, 0], {"labels_are": "ratings"}, (True, False, True)),
        ([1, 0.25, 0], {"labels_are": "values"}, (1.0, 0.25, 0.0)),
        (1, {"labels_are": "first_error"}, (True, False, None)),
        (-1, {"labels_are": "first_error"}, (True, True, True)),
        (1, {"labels_are": "first_error", "counted_from": 1}, (False, None, None)),
        ("3", {"labels_are": "first_error", "counted_from": 1}, (True, True, False)),
        (3.0, {"labels_are": "first_error", "counted_from": 1}, (True, True, False)),
        (-1.0, {"labels_are": "first_error"}, (True, True, True)),
        (0, {"labels_are": "first_error", "counted_from": 1, "no_error": 0}, (True, True, True)),
        (None, {"labels_are": "first_error", "no_error": None}, (True, True, True)),
        ("N/A", {"labels_are": "first_error", "no_error": "N/A"}, (True, True, True)),
        # As the command line gives it
        (-1, {"labels_are": "first_error", "no_error": "-1"}, (True, True, True)),
        ([2, 3], {"labels_are": "wrong_steps", "counted_from": 1}, (True, False, False)),
        ([0], {"labels_are": "wrong_steps"}, (False, True, True)),
        ([], {"labels_are": "wrong_steps"}, (True, True, True)),
    ],
)
def test_labels_are_read_as_they_are_meant(
    labels: Any, names: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    assert labels_of(labels, **names) == expected


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([1, -1, 1], {}, "a label that is none: got -1, expected one of .*ratings"),
        ([1, 0, -100], {"labels_are": "ratings"}, "got -100"),
        (["good", "+", "+"], {}, "got 'good'"),
        ([True, 0.5, True], {}, "both true or false and numbers"),
        ([1.5, 0.0, 0.0], {}, "label of step 0: got 1.5"),
        ([1, 2, 0], {"labels_are": "values"}, "label of step 1: got 2.0"),
        ([True, False], {}, "2 labels for 3 steps"),
        (1, {}, "field 'labels' is no list: got 1; one number is read with labels_are first_error"),
        (
            3,
            {"labels_are": "first_error"},
            "the number of no step: got 3 for 3 steps, expected 0 to 2, or no_error, which is -1",
        ),
        (0, {"labels_are": "first_error", "counted_from": 1}, "got 0 for 3 steps, expected 1 to 3"),
        (None, {"labels_are": "first_error"}, "got None for 3 steps"),
        (True, {"labels_are": "first_error"}, "got True for 3 steps"),
        (0.5, {"labels_are": "first_error"}, "got 0.5 for 3 steps"),
        ([0], {"labels_are": "wrong_steps", "counted_from": 1}, "got 0 for 3 steps, expected 1 to 3$"),
        (None, {"labels_are": "wrong_steps"}, "is no list: got None"),
    ],
)
def test_labels_that_mean_something_else_are_refused(
    labels: Any, names: dict[str, Any], message: str
) -> None:
    with pytest.raises(RowError, match=f"^x: .*{message}"):
        labels_of(labels, **names)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"Body": "Q", "Question": "R", "steps": ["A", "B"]}, {"question": "Body+Question"}),
        (
            {"q": [{"role": "user", "content": "Q R"}], "s": "A\n\nB\n\n"},
            {"question": "q", "steps": "s", "step_separator": "\n\n"},
        ),
        # Older rows of openr
        ({"q": "Q R", "s": "Q R\n\nA\n\n B "}, {"question": "q", "steps": "s", "step_separator": "\n\n"}),
        ({"q": "Q R", "s": "A ки\nB ки"}, {"question": "q", "steps": "s", "step_separator": "ки"}),
        ({"q": "Q R", "s": ["Q R", "A", "B"]}, {"question": "q", "steps": "s"}),
    ],
)
def test_question_and_steps_stand_where_the_names_say_and_the_rest_is_kept(
    fields: dict[str, Any], names: dict[str, Any]
) -> None:
    ((row,), left_out) = read_row({**fields, "labels": [1, 0], "source": "web"}, "x", GenericFields(**names))
    assert row == StepwiseRow("Q R", ("A", "B"), (True, False), {"source": "web"})
    assert not left_out


@pytest.mark.parametrize(
    ("fields", "names", "message"),
    [
        (
            {"question": "Q", "labels": [1]},
            {},
            "a field that is not there or no text: no field 'steps'; fields present: 'question', 'labels'",
        ),
        (
            {"question": ["Q"], "steps": ["A"], "labels": [1]},
            {},
            "a field that is not there or no text: field 'question': got list",
        ),
        (
            {"question": "Q", "steps": "A", "labels": [1]},
            {},
            "field 'steps' is no list of str: got 'A'; one text needs a step_separator",
        ),
        (
            {"question": "Q", "steps": ["A"], "labels": [1]},
            {"step_separator": "\n"},
            "field 'steps' is no text",
        ),
        ({"question": "Q", "steps": ["A", " "], "labels": [1, 1]}, {}, "step 1 is blank"),
    ],
)
def test_a_row_without_its_fields_is_refused(
    fields: dict[str, Any], names: dict[str, Any], message: str
) -> None:
    with pytest.raises(RowError, match=f"^x: {message}"):
        read_row(fields, "x", GenericFields(**names))
