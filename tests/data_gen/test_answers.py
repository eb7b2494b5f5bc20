import pytest

from data_gen.answers import answer_key, find_answer

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
        ("", None),
    ],
)
def test_find_answer(text: str, answer: str | None) -> None:
    assert find_answer(text) == answer


@pytest.mark.parametrize(("text", "answer"), [("A: 12", None), ("A: 12\nmore", "12"), (r"so \boxed{12}", "12"), (r"so \boxed{12", None)])
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
