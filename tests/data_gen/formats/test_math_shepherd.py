import json
from collections import Counter
from pathlib import Path

import pytest

from data_gen.files.jsonl import read_jsonl
from data_gen.formats.math_shepherd import read_row, write_row
from data_gen.formats.stepwise import RowError, StepwiseRow


def tagged(text: str, signs: str) -> dict[str, str]:
    """A row from a text with @ where the tags stand."""
    label = text
    for sign in signs:
        label = label.replace("@", sign, 1)
    return {"input": text.replace("@", "ки"), "label": label, "task": "GSM8K"}


ROW = tagged("What is 2 + 3 * 4? Step 1: 3 * 4 = 12 @\nStep 2: 2 + 12 = 15. The answer is: 15 @", "+-")


def test_a_row_is_split_at_its_tags_and_signs_are_not_mistaken_for_additions() -> None:
    ((row,), left_out) = read_row(ROW, "x")
    assert row == StepwiseRow(
        "What is 2 + 3 * 4?",
        ("Step 1: 3 * 4 = 12", "Step 2: 2 + 12 = 15. The answer is: 15"),
        (True, False),
        {"task": "GSM8K"},
    )
    assert not left_out
    assert json.dumps(write_row(row, "x")) == json.dumps(ROW)


def test_the_published_rows_come_back_byte_for_byte(real_data: Path) -> None:
    rows = [fields for _, fields in read_jsonl(real_data / "formats/samples_math-shepherd.jsonl")]
    assert len(rows) == 7
    for fields in rows:
        ((row,), _) = read_row(fields, "x")
        assert json.dumps(write_row(row, "x")) == json.dumps(fields)


@pytest.mark.parametrize(
    ("text", "question", "first_step"),
    [
        ("How many? step 1: Two. @", "How many?", "step 1: Two."),
        ("How many? Two. @", "How many?", "Two."),
        ("Is it so? Why? Step 1: It is. @", "Is it so? Why?", "Step 1: It is."),
        ("Find x. Step 1 : x = 2 @", "Find x.", "Step 1 : x = 2"),
    ],
)
def test_the_first_step_is_found_behind_the_question(text: str, question: str, first_step: str) -> None:
    ((row,), _) = read_row(tagged(text, "+"), "x")
    assert (row.prompt, row.completions, row.labels) == (question, (first_step,), (True,))


def test_a_tag_in_the_question_labels_no_step_and_is_counted() -> None:
    ((row,), left_out) = read_row(tagged("Find the mean. @\nStep 1: It is 4. @\nStep 2: Done. @", "-+-"), "x")
    assert (row.prompt, row.completions, row.labels) == (
        "Find the mean.",
        ("Step 1: It is 4.", "Step 2: Done."),
        (True, False),
    )
    assert left_out == Counter({"tag in the question": 1})
    ((row,), left_out) = read_row(tagged("Mr. Rocky @ has 2. How many? Step 1: Two. @", "++"), "x")
    assert (row.prompt, row.completions) == ("Mr. Rocky  has 2. How many?", ("Step 1: Two.",))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            tagged("How many? Step 1: Two. @\nStep 2: Done.", "+"),
            "a step without a tag: 'Step 2: Done.' after the last ки",
        ),
        (tagged("How many? Step 1: Two.", ""), "no tag ки in input"),
        (tagged("How many? Step 1: Two. @\nStep 2: Done. @", "+"), "a tag without a sign: got '@'"),
        # distilabel's generator leaves a label "" where a completion came back empty, and its formatter then
        # cuts off a real character
        (
            {"input": "Why? Step 1: A. ки\nStep 2: B. ки", "label": "Why? Step 1: A. \nStep 2: B. +"},
            r"a tag without a sign: got '\\n'",
        ),
        ({"input": "Why? Step 1: A. ки", "label": "Why? Step 1: A. "}, "a tag without a sign: got the end"),
        (
            {"input": "Why? Step 1: A. ки", "label": "Why? Step 1: B. +"},
            "input and label differ: 'Why. Step 1: A.' against",
        ),
        (
            {"input": "Why? Step 1: A. ки", "label": "Why? Step 1: A. +\nStep 2: B. +"},
            "label goes on with 'Step 2: B. .'",
        ),
        (
            tagged("Step 1: what? Step 1: That. @", "+"),
            "two places where the first step may begin: 'Step 1:' comes 2 times",
        ),
        (tagged("Who? What? That. @", "+"), "no 'Step 1:' and more than one question mark"),
        (tagged("Find x. x = 2 @", "+"), "no first step"),
        (tagged("Why? Step 1: A. @\n @", "++"), "step 1 is blank"),
    ],
)
def test_a_row_with_broken_tags_is_refused(fields: dict[str, str], message: str) -> None:
    with pytest.raises(RowError, match=rf"^x:4: .*{message}"):
        read_row(fields, "x:4")


def test_steps_without_a_name_get_one_since_the_question_has_no_other_end() -> None:
    written = write_row(StepwiseRow("Find x.", ("x = 2", "2"), (True, False)), "x")
    assert written["label"] == "Find x. Step 1: x = 2 +\nStep 2: 2 -"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (StepwiseRow("Why?", ("A", "B"), (True, None)), "a step whose label is not true or false"),
        (StepwiseRow("Why?", ("A",), (0.5,)), "a step whose label is not true or false"),
        (StepwiseRow("Why?", ("Aки",), (True,)), "the text holds the tag"),
    ],
)
def test_what_the_format_cannot_say_is_refused(row: StepwiseRow, message: str) -> None:
    with pytest.raises(RowError, match=message):
        write_row(row, "x")
