import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_gen import program_grading
from data_gen.program_grading import find_program, grade, read_tests
from data_gen.records import Verdict

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
        ("open('notes.txt', 'w').write('kept here')\nassert open('notes.txt').read() == 'kept here'\n" + ADD, "correct"),
        ("import tempfile\ntempfile.TemporaryFile().write(b'x')\n" + ADD, "correct"),
        ("open('big', 'wb').write(bytes(10**8))\n" + ADD, "incorrect"),
        ("import asyncio\nasyncio.run(asyncio.sleep(0))\n" + ADD, "correct"),
        ("import threading, sys\nthreading.stack_size(2**26)\nt = threading.Thread(target=print)\nt.start()\nt.join()\n" + ADD, "correct"),
        ("import collections, dataclasses, heapq, itertools, math, numpy, re, sqlite3, typing, zoneinfo\n" + ADD, "correct"),
        ("def add(a, b):\n    return add(a, b)", "incorrect"),
    ],
)
def test_tests_decide(program: str, verdict: str) -> None:
    assert graded(program) == verdict


def test_a_program_that_uses_up_its_processor_time_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_grading, "CPU_SECONDS", 1)
    assert graded("while True:\n    pass") == "incorrect"


def test_a_program_that_waits_is_unknown_and_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_grading, "WALL_SECONDS", 1.0)
    before = program_grading._n_tasks()
    started = time.monotonic()
    assert graded("import time\ntime.sleep(60)\n" + ADD) == "timeout"
    assert time.monotonic() - started < 10
    assert program_grading._n_tasks() <= before + 20  # neighbours come and go


def test_secrets_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    secret = tmp_path / "token"
    secret.write_text("hunter2")
    assert graded("import os\nassert 'SECRET_TOKEN' not in os.environ\n" + ADD) == "correct"
    assert graded("import os\nassert os.environ['SECRET_TOKEN']\n" + ADD) == "incorrect"
    for path in (secret, f"/proc/{os.getpid()}/environ", "/proc/self/environ", "/etc/passwd"):
        assert graded(f"open({str(path)!r}, 'rb').read()\n" + ADD) == "incorrect"


def test_writes_outside_do_not_persist(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("old")
    attempts = [
        f"open({str(kept)!r}, 'w')",
        f"os.remove({str(kept)!r})",
        f"os.mkdir({str(tmp_path / 'new')!r})",
        f"os.chdir({str(tmp_path)!r})\nopen('new', 'w')",
    ]
    for attempt in attempts:
        assert (
            graded(f"import os\ntry:\n    {attempt.replace(chr(10), chr(10) + '    ')}\nexcept PermissionError:\n    pass\n{ADD}")
            == "correct"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert kept.read_text() == "old"


def test_name_spaces_have_no_network() -> None:
    command = program_grading._name_spaces()
    if not command:
        pytest.skip("no unshare for this user")
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}))"
        assert subprocess.run([sys.executable, "-c", connect], check=False).returncode == 0
        assert subprocess.run([*command, sys.executable, "-c", connect], stderr=subprocess.DEVNULL, check=False).returncode == 1


@pytest.mark.parametrize(
    ("program", "verdict"), [(ADD, "correct"), ("import os\nwhile True:\n    os.fork()", "incorrect"), ("quit()", "incorrect")]
)
def test_machines_without_name_spaces_grade_too(monkeypatch: pytest.MonkeyPatch, program: str, verdict: str) -> None:
    monkeypatch.setattr(program_grading, "_name_spaces", lambda: ())
    assert graded(program) == verdict


def test_folders_are_deleted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert graded("import os\nos.makedirs('a/b')\nopen('a/b/c', 'w').write('x')\n" + ADD) == "correct"
    assert list(tmp_path.iterdir()) == []


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
    assert read_tests("assert add(1, 2) == 3") == "assert add(1, 2) == 3"
