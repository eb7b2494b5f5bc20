import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from data_gen import program_grading, program_sandbox
from data_gen.program_grading import find_program, grade, read_tests, run_program
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
    started = time.monotonic()
    assert run_program("import time\ntime.sleep(60)\n", stdin="waiting").exit_code is None
    assert graded("def add(a, b):\n    import time\n    time.sleep(60)") == "timeout"
    assert time.monotonic() - started < 15
    assert is_soon(lambda: not processes_that_hold("waiting"))


def processes_that_hold(text: str) -> list[int]:
    """Ids of the processes of sandboxes one of whose open files holds `text`; their task is such a file."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if program_sandbox.__file__.encode() in command.read_bytes() and any(
                text in descriptor.read_text()
                for descriptor in command.parent.glob("fd/*")
                if descriptor.readlink().name.endswith("(deleted)")
            ):
                found.append(int(command.parent.name))
    return found


def is_soon(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_programs_end_with_the_process_that_grades_them(tmp_path: Path) -> None:
    program = "import signal, threading, time\nfor number in range(1, 65):\n    try:\n        signal.signal(number, signal.SIG_IGN)\n    except (OSError, ValueError):\n        pass\nsignal.setitimer(signal.ITIMER_REAL, 0)\ntime.sleep(10**9)"
    script = f"from data_gen import program_grading\nprogram_grading.run_program({program!r}, 'assert True', 'marked')"
    with subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"TMPDIR": str(tmp_path)}) as process:
        assert is_soon(lambda: len(processes_that_hold("marked")) >= 4)
        process.kill()
    assert is_soon(lambda: not processes_that_hold("marked"))
    assert list(tmp_path.iterdir()) == []


def test_secrets_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    secret = tmp_path / "token"
    secret.write_text("hunter2")
    assert graded("import os\nassert 'SECRET_TOKEN' not in os.environ\n" + ADD) == "correct"
    assert graded("import os\nassert os.environ['SECRET_TOKEN']\n" + ADD) == "incorrect"
    for path in (secret, f"/proc/{os.getpid()}/environ", "/proc/self/environ", "/etc/passwd"):
        assert graded(f"open({str(path)!r}, 'rb').read()\n" + ADD) == "incorrect"


# Ways out of a sandbox that worked or were tried against earlier ones: each line is one, `outside` and `python` are folders of the machine,
# `port` is open on it. Each must raise.
ATTEMPTS = """
shutil.rmtree(python + "/victim")
os.remove("kept", dir_fd=os.open(python + "/victim", os.O_RDONLY))
os.open("planted", os.O_CREAT | os.O_WRONLY, dir_fd=os.open(python, os.O_RDONLY))
os.mkdir("planted", dir_fd=os.open(python, os.O_RDONLY))
os.rename("kept", "moved", src_dir_fd=os.open(python + "/victim", 0), dst_dir_fd=os.open(python + "/victim", 0))
os.symlink("/etc", "planted", dir_fd=os.open(python, 0))
os.link(python + "/victim/kept", "/tmp/link")
os.mkfifo(python + "/fifo")
os.mknod(python + "/node")
os.mknod("/tmp/disk", 0o60600, os.makedev(254, 0))
os.setxattr(python + "/victim/kept", "user.x", b"1")
os.fchmod(os.open(python + "/victim/kept", 0), 0o777)
os.chmod(python + "/victim/kept", 0o777)
os.chown(python + "/victim/kept", 1000, 1000)
os.utime(python + "/victim/kept")
os.truncate(python + "/victim/kept", 0)
open(python + "/victim/kept", "a")
os.fchdir(os.open(python, 0)) or open("planted", "w")
os.path.realpath.__globals__.update(abspath=lambda path: os.getcwd()) or open(outside + "/secret")
setattr(builtins, "any", lambda *them: True) or open(outside + "/secret", "w")
setattr(os.path, "realpath", lambda path, **_: os.getcwd()) or open(outside + "/secret")
os.symlink("/etc/passwd", "/tmp/passwd") or open("/tmp/passwd")
os.symlink(outside, "/tmp/out") or os.open("secret", 0, dir_fd=os.open("/tmp/out", 0))
open("/tmp/../etc/passwd")
open("/usr/../root/.bashrc")
sqlite3.connect(outside + "/new.db").execute("create table x (y)")
io.FileIO(outside + "/secret")
mmap.mmap(os.open(python + "/victim/kept", os.O_RDWR), 0)
os.listdir("/home")
os.listdir("/proc")
os.listdir("/sys")
os.listdir("/run")
os.listdir(outside)
os.scandir("/var")
os.stat(outside)
open("/proc/self/mem", "rb")
open("/proc/1/environ", "rb")
open("/dev/mem", "rb")
open("/dev/tty", "w")
os.listdir("/dev/fd")
os.chroot("/")
_posixsubprocess.fork_exec([b"/bin/true"], [b"/bin/true"], True, (), None, None, -1, -1, -1, -1, -1, -1, -1, -1, True, False, 0, None, None, None, -1, None, False)
subprocess.run(["/usr/bin/true"])
os.system("true") and fail()
os.posix_spawn("/usr/bin/true", ["true"], {})
os.execv("/usr/bin/true", ["true"])
os.fork()
os.forkpty()
pty.spawn("/usr/bin/true")
multiprocessing.Process(target=print).start()
os.memfd_create("x")
os.pidfd_open(os.getppid())
os.kill(os.getppid(), 9)
os.kill(-1, 9)
os.killpg(0, 9)
signal.pidfd_send_signal(os.open("/", 0), 9)
socket.create_connection(("127.0.0.1", port), 1)
socket.socket()
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port))
socket.socket(socket.AF_INET6)
socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)
socket.socket(socket.AF_VSOCK)
socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
socket.socket(socket.AF_UNIX).connect("/run/docker.sock")
socket.getaddrinfo("example.org", 80)
asyncio.run(asyncio.open_connection("127.0.0.1", port))
urllib.request.urlopen("http://127.0.0.1:%d" % port, timeout=1)
resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))
resource.setrlimit(resource.RLIMIT_CPU, (10**6, 10**6))
os.setuid(0)
os.setgid(0)
os.setgroups([0])
os.nice(-5)
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
socket.sethostname("x")
time.clock_settime(time.CLOCK_REALTIME, 0)
native(libc.unshare(0x10000000))
native(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
native(libc.umount2(b"/usr", 2))
native(libc.ptrace(16, 1, None, None))
native(libc.chroot(b"/usr"))
native(libc.setns(0, 0))
native(libc.syscall(57))
native(libc.syscall(435, b"\\0" * 88, 88))
native(libc.syscall(425, 8, b"\\0" * 120))
native(libc.syscall(310, 1, None, 0, None, 0, 0))
native(libc.shmget(0, 1 << 30, 0o1600))
native(libc.bpf(0, None, 0) if hasattr(libc, "bpf") else libc.syscall(321, 0, None, 0))
[open("/tmp/%d" % i, "w") for i in range(100)] and [open("/tmp/%d" % i) for i in range(100)]
[os.posix_fallocate(os.open("/tmp/big%d" % i, os.O_CREAT | os.O_RDWR), 0, 4 << 20) for i in range(40)]
[os.mkdir("/tmp/d%d" % i) for i in range(10_000)]
"""
RUNNER = """
import asyncio, builtins, ctypes, io, mmap, multiprocessing, os, pty, resource, shutil, signal, socket, sqlite3, subprocess, sys, time
import urllib.request, _posixsubprocess
outside, python, port, attempts = eval(input())
libc = ctypes.CDLL(None)

def native(result):
    if result in (-1, 0xffffffff):
        raise OSError
    return result

def fail():
    raise OSError

start = os.getpid()
for attempt in attempts:
    try:
        exec(attempt)
    except (Exception, SystemExit):
        continue
    print(attempt if os.getpid() == start else "a new process", flush=True)
print("all tried")
"""


@pytest.fixture
def own_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment of Python that may be damaged, whose programs the sandbox runs."""
    folder = tmp_path / "python"
    (folder / "bin").mkdir(parents=True)
    (folder / "victim").mkdir()
    (folder / "victim" / "kept").write_text("old")
    (folder / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    (folder / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    monkeypatch.setattr("sys.executable", str(folder / "bin" / "python"))
    return folder


def test_no_way_out_of_the_sandbox(own_python: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("hunter2")

    def state() -> tuple[list[tuple[object, ...]], list[str]]:
        files = sorted(path for path in tmp_path.rglob("*") if path.name != "__pycache__")
        return [(path, path.lstat().st_mode, path.lstat().st_size, path.lstat().st_mtime) for path in files], sorted(os.listdir("/dev/shm"))

    before = state()
    with socket.create_server(("127.0.0.1", 0)) as server:
        told = repr((str(outside), str(own_python), server.getsockname()[1], ATTEMPTS.strip().splitlines()))
        run = run_program(RUNNER, stdin=told)
    assert run.output.splitlines() == ["all tried"]
    assert state() == before


def test_shared_memory_of_a_program_is_its_own() -> None:
    program = "from multiprocessing import shared_memory\nmemory = shared_memory.SharedMemory('planted', create=True, size=4096)\n"
    run_program(program + "memory.buf[0] = 1\nimport os\nos._exit(7)")
    assert not Path("/dev/shm/planted").exists()


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
