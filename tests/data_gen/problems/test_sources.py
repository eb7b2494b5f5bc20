import asyncio
import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from data_gen.grading.accepted_answers import grade_any
from data_gen.grading.graders import MathGrader
from data_gen.problems.sources import (
    ProblemSource,
    load_problems,
    question_id,
    select_problems,
    write_problems,
)
from data_gen.records.solutions import Problem, Solution
from data_gen.records.verdicts import CORRECT, INCORRECT, Verdict
from data_gen.settings.errors import InputError


def source_of(folder: Path, *rows: object, **settings: object) -> ProblemSource:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ProblemSource(source=str(path), **settings)  # type: ignore[arg-type]


def answers(source: ProblemSource) -> list[str]:
    return [problem.gold_answer for problem in load_problems(source)]


def numbered(n: int) -> list[dict[str, str]]:
    return [{"problem": f"What is {i} + 0?", "answer": str(i)} for i in range(n)]


def test_each_layout_is_recognised(tmp_path: Path) -> None:
    gsm8k = {"question": "How many?", "answer": "She has 1000 + 234 = <<1000+234=1234>>1234.\n#### 1,234"}
    boxed = {"problem": "Evaluate.", "level": "Level 1", "solution": r"It is $\boxed{\frac{1}{\sqrt{2}}}$."}
    stored = {"problem": "Evaluate again.", "solution": r"It is \boxed{4.0}.", "answer": "4"}
    plain = {"problem": "And this?", "answer": 7}
    assert answers(source_of(tmp_path, gsm8k, boxed, stored, plain)) == [
        "1234",
        r"\frac{1}{\sqrt{2}}",
        "4",
        "7",
    ]


def test_named_fields_and_ids(tmp_path: Path) -> None:
    row = {"key": 12, "text": " What? ", "final": "x"}
    source = source_of(tmp_path, row, problem_field="text", answer_field="final", id_field="key")
    assert load_problems(source) == [Problem("12", "What?", "x")]


def test_an_id_is_a_hash_of_the_question_and_does_not_depend_on_the_place(tmp_path: Path) -> None:
    rows = numbered(3)
    first = load_problems(source_of(tmp_path, *rows))
    assert load_problems(source_of(tmp_path, *reversed(rows))) == first[::-1]
    assert len({problem.problem_id for problem in first}) == 3


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"question": "What?", "answer": "5"},
            r"rows.jsonl:2: no field 'problem'; fields present: 'question', 'answer'; problem_field",
        ),
        (
            {"problem": "What?", "solution": "It is 5."},
            r"rows.jsonl:2: no gold answer; expected field answer, or .*boxed",
        ),
        ({"problem": "", "answer": "5"}, r"rows.jsonl:2: the question is empty"),
        (
            {"problem": ["What?"], "answer": "5"},
            r"rows.jsonl:2: field 'problem': got list, expected text or a number",
        ),
        (
            {"problem": "What is 0 + 0?", "answer": "1"},
            r"rows.jsonl:2: the question of .*rows.jsonl:1 again, with other content.*duplicates: first",
        ),
        (
            {"problem": "Both?", "solution": r"First \boxed{3}. So \boxed{4}."},
            r"rows.jsonl:2: 2 boxes with words between.*several_boxes",
        ),
        (
            {"problem": "Both?", "answer": ["3", "4"]},
            r"rows.jsonl:2: field 'answer': got 2 answers: .*answers: all",
        ),
        (
            {"problem": "Sum?", "options": ["1", "2"], "answer": "3"},
            r"rows.jsonl:2: field 'answer': got '3', .* none of the 2 options",
        ),
        (
            {"problem": "Sum?", "options": ["1"], "answer": "A"},
            r"rows.jsonl:2: field 'options': got .*expected 2 to 26 options",
        ),
        (
            {"problem": "Sum?", "options": ["1", "2"], "answer": "B) 1"},
            r"rows.jsonl:2: field 'answer': got 'B\) 1', .* none of the 2 options",
        ),
        (
            {"problem": "Which?", "options": ["x", "x"], "answer": "x"},
            r"rows.jsonl:2: .* means A or B of the 2 options",
        ),
        (
            {"problem": "Which?", "choices": ["B", "A"], "answer": "A"},
            r"rows.jsonl:2: .* means A or B of the 2 options",
        ),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_problems(source_of(tmp_path, *numbered(1), row))


def test_gsm8k_rows_need_their_answer_mark(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a last line '#### n'"):
        load_problems(source_of(tmp_path, {"question": "What?", "answer": "5"}, format="gsm8k"))


def test_numbers_that_a_float_cannot_hold_stay_as_they_were_written(tmp_path: Path) -> None:
    written = [
        "123456789012345678901234567890.5",
        "1e-400",
        "3.14159265358979323846",
        "1e-9999999999999999999",
        "9007199254740993.0",
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(
            f'{{"problem": "{number}", "answer": {number}}}\n'
            for number in [*written, "0.1", "1.50", "51.0", "1e3"]
        )
    )
    assert answers(ProblemSource(source=str(path))) == [*written, "0.1", "1.5", "51", "1000"]


@pytest.mark.parametrize("name", [None, "", "  "])
def test_an_empty_id_is_refused(tmp_path: Path, name: str | None) -> None:
    row = {"key": name, "problem": "What?", "answer": "4"}
    with pytest.raises(
        InputError, match=r"rows\.jsonl:1: field 'key' is empty; expected the id of the problem"
    ):
        load_problems(source_of(tmp_path, row, id_field="key"))


def test_the_same_id_for_two_questions_is_refused(tmp_path: Path) -> None:
    rows = [{"id": "a", **row} for row in numbered(2)]
    with pytest.raises(InputError, match=r"rows.jsonl:2: the id of .*rows.jsonl:1 again"):
        load_problems(source_of(tmp_path, *rows, id_field="id"))


@pytest.mark.parametrize(
    ("fields", "row", "expected"),
    [
        (
            {"answer_field": "final"},
            {"problem": "p", "solution": r"Old: \boxed{3}", "final": "4"},
            ("p", "4"),
        ),
        (
            {"answer_field": "final"},
            {"problem": "p", "solution": "", "answer": "2", "final": r"So \boxed{4}."},
            ("p", "4"),
        ),
        ({"problem_field": "new"}, {"question": "old", "new": "q", "answer": "x\n#### 5"}, ("q", "5")),
        ({"answer_field": "new"}, {"question": "q", "answer": "x\n#### 5", "new": "7"}, ("q", "7")),
        (
            {"answer_field": "new"},
            {"problem": "p", "question": "q", "answer": "x\n#### 5", "new": "7"},
            ("q", "7"),
        ),
        (
            {"problem_field": "q", "answer_field": "r", "format": "gsm8k"},
            {"q": "Q", "r": "... #### 1,500\nThe answer is: 1500"},
            ("Q", "1500"),
        ),
        (
            {"problem_field": "q", "answer_field": "r", "format": "math"},
            {"q": "Q", "r": r"So \boxed{5}.", "solution": r"\boxed{6}"},
            ("Q", "5"),
        ),
        (
            {"format": "generic"},
            {"problem": "p", "answer": "#### assert f(1) == 2", "options": ["a", "b"]},
            ("p", "#### assert f(1) == 2"),
        ),
        (
            {"problem_field": "Body+Question", "answer_field": "Answer"},
            {"Body": "A is 1.", "Question": "A?", "Answer": 1.0},
            ("A is 1. A?", "1"),
        ),
        (
            {"problem_field": "prompt", "answer_field": "reward_model.ground_truth"},
            {
                "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "Q"}],
                "reward_model": {"ground_truth": "34"},
            },
            ("Q", "34"),
        ),
        ({"answer_field": "names.1"}, {"question": "q", "names": ["a", "b"]}, ("q", "b")),
        ({"answer_field": "a.b+c"}, {"problem": "p", "a.b+c": "d"}, ("p", "d")),
        ({"answer_field": "final_answer"}, {"question": "q", "final_answer": ["2"]}, ("q", "2")),
        ({"answer_field": "final_answer"}, {"question": "q", "final_answer": ["$2$", "2"]}, ("q", "$2$")),
        (
            {"answer_field": "final_answer", "answers": "all"},
            {"question": "q", "final_answer": ["2", "3", "2"]},
            ("q", "2, 3"),
        ),
    ],
)
def test_a_named_field_is_the_one_that_is_read(
    tmp_path: Path, fields: dict[str, str], row: object, expected: tuple[str, str]
) -> None:
    (problem,) = load_problems(source_of(tmp_path, row, **fields))
    assert (problem.question, problem.gold_answer) == expected


def test_a_named_field_that_is_not_there_is_refused_with_what_is(tmp_path: Path) -> None:
    row = {"problem": "p", "answer": "1", "info": {"style": "rule"}}
    with pytest.raises(
        InputError, match=r"rows.jsonl:1: no field 'info.gold'; found on the way to it: 'style'"
    ):
        load_problems(source_of(tmp_path, row, answer_field="info.gold"))
    with pytest.raises(InputError, match="a chat of system, expected one in which the user says"):
        load_problems(source_of(tmp_path, {"problem": [{"role": "system", "content": "s"}], "answer": "1"}))


@pytest.mark.parametrize(
    ("solution", "gold"),
    [
        (r"So $\boxed{k=45}$ and $\boxed{n=2}$.", "k=45, n=2"),
        (r"\[\boxed{1},\qquad\boxed{2}\text{ and }\boxed{3}\]", "1, 2, 3"),
        (r"It is $\boxed{10}$. - OR - Again $\boxed{10}$.", "10"),
        (r"It is $\boxed{\frac12}$, that is $\boxed{0.5}$", r"\frac12"),
        (r"So $x = \boxed{1}$ and $x = \boxed{2}$.", "1, 2"),
        (r"\fbox{\boxed{7}}", "7"),
    ],
)
def test_boxes_that_say_one_answer_are_one_gold_answer(tmp_path: Path, solution: str, gold: str) -> None:
    assert answers(source_of(tmp_path, {"problem": "p", "solution": solution})) == [gold]
    assert answers(source_of(tmp_path, {"problem": "p", "solution": solution, "answer": None})) == [gold]


def test_boxes_that_say_several_can_be_left_out_or_read_as_math_grades(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        {"problem": "p", "solution": r"First \boxed{3}. So \boxed{4}."},
        {"problem": "q", "solution": r"\boxed{5}"},
    ]
    assert answers(source_of(tmp_path, *rows, several_boxes="last")) == ["4", "5"]
    assert answers(source_of(tmp_path, *rows, several_boxes="leave_out")) == ["5"]
    assert "left out 1 rows: several boxes that are not one answer" in caplog.text


@pytest.mark.parametrize(
    ("row", "settings", "lines", "letter"),
    [
        ({"choices": ["3", "4", "5"], "answer": 1}, {}, "A) 3\nB) 4\nC) 5", "B"),  # MMLU counts from 0
        (
            {"choices": ["3", "4", "5"], "answer": 1},
            {"option_answers": "index_from_1"},
            "A) 3\nB) 4\nC) 5",
            "A",
        ),
        ({"choices": [3, 4, 5], "answer": 4}, {}, "A) 3\nB) 4\nC) 5", "B"),  # the value itself
        ({"options": ["3", "4"], "answer": "4", "answer_index": 0}, {}, "A) 3\nB) 4", "B"),
        # AQuA
        (
            {"options": ["A)5(√3 + 1)", "B)6"], "rationale": "So 6.", "correct": "B"},
            {},
            "A) 5(√3 + 1)\nB) 6",
            "B",
        ),
        # ARC
        (
            {"choices": {"text": ["ice", "steam"], "label": ["1", "2"]}, "answerKey": "2"},
            {},
            "A) ice\nB) steam",
            "B",
        ),
        ({"options": {"A": "ice", "B": "unknown"}, "answer": "unknown"}, {}, "A) ice\nB) unknown", "B"),
        # MathQA
        (
            {"options": "a ) 38 , b ) 27.5 , c ) none of these", "correct": "c"},
            {},
            "A) 38\nB) 27.5\nC) none of these",
            "C",
        ),
        (
            {"options": [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}], "answer": "(b)"},
            {},
            "A) x\nB) y",
            "B",
        ),
        (
            {"A": "x", "B": "", "C": "z", "D": None, "answer": "C"},
            {"options_field": "A+B+C+D"},
            "A) x\nB)\nC) z",
            "C",
        ),
        ({"options": ["3", "4"], "answer": "B) 4"}, {}, "A) 3\nB) 4", "B"),
        ({"options": ["3", "4"], "answer": r"\textbf{(B)}"}, {}, "A) 3\nB) 4", "B"),
        ({"A": "x", "B": "y", "answer": r"So \boxed{A}"}, {"options_field": "A+B"}, "A) x\nB) y", "A"),
    ],
)
def test_options_stand_below_the_question_and_the_gold_answer_is_a_letter(
    tmp_path: Path, row: dict[str, object], settings: dict[str, str], lines: str, letter: str
) -> None:
    (problem,) = load_problems(source_of(tmp_path, {"question": "Which?"} | row, **settings))
    assert (problem.question, problem.gold_answer) == (f"Which?\n{lines}", letter)


def test_any_of_several_answers_is_right(tmp_path: Path) -> None:
    (problem,) = load_problems(source_of(tmp_path, {"problem": "p", "answer": ["2", "x = 3"]}, answers="any"))
    assert problem == Problem(question_id("p"), "p", "2", ("x = 3",))
    grader = MathGrader()

    def verdict(text: str) -> Verdict:
        return asyncio.run(grade_any(grader, problem, Solution("p", 0, text))).verdict

    assert [verdict(rf"\boxed{{{answer}}}") for answer in ("2", "3", "4")] == [CORRECT, CORRECT, INCORRECT]
    assert verdict("I do not know.").is_unknown


@pytest.mark.parametrize(
    "placeholder",
    [
        "proof",
        "notfound",
        "None",
        "N/A",
        r"\text{Not found}",
        "<null>",
        "nan",
        "N.A.",
        "?",
        "__",
        "",
        " ",
        None,
    ],
)
def test_what_stands_for_no_answer_is_left_out_and_counted(tmp_path: Path, placeholder: str | None) -> None:
    rows = [{"problem": "Prove it.", "solution": "...", "answer": placeholder}, *numbered(1)]
    selection = select_problems(source_of(tmp_path, *rows))
    assert [problem.gold_answer for problem in selection.problems] == ["0"]
    assert list(selection.left_out.values()) == [1]


def test_what_only_looks_like_a_placeholder_stays(tmp_path: Path) -> None:
    golds = ["0", "n", "Na", r"\emptyset", "[]", "no"]
    assert answers(source_of(tmp_path, *({"problem": f"p{gold}", "answer": gold} for gold in golds))) == golds
    assert answers(source_of(tmp_path, {"problem": "Which word?", "answer": "proof"}, placeholders=())) == [
        "proof"
    ]


def test_rows_left_out_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_rows = [
        {"problem": "Open?", "answer": None},
        {"problem": "p", "solution": "No box."},
        {"problem": "Prove it.", "answer": "Proof"},
    ]
    source = source_of(
        tmp_path, *numbered(2), *open_rows, *numbered(1), {"problem": "What is 1 + 0?", "answer": "1.0"}
    )
    with pytest.raises(
        InputError, match=r"rows.jsonl:4: no gold answer; expected field answer, or .*skip_without_answer"
    ):
        load_problems(source)
    with pytest.raises(InputError, match=r"rows.jsonl:7: the question of .*rows.jsonl:2 again"):
        load_problems(replace(source, skip_without_answer=True))
    with caplog.at_level(logging.WARNING):
        selection = select_problems(replace(source, skip_without_answer=True, duplicates="first"))
    assert [problem.gold_answer for problem in selection.problems] == ["0", "1"]
    expected = {
        "no gold answer": 2,
        "a gold answer that stands for none: 'proof'": 1,
        "the same problem again": 1,
        "the same question again, with other content": 1,
    }
    assert selection.left_out == expected
    logged = [record.message.partition(": ")[2] for record in caplog.records]
    assert logged == [f"left out {count} rows: {reason}" for reason, count in expected.items()]
    write_problems(tmp_path / "run", selection)
    assert json.loads((tmp_path / "run/problems.json").read_text()) == {"n_problems": 2, "left_out": expected}


def test_json_lines_in_a_json_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "test.json").write_text("\n" + "".join(json.dumps(row) + "\n" for row in numbered(2)))
    assert answers(ProblemSource(source=str(tmp_path / "test.json"))) == ["0", "1"]


def test_offset_and_n_choose_and_shards_are_parts_of_the_choice(tmp_path: Path) -> None:
    rows = numbered(40)
    assert answers(source_of(tmp_path, *rows, offset=3, n=2)) == ["3", "4"]
    parts = [answers(source_of(tmp_path, *rows, n=30, shard=f"{i}/3")) for i in range(3)]
    assert sorted((answer for part in parts for answer in part), key=int) == [str(i) for i in range(30)]
    assert min(len(part) for part in parts) > 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "n: got 0, expected at least 1"),
        ({"offset": -1}, "offset: got -1"),
        ({"shard": "3/3"}, "shard: got '3/3', expected 'i/n' with 0 <= i < n"),
        ({"shard": "one"}, "shard: got 'one'"),
        ({"split": "test"}, "a file has no splits"),
        ({"offset": 9}, "no problem is left"),
        ({"source": "absent.jsonl"}, "absent.jsonl: no such file"),
        ({"source": "absent.json"}, "absent.json: no such file"),
        (
            {"source": "no/such-dataset"},
            "source 'no/such-dataset', split 'train': no such file, folder or dataset that loads",
        ),
        ({"source": "arithmetic"}, "n: the built-in task has no end"),
        ({"source": "arithmetic", "n": 1, "split": "dev"}, "split: got 'dev'"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(
    tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    path = source_of(tmp_path, *numbered(2)).source
    with pytest.raises(InputError, match=message):
        load_problems(ProblemSource(**{"source": path, **settings}))  # type: ignore[arg-type]


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no problem is left"):
        load_problems(source_of(tmp_path))


def test_the_built_in_task_continues_where_an_offset_says(tmp_path: Path) -> None:
    whole = load_problems(ProblemSource(n=10, split="test", seed=3))
    assert load_problems(ProblemSource(n=4, offset=6, split="test", seed=3)) == whole[6:]
    assert whole != load_problems(ProblemSource(n=10, split="train", seed=3))


def test_a_local_dataset_is_read_by_its_split(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in numbered(3)))
    assert answers(ProblemSource(source=str(tmp_path), split="test")) == ["0", "1", "2"]
    with pytest.raises(InputError, match="split 'train'"):
        load_problems(ProblemSource(source=str(tmp_path)))


# --- real files


@pytest.mark.parametrize(
    ("name", "n_problems", "first_answer"),
    [("gsm8k/train.jsonl", 7473, "72"), ("gsm8k/test.jsonl", 1319, "18"), ("math/test.jsonl", 5000, "2")],
)
def test_public_files_load_as_they_are(
    real_data: Path, name: str, n_problems: int, first_answer: str
) -> None:
    # Eight MATH solutions box different things
    source = ProblemSource(source=str(real_data / name), several_boxes="last")
    problems = load_problems(source)
    assert (len(problems), problems[0].gold_answer) == (n_problems, first_answer)
    assert not any("," in problem.gold_answer for problem in problems if name.startswith("gsm8k"))


def test_math_500_keeps_its_ids_and_stored_answers(real_data: Path) -> None:
    problems = load_problems(
        ProblemSource(source=str(real_data / "math/math500.jsonl"), id_field="unique_id")
    )
    assert len(problems) == 500
    assert problems[0].problem_id == "test/precalculus/807.json"
    assert problems[0].gold_answer == r"\left( 3, \frac{\pi}{2} \right)"


def test_math_train_has_two_problems_without_an_answer(
    real_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = str(real_data / "math/train_answers.json")
    problems = load_problems(ProblemSource(source=source, answer_field="final_answer"))
    assert len(problems) == 7498
    assert "left out 2 rows: no gold answer" in caplog.text
    with pytest.raises(InputError, match=r"test\.jsonl:92: 2 boxes with words between them"):
        load_problems(ProblemSource(source=str(real_data / "math/test.jsonl")))
    tests = load_problems(ProblemSource(source=str(real_data / "math/test.jsonl"), several_boxes="leave_out"))
    assert len(tests) == 4993
    shared = {bare(problem.question) for problem in problems} & {bare(problem.question) for problem in tests}
    assert len(shared) == 2  # the public train and test files do share two problems


def test_svamp_joins_its_two_fields(real_data: Path) -> None:
    problems = load_problems(
        ProblemSource(
            source=str(real_data / "svamp/svamp.json"), problem_field="Body+Question", answer_field="Answer"
        )
    )
    assert problems[0].question.endswith(
        "a discount of 25 dollars on each pack How much do you have to pay to buy each pack?"
    )
    assert (len(problems), problems[0].gold_answer) == (1000, "51")


def bare(question: str) -> str:
    return "".join(question.lower().split())
