import json
import os
import time
from pathlib import Path

import pytest

from data_gen.grading import program as program_grading
from data_gen.grading.program import find_program, grade, read_tests
from data_gen.records.verdicts import Verdict

TESTS = "assert add(1, 2) == 3\nassert add(-1, 1) == 0"


def said(verdict: Verdict) -> str:
    return verdict.reason if verdict.is_unknown else verdict.kind.value


def graded(program: str, tests: str = TESTS) -> str:
    return said(grade("Write add(a, b).", tests, f"Here it is:\n```python\n{program}\n```\nDone."))


ADD = "def add(a, b):\n    return a + b\n"


@pytest.mark.parametrize(
    ("program", "verdict"),
    [
        (ADD, "correct"),
        ("def add(a, b):\n    return a - b", "incorrect"),
        ("def add(a, b)\n    return a + b", "incorrect"),  # no Python
        ("def plus(a, b):\n    return a + b", "incorrect"),
        ("import sys\nsys.exit(0)", "incorrect"),  # ends well, and no test has run
        ("import os\nos._exit(0)", "incorrect"),
        ("def add(a, b):\n    raise SystemExit(0)", "incorrect"),
        ("quit()", "incorrect"),
        (ADD + "if __name__ == '__main__':\n    print(add(*map(int, input().split())))", "correct"),
        (ADD + "for _ in range(10):\n    print('x' * 10_000_000)", "correct"),  # 100 MB that nobody keeps
        ("x = bytearray(10**10)\n" + ADD, "incorrect"),
        ("x = []\nwhile True:\n    x.append(bytes(10**7))", "incorrect"),
        ("import os\nwhile True:\n    os.fork()", "incorrect"),
        ("import subprocess\nsubprocess.run(['true'])\n" + ADD, "incorrect"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 80))\n" + ADD, "incorrect"),
        ("import os, signal\nos.kill(os.getppid(), signal.SIGTERM)\n" + ADD, "incorrect"),
        (
            "open('notes.txt', 'w').write('kept here')\nassert open('notes.txt').read() == 'kept here'\n"
            + ADD,
            "correct",
        ),
        ("import tempfile\ntempfile.TemporaryFile().write(b'x')\n" + ADD, "correct"),
        ("open('big', 'wb').write(bytes(10**8))\n" + ADD, "incorrect"),
        ("import asyncio\nasyncio.run(asyncio.sleep(0))\n" + ADD, "correct"),
        (
            "import threading, sys\nthreading.stack_size(2**26)\nt = "
            "threading.Thread(target=print)\nt.start()\nt.join()\n" + ADD,
            "correct",
        ),
        (
            "import collections, dataclasses, heapq, itertools, math, numpy, re, sqlite3, typing, zoneinfo\n"
            + ADD,
            "correct",
        ),
        ("def add(a, b):\n    return add(a, b)", "incorrect"),
    ],
)
def test_tests_decide(program: str, verdict: str) -> None:
    assert graded(program) == verdict


@pytest.mark.hostile
def test_a_program_that_uses_up_its_processor_time_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_grading, "CPU_SECONDS", 1)
    assert graded("while True:\n    pass") == "incorrect"


@pytest.mark.hostile
def test_secrets_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    secret = tmp_path / "token"
    secret.write_text("hunter2")
    assert graded("import os\nassert 'SECRET_TOKEN' not in os.environ\n" + ADD) == "correct"
    assert graded("import os\nassert os.environ['SECRET_TOKEN']\n" + ADD) == "incorrect"
    for path in (secret, f"/proc/{os.getpid()}/environ", "/proc/self/environ", "/etc/passwd"):
        assert graded(f"open({str(path)!r}, 'rb').read()\n" + ADD) == "incorrect"


SUM = "print(sum(map(int, input().split())))"


@pytest.mark.parametrize(
    ("program", "verdict"),
    [
        (SUM, "correct"),
        ("import sys\nprint(sum(map(int, sys.stdin.read().split())), end='  \\n\\n')", "correct"),
        ("print(sum(map(int, open(0).read().split())))", "correct"),
        ("print(3)", "incorrect"),  # right in the first run alone
        (SUM + "\nraise ValueError", "incorrect"),
        ("if __name__ == '__main__':\n    " + SUM, "correct"),
        ("while True:\n    print('x' * 10_000_000)", "incorrect"),
    ],
)
def test_runs_compare_what_a_script_prints(program: str, verdict: str) -> None:
    runs = json.dumps([{"stdin": "1 2\n", "stdout": "3\n"}, {"stdin": "2 5", "stdout": "7"}])
    assert graded(program, runs) == verdict


def test_without_a_program_or_tests_nothing_is_known() -> None:
    assert said(grade("", TESTS, "The answer is 3.")) == "no_answer"
    assert said(grade("", TESTS, "```python\ndef add(a, b):\n    return a + b")) == "no_answer"
    assert graded(ADD, "assert add(") == "unparsable_gold"
    assert graded(ADD, '[{"stdin": 1}]') == "unparsable_gold"
    assert graded(ADD, "") == "unparsable_gold"


def test_the_last_block_counts() -> None:
    assert find_program("```python\na = 1\n```\nBetter:\n```py\na = 2\n```\nRun it:\n") == "a = 2\n"
    assert find_program("```\na = 1\n```") == "a = 1\n"
    assert (
        find_program("```python\na = 1\n```\nIt prints\n```text\n1\n```\nas it should.\n```bash\nrun\n```\n")
        == "a = 1\n"
    )
    assert find_program("  ``` Python3  \na = 1\n  ```  \n```python\na = 2\n") == "a = 1\n"
    assert read_tests("assert add(1, 2) == 3") == "assert add(1, 2) == 3"


@pytest.mark.parametrize(
    "text",
    [
        "```" + " " * 10**6,
        "```\n" + " \t" * 10**6 + "x",
        "```python" + " " * 10**6 + "x\n",
        " " * 10**6,
        "```\n" * 10**5 + "`",
    ],
)
def test_blocks_are_found_in_time_that_grows_with_the_text(text: str) -> None:
    started = time.process_time()
    find_program(text)
    assert time.process_time() - started < 2


def test_tests_nested_too_deeply_are_no_tests() -> None:
    for tests in (
        "[" * 10**5,
        "(" * 10**5 + ")" * 10**5,
        "-" * 10**5 + "1",
        '{"a":' * 10**5,
        "assert " + "not " * 10**5 + "1",
    ):
        assert read_tests(tests) is None
