import json
import logging
from pathlib import Path

import pytest

from data_gen.config import InputError
from data_gen.problems import ProblemSource, load_problems
from data_gen.records import Problem


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
    boxed = {"problem": "Evaluate.", "level": "Level 1", "solution": r"Not \boxed{1} but $\boxed{\frac{1}{\sqrt{2}}}$."}
    stored = {"problem": "Evaluate again.", "solution": r"It is \boxed{4.0}.", "answer": "4"}
    plain = {"problem": "And this?", "answer": 7}
    assert answers(source_of(tmp_path, gsm8k, boxed, stored, plain)) == ["1234", r"\frac{1}{\sqrt{2}}", "4", "7"]


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
        ({"question": "What?", "answer": "5"}, r"rows.jsonl:2: no field 'problem'; fields present: 'question', 'answer'"),
        ({"problem": "What?", "answer": ""}, r"rows.jsonl:2: no gold answer; expected field answer \(skip_without_answer"),
        ({"problem": "What?", "solution": "It is 5."}, r"rows.jsonl:2: no gold answer; expected field answer, or .*boxed"),
        ({"problem": "", "answer": "5"}, r"rows.jsonl:2: the question is empty"),
        ({"problem": ["What?"], "answer": "5"}, r"rows.jsonl:2: field 'problem': got list, expected text or a number"),
        ({"problem": "What is 0 + 0?", "answer": "1"}, r"rows.jsonl:2: the question of .*rows.jsonl:1 again, with other content"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_problems(source_of(tmp_path, *numbered(1), row))


def test_gsm8k_rows_need_their_answer_mark(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a last line '#### n'"):
        load_problems(source_of(tmp_path, {"question": "What?", "answer": "5"}, format="gsm8k"))


def test_the_same_id_for_two_questions_is_refused(tmp_path: Path) -> None:
    rows = [{"id": "a", **row} for row in numbered(2)]
    with pytest.raises(InputError, match=r"rows.jsonl:2: the id of .*rows.jsonl:1 again"):
        load_problems(source_of(tmp_path, *rows, id_field="id"))


def test_rows_left_out_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = source_of(tmp_path, *numbered(2), {"problem": "Open?", "answer": None}, *numbered(1), skip_without_answer=True)
    with caplog.at_level(logging.WARNING):
        assert answers(source) == ["0", "1"]
    assert [record.message.partition(": ")[2] for record in caplog.records] == [
        "left out 1 rows: no gold answer",
        "left out 1 rows: the same problem again",
    ]


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
        ({"source": "no/such-dataset"}, "source 'no/such-dataset', split 'train': no such file, folder or dataset that loads"),
        ({"source": "arithmetic"}, "n: the built-in task has no end"),
        ({"source": "arithmetic", "n": 1, "split": "dev"}, "split: got 'dev'"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(tmp_path: Path, settings: dict[str, object], message: str) -> None:
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
def test_public_files_load_as_they_are(real_data: Path, name: str, n_problems: int, first_answer: str) -> None:
    problems = load_problems(ProblemSource(source=str(real_data / name)))
    assert (len(problems), problems[0].gold_answer) == (n_problems, first_answer)
    assert not any("," in problem.gold_answer for problem in problems if name.startswith("gsm8k"))


def test_math_500_keeps_its_ids_and_stored_answers(real_data: Path) -> None:
    problems = load_problems(ProblemSource(source=str(real_data / "math/math500.jsonl"), id_field="unique_id"))
    assert len(problems) == 500
    assert problems[0].problem_id == "test/precalculus/807.json"
    assert problems[0].gold_answer == r"\left( 3, \frac{\pi}{2} \right)"


def test_math_train_has_two_problems_without_an_answer(real_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = str(real_data / "math/train_answers.json")
    with pytest.raises(InputError, match=r"train_answers\.json:9202: no gold answer"):
        load_problems(ProblemSource(source=source, answer_field="final_answer"))
    problems = load_problems(ProblemSource(source=source, answer_field="final_answer", skip_without_answer=True))
    assert len(problems) == 7498
    assert "left out 2 rows: no gold answer" in caplog.text
    tests = load_problems(ProblemSource(source=str(real_data / "math/test.jsonl")))
    shared = {bare(problem.question) for problem in problems} & {bare(problem.question) for problem in tests}
    assert len(shared) == 2  # the public train and test files do share two problems


def bare(question: str) -> str:
    return "".join(question.lower().split())
