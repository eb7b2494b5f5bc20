import asyncio
import json
import sys
import time
from pathlib import Path

import pytest

from data_gen.grading.function import GraderFaultError
from data_gen.grading.graders import load_grader
from data_gen.problems.sources import ProblemSource, load_problems
from data_gen.records.sampling import FinishReason
from data_gen.records.solutions import Problem, Solution
from data_gen.sample import main as sample
from data_gen.settings.errors import InputError, ProblemFaultError

PROBLEM = Problem("p", "What is it?", "5")


@pytest.fixture
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    return tmp_path


def write_module(folder: Path, name: str, body: str) -> str:
    """A module that no other test has imported."""
    (folder / f"{name}.py").write_text(body)
    sys.modules.pop(name, None)
    return f"{name}:grade"


def said(name: str, text: str, finish_reason: FinishReason = FinishReason.EOS) -> tuple[str | None, str]:
    graded = asyncio.run(
        load_grader(name, "arithmetic").grade(PROBLEM, Solution("p", 0, text, finish_reason))
    )
    return graded.answer, graded.verdict.reason or graded.verdict.kind.value


PLAIN = """
from data_gen.records.solutions import unknown

def grade(question, gold_answer, solution):
    if "?" in solution:
        return unknown("asks")
    return None if not solution else f"A: {gold_answer}" in solution
"""


def test_a_function_says_true_false_none_or_a_verdict(working_directory: Path) -> None:
    name = write_module(working_directory, "plain_grader", PLAIN)
    assert said(name, "So\nA: 5") == ("5", "correct")
    assert said(name, "So\nA: 6") == ("6", "incorrect")
    assert said(name, "") == (None, "undecided")
    assert said(name, "Is it?") == (None, "asks")


def test_a_truncated_solution_is_never_wrong(working_directory: Path) -> None:
    name = write_module(working_directory, "plain_grader", PLAIN)
    assert said(name, "A: 5\nand", FinishReason.LENGTH) == ("5", "correct")
    assert said(name, "A: 6\nand", FinishReason.LENGTH) == ("6", "truncated")


def test_a_function_may_be_async(working_directory: Path) -> None:
    body = (
        "import asyncio\nasync def grade(question, gold_answer, solution):\n    await asyncio.sleep(0)\n "
        " "
        "  return True\n"
    )
    assert said(write_module(working_directory, "async_grader", body), "") == (None, "correct")


def test_slow_functions_run_at_the_same_time(working_directory: Path) -> None:
    body = (
        "import threading\nboth = threading.Barrier(2)\ndef grade(question, gold_answer, solution):\n    "
        "both.wait(10)\n    return True\n"
    )
    grader = load_grader(write_module(working_directory, "slow_grader", body), "arithmetic")

    async def grade_two() -> list[bool]:
        return [
            graded.verdict.is_correct
            for graded in await asyncio.gather(*(grader.grade(PROBLEM, Solution("p", i, "")) for i in (0, 1)))
        ]

    assert asyncio.run(grade_two()) == [True, True]


def test_a_fault_is_no_verdict(working_directory: Path) -> None:
    name = write_module(
        working_directory, "faulty_grader", "def grade(question, gold_answer, solution):\n    return 1 / 0\n"
    )
    with pytest.raises(
        GraderFaultError, match=r"grader faulty_grader:grade: ZeroDivisionError .*faulty_grader\.py:2"
    ) as caught:
        said(name, "A: 5")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    name = write_module(
        working_directory, "odd_grader", "def grade(question, gold_answer, solution):\n    return 'yes'\n"
    )
    with pytest.raises(
        InputError, match="grader odd_grader:grade: returned 'yes', expected True, False, None or a Verdict"
    ):
        said(name, "A: 5")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("raise OSError(24, 'Too many open files')", OSError),
        ("raise MemoryError", MemoryError),
        ("import torch; raise torch.OutOfMemoryError('CUDA out of memory')", RuntimeError),
    ],
)
def test_a_fault_of_the_machine_is_none_of_the_graders(
    working_directory: Path, fault: str, kind: type[Exception]
) -> None:
    body = f"def grade(question, gold_answer, solution):\n    {fault}\n"
    with pytest.raises(kind) as caught:
        said(write_module(working_directory, "poor_grader", body), "A: 5")
    assert not isinstance(caught.value, ProblemFaultError)


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("next(word for word in solution.split() if word == 'A')", "StopIteration"),
        ("raise StopAsyncIteration", "StopAsyncIteration"),
        ("import sys; sys.exit(0)", "SystemExit(0)"),
        ("import asyncio; raise asyncio.CancelledError", "CancelledError"),
        ("import concurrent.futures; raise concurrent.futures.CancelledError('mine')", "mine"),
    ],
)
def test_what_would_end_a_loop_a_task_or_the_process_ends_the_run_as_an_error(
    working_directory: Path, kind: str, fault: str, message: str
) -> None:
    body = f"{kind} grade(question, gold_answer, solution):\n    {fault}\n"
    name = write_module(working_directory, "leaving_grader", body)

    async def outcome() -> object:
        graded = load_grader(name, "arithmetic").grade(PROBLEM, Solution("p", 0, "A: 5"))
        [result] = await asyncio.gather(asyncio.wait_for(graded, 10), return_exceptions=True)
        return result

    assert message in repr(asyncio.run(outcome()))


def test_a_grader_that_does_not_return_holds_up_no_end(working_directory: Path) -> None:
    body = "import time\ndef grade(question, gold_answer, solution):\n    time.sleep(60)\n"
    grader = load_grader(write_module(working_directory, "sleeping_grader", body), "arithmetic")
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(grader.grade(PROBLEM, Solution("p", 0, "A: 5")), 0.05))
    assert time.monotonic() - started < 10


def test_the_version_changes_with_the_source(working_directory: Path) -> None:
    name = write_module(working_directory, "edited_grader", PLAIN)
    first = load_grader(name, "arithmetic").grader_version
    assert first.startswith("edited_grader:grade ")
    assert load_grader(name, "arithmetic").grader_version == first
    write_module(working_directory, "edited_grader", PLAIN + "# edited\n")
    assert load_grader(name, "arithmetic").grader_version != first


def test_the_version_changes_with_what_the_module_imports_from_its_folder(working_directory: Path) -> None:
    name = write_module(working_directory, "importing_grader", "from answer_units import unit\n" + PLAIN)
    write_module(working_directory, "answer_units", "import answer_names\nunit = 'km'\n")
    write_module(working_directory, "answer_names", "NAMES = 1\n")
    versions = [load_grader(name, "arithmetic").grader_version]
    for edited in ("answer_units", "answer_names"):
        with (working_directory / f"{edited}.py").open("a") as file:
            file.write("# edited\n")
        versions.append(load_grader(name, "arithmetic").grader_version)
    write_module(working_directory, "another_grader", PLAIN)
    assert load_grader(name, "arithmetic").grader_version == versions[-1]
    assert len(set(versions)) == 3


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("no_such_grader:grade", "", "found no Python module 'no_such_grader'"),
        ("no.such.grader:grade", "", "found no Python module 'no.such.grader'"),
        (":grade", "", "found no Python module ''"),
        ("nameless_grader:grade", "x = 1\n", "nameless_grader.py has no function 'grade'"),
        (
            "short_grader:grade",
            "def grade(solution):\n    return True\n",
            r"takes \(solution\), expected \(question, gold_answer, solution\)",
        ),
    ],
)
def test_what_is_no_grader_is_refused(working_directory: Path, name: str, body: str, message: str) -> None:
    if body:
        write_module(working_directory, name.partition(":")[0], body)
    with pytest.raises(InputError, match=message):
        load_grader(name, "arithmetic")


def test_the_sample_command_grades_by_a_function_and_again_when_it_changes(working_directory: Path) -> None:
    body = "def grade(question, gold_answer, solution):\n    return gold_answer in solution\n"
    arguments = ["--output", "run", "--policy.model", "simulated", "--problems.n", "3", "--n_samples", "2"]
    name = write_module(working_directory, "kind_grader", body)
    sample([*arguments, "--grader", name])
    kind = [json.loads(line) for line in Path("run/solutions.jsonl").read_text().splitlines()]
    write_module(working_directory, "kind_grader", body.replace("return gold", "return None and gold"))
    sample([*arguments, "--grader", name])
    unsure = [json.loads(line) for line in Path("run/solutions.jsonl").read_text().splitlines()]
    assert {row["verdict"]["kind"] for row in kind} <= {"correct", "incorrect"}
    assert [row["verdict"]["reason"] for row in unsure] == ["undecided"] * 6
    assert [row["solution"] for row in unsure] == [row["solution"] for row in kind]  # the same draws


def test_programs_are_graded_by_the_tests_in_their_rows(working_directory: Path) -> None:
    rows = [
        {"problem": "Write add(a, b).", "answer": "assert add(1, 2) == 3\nassert add(-1, 1) == 0"},
        {
            "problem": "Print the sum of a line.",
            "answer": json.dumps([{"stdin": "1 2\n", "stdout": "3"}, {"stdin": "4\n", "stdout": "4"}]),
        },
    ]
    Path("programs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems = load_problems(ProblemSource("programs.jsonl", format="generic"))
    grader = load_grader("data_gen.grading.program:grade", "programs.jsonl")
    texts = [
        "```python\ndef add(a, b):\n    return a + b\n```",
        "Reads and adds.\n\n```python\nprint(sum(map(int, input().split())))\n```",
    ]

    async def verdicts() -> list[str]:
        pairs = [(problem, Solution(problem.problem_id, 0, text)) for problem in problems for text in texts]
        return [
            graded.verdict.kind.value
            for graded in await asyncio.gather(*(grader.grade(*pair) for pair in pairs))
        ]

    assert asyncio.run(verdicts()) == ["correct", "incorrect", "incorrect", "correct"]
