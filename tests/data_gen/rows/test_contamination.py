import json
from pathlib import Path

import pytest

from data_gen.records.solutions import Problem
from data_gen.rows.contamination import (
    ContaminationSettings,
    Match,
    TestSetMatches,
    TestSets,
    find_contamination,
    question_key,
    read_questions,
    words,
)
from data_gen.settings.errors import InputError


def problem(question: str, name: str = "p") -> Problem:
    return Problem(name, question, "1")


def test_words_ignore_case_blanks_punctuation_and_latex_layout() -> None:
    assert words("What is $\\dfrac{1}{2}\\, x^{2}$?") == ("what", "is", "\\frac", "1", "2", "x", "^", "2")
    question = "Let $f$ be a linear function for which $f(6)-f(2)=12$. What is $f(12)-f(2)?$"
    for copy in (
        "Let $f$ be a linear function for which $f(6) - f(2) = 12.$ What is $f(12) - f(2)?$",
        "let \\(f\\) be a linear function, for which\n\n\\[f\\left(6\\right) - f(2) = 12.\\] What is "
        "$\\displaystyle f(12)\\,-\\,f(2)$",
    ):
        assert question_key(copy) == question_key(question)
    assert question_key("What is 1.5 + 2?") != question_key("What is 15 + 2?")
    assert question_key("What is 12?") != question_key("What is 1 2?")
    assert question_key("What is $a+b$?") != question_key("What is $a-b$?")


def test_exact_copies_are_found_in_each_test_set_and_others_are_not() -> None:
    sets = TestSets(
        {
            "one": ["What is  $1+1$?", "Another."],
            "two": ["x", "WHAT IS $1 + 1$?"],
            "three": ["What is $1+2$?"],
        },
        n_gram=8,
    )
    found = sets.matches(problem("What is $1 + 1$ ?"), min_overlap=0.5)
    assert [(match.test_set, match.position, match.kind, match.overlap) for match in found] == [
        ("one", 0, "exact", 1.0),
        ("two", 1, "exact", 1.0),
    ]
    assert sets.matches(problem("What is 5?"), min_overlap=0.5) == []


def test_the_overlap_is_the_share_of_the_test_questions_n_grams() -> None:
    sets = TestSets({"test": ["a b c d e f", "z y x"]}, n_gram=3)  # a b c, b c d, c d e, d e f
    quoted = sets.matches(problem("Long ago there was a b c d e f and more"), min_overlap=0.5)
    assert [(match.kind, match.overlap) for match in quoted] == [("overlap", 1.0)]
    changed = sets.matches(problem("a b c d e G"), min_overlap=0.5)  # three of four
    assert [(match.kind, match.overlap) for match in changed] == [("overlap", 0.75)]
    assert sets.matches(problem("a b c d e G"), min_overlap=0.8) == []
    # Shorter than an n-gram: exactly or not at all
    assert sets.matches(problem("z y"), min_overlap=0.1) == []


def test_the_best_match_of_a_test_set_is_reported() -> None:
    sets = TestSets({"test": ["a b c d x y", "a b c d e x", "a b c d e f"]}, n_gram=2)
    assert [(match.position, match.overlap) for match in sets.matches(problem("a b c d e f g"), 0.5)] == [
        (2, 1.0)
    ]
    assert [(match.position, match.kind) for match in sets.matches(problem("a b c d e f"), 0.5)] == [
        (2, "exact")
    ]


def test_questions_come_from_jsonl_and_json_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"question": "q1", "problem": "other"}\n{"problem": "q2"}\n{"prompt": "q3"}\n'
    )
    (tmp_path / "b.json").write_text(json.dumps([{"problem": "q4", "steps": []}]))
    assert [*read_questions(tmp_path / "a.jsonl"), *read_questions(tmp_path / "b.json")] == [
        "q1",
        "q2",
        "q3",
        "q4",
    ]
    (tmp_path / "c.jsonl").write_text('{"problem": "q2"}\n{"text": "q"}\n')
    with pytest.raises(
        InputError, match=r"c\.jsonl:2: no text in field question, problem, prompt; fields present: text"
    ):
        list(read_questions(tmp_path / "c.jsonl"))
    with pytest.raises(InputError, match=r"missing\.json: no such file"):
        list(read_questions(tmp_path / "missing.json"))


def test_settings_name_each_test_set_once() -> None:
    assert ContaminationSettings(("a=x=y.jsonl",)).paths == {"a": Path("x=y.jsonl")}
    for entries, message in (
        (("math500",), "got 'math500', expected name=path"),
        (("=x",), "expected name=path"),
        (("a=x", "a=y"), "each name once"),
    ):
        with pytest.raises(ValueError, match=message):
            ContaminationSettings(entries)


def real_matches(
    train: Path, tests: dict[str, Path], n_gram: int = 8
) -> tuple[list[Match], dict[str, TestSetMatches]]:
    problems = [problem(question, str(number)) for number, question in enumerate(read_questions(train))]
    return find_contamination(
        problems, ContaminationSettings(tuple(f"{name}={path}" for name, path in tests.items()), n_gram)
    )


def test_math_train_and_test_share_problems(real_data: Path) -> None:
    matches, summary = real_matches(
        real_data / "math" / "train_answers.json", {"test": real_data / "math" / "test.jsonl"}
    )
    exact = {match.problem_id: match for match in matches if match.kind == "exact"}
    # one is the same text; the others differ in blanks, braces and a full stop inside the dollars
    assert sorted(exact) == ["5425", "6869", "6990", "6998"]
    assert exact["6998"].question.startswith("Let $f$ be a linear function for which $f(6)-f(2)=12$.")
    assert exact["6998"].test_question.startswith(
        "Let $f$ be a linear function for which $f(6) - f(2) = 12.$"
    )
    assert summary["test"].n_questions == 5000
    quoted = next(
        match for match in matches if match.test_question.startswith("Suppose that we win $\\$3$ if we flip")
    )
    # A training question that begins with one more sentence
    assert (quoted.kind, quoted.overlap) == ("overlap", 1.0)


def test_test_sets_that_hold_each_other(real_data: Path) -> None:
    tests = {
        "math500": real_data / "math" / "math500.jsonl",
        "processbench": real_data / "processbench" / "math.json",
    }
    _, summary = real_matches(real_data / "math" / "test.jsonl", tests)
    assert {name: counts.n_exact for name, counts in summary.items()} == {"math500": 500, "processbench": 956}
    _, summary = real_matches(
        real_data / "gsm8k" / "train.jsonl", {"test": real_data / "gsm8k" / "test.jsonl"}
    )
    assert summary["test"] == TestSetMatches(n_questions=1319, n_exact=0, n_overlap=0)
    matches, _ = real_matches(
        real_data / "math" / "train_answers.json", {"omnimath": real_data / "processbench" / "omnimath.json"}
    )
    # Training problems of MATH that ProcessBench took from elsewhere
    assert sum(match.kind == "exact" for match in matches) == 9
