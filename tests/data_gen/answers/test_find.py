import time

import pytest

from data_gen.answers.equality import compare_exactly
from data_gen.answers.find import find_answer
from data_gen.answers.notation import read_number
from data_gen.answers.vote_key import answer_key
from data_gen.records.verdicts import CORRECT

# --- where an answer stands


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So \boxed{\frac{1}{2}} of it.", r"\frac{1}{2}"),
        (r"First \boxed{3}, then \boxed{4}.", "4"),
        (r"\boxed{1,\boxed{2}}", r"1,\boxed{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\fbox{7}", "7"),
        (r"so $\boxed 5$ it is", "5"),
        (r"\boxed{3} but then \boxed{4", None),
        (r"\boxed{}", None),
        ("<think>maybe \\boxed{1}</think>It is \\boxed{2}.", "2"),
        ("<think>maybe \\boxed{1}</think>I give up.", None),
        ("<think>maybe \\boxed{1}, or", None),
        ("48/2 = 24\n#### 72", "72"),
        ("She has 5 left\nA: 1,234", "1,234"),
        ("Answer: 9 1 8 5", "9 1 8 5"),
        ("**Answer:** 12", "12"),
        ("The answer is 3.5. I checked it.", "3.5"),
        ("The answer is: $\\frac{1}{2}$.", r"$\frac{1}{2}$"),
        ("Final Answer: The final answer is $17$. I hope it is correct.", "$17$"),
        ("A: 5\nNo, wait.\nA: 6", "6"),
        ("25", None),
        ("The answer is (A).", "(A)"),
        ("I find (A) tempting, and (B) too.", None),
        ("The answer is: $18", "$18"),
        ("The answer is:\n\n**42**\n", "42"),
        ("### Answer: 7", "7"),
        ("**Answer**: 7", "7"),
        ("The answer is 4. No, the answer is 5.", "5"),
        (r"So \boxed{12}. I hope this helps!", "12"),
        (r"\boxed{1} and \fbox{2}", "1, 2"),
        (r"\boxed{\text{a } \{b\}}", r"\text{a } \{b\}"),
        ("Line one\r\n#### 72\r\n", "72"),
        ("\x00#### 5", "5"),
        ("#### \ud800", "\ud800"),
        ("", None),
    ],
)
def test_find_answer(text: str, answer: str | None) -> None:
    assert find_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [("A: 12", None), ("A: 12\nmore", "12"), (r"so \boxed{12}", "12"), (r"so \boxed{12", None)],
)
def test_an_answer_at_the_edge_of_truncated_text_is_not_read(text: str, answer: str | None) -> None:
    assert find_answer(text, is_truncated=True) == answer


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("0.5", r"\frac12", True),
        ("1,000", "1000", True),
        (r"\text{(A)}", "A", True),
        ("Yes", "yes", True),
        (r"x + 1", "x+1", True),
        (r"\left(1, 2\right)", "(1,2)", True),
        ("9 1 8", "91 8", False),
        ("x", "X", False),
        ("(1,2)", "[1,2]", False),
    ],
)
def test_answer_keys_group_what_is_written_differently(one: str, other: str, is_same: bool) -> None:
    assert (answer_key(one) == answer_key(other)) is is_same


def test_long_texts_are_read_in_linear_time() -> None:
    started = time.monotonic()
    assert find_answer("Answer: " * 30_000 + "the answer is 5.") == "5"
    assert find_answer("A: 1\n" * 40_000) == "1"
    assert find_answer("\\boxed{" * 30_000) is None
    assert find_answer("\\boxed{1}" * 30_000) == "1"
    assert find_answer("\\boxed" + " " * 200_000) is None
    assert find_answer(" \t" * 100_000 + "none") is None
    assert find_answer("#" * 200_000 + "none") is None
    assert find_answer(r"\boxed{1}, " * 30_000) == "1"
    assert find_answer("Therefore, " * 30_000 + "it is 5.") is None
    assert find_answer("$" * 100_000 + "5") is None
    assert find_answer("**5" * 50_000) is None
    assert find_answer("Question: x\n" * 20_000) is None
    assert compare_exactly("5", "5 cm" + "^2" * 300) is not CORRECT
    assert find_answer("*" * 200_000) is None
    assert find_answer("{" * 200_000 + "<think>" * 10_000) is None
    assert read_number("5 " + "ab" * 400 + "!") is None  # the pattern of a unit does not backtrack for ever
    assert read_number("1" * 999 + "!") is None
    assert read_number("\\frac{" * 140) is None
    assert answer_key("5" * 100_000) == "5" * 100_000
    assert time.monotonic() - started < 5
