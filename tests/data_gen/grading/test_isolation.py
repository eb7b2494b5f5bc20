import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from data_gen.grading import program as program_grading
from data_gen.grading import program_sandbox
from data_gen.grading.program import grade, run_program

pytestmark = pytest.mark.hostile
TESTS = "assert add(1, 2) == 3"
ADD = "```python\ndef add(a, b):\n    return a + b\n```"


# Ways out of a sandbox that worked or were tried against earlier ones: each line is one, `outside` and
# `python` are folders of the machine, `port` is open on it. Each must raise.
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
_posixsubprocess.fork_exec([b"/bin/true"], [b""], True, (), *none, *[-1] * 6, 0, os.pipe()[1], True, False, 0, *none, None, -1, None, False)
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
"""  # noqa: E501
RUNNER = """
import asyncio, builtins, ctypes, io, mmap, multiprocessing, os, pty, resource, shutil, signal, socket, sqlite3, subprocess, sys, time
import urllib.request, _posixsubprocess
outside, python, port, attempts = eval(input())
libc = ctypes.CDLL(None)
none = None, None

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
"""  # noqa: E501


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


def test_no_way_out_of_the_sandbox(
    own_python: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record_property("n_probes", len(ATTEMPTS.strip().splitlines()))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("hunter2")

    def state() -> tuple[list[tuple[object, ...]], list[str]]:
        files = sorted(path for path in tmp_path.rglob("*") if path.name != "__pycache__")
        return [
            (path, path.lstat().st_mode, path.lstat().st_size, path.lstat().st_mtime) for path in files
        ], sorted(path.name for path in Path("/dev/shm").iterdir())

    before = state()
    with socket.create_server(("127.0.0.1", 0)) as server:
        told = repr((str(outside), str(own_python), server.getsockname()[1], ATTEMPTS.strip().splitlines()))
        run = run_program(RUNNER, stdin=told)
    assert run.output.splitlines() == ["all tried"]
    assert state() == before


def test_shared_memory_of_a_program_is_its_own() -> None:
    program = (
        "from multiprocessing import shared_memory\nmemory = shared_memory.SharedMemory('planted', "
        "create=True, size=4096)\n"
    )
    run_program(program + "memory.buf[0] = 1\nimport os\nos._exit(7)")
    assert not Path("/dev/shm/planted").exists()


def test_a_program_that_waits_is_unknown_and_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_grading, "WALL_SECONDS", 1.0)
    started = time.monotonic()
    assert run_program("import time\ntime.sleep(60)\n", stdin="waiting").exit_code is None
    slow = "```python\ndef add(a, b):\n    import time\n    time.sleep(60)\n```"
    assert grade("", TESTS, slow).reason == "timeout"
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
    program = """
import signal, time
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        continue
signal.setitimer(signal.ITIMER_REAL, 0)
time.sleep(10**9)
"""
    script = (
        f"from data_gen.grading.program import run_program\nrun_program({program!r}, 'assert True', 'marked')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], env=os.environ | {"TMPDIR": str(tmp_path)}
    ) as process:
        assert is_soon(lambda: len(processes_that_hold("marked")) >= 4)
        process.kill()
    assert is_soon(lambda: not processes_that_hold("marked"))
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_name_spaces_is_refused() -> None:
    command = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"',
        "sh",
    ]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("this machine has no name spaces that could be taken away")
    script = f"from data_gen.grading.program import grade\nprint(grade('', {TESTS!r}, {ADD!r}).kind.value)"
    run = subprocess.run(
        [*command, sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith(
        "data_gen.settings.errors.InputError: grader data_gen.grading.program: this machine gives no name "
        "spaces"
    )
    unsafe = {**os.environ, program_grading.UNSAFE: "1"}
    run = subprocess.run(
        [*command, sys.executable, "-c", script], capture_output=True, text=True, check=False, env=unsafe
    )
    assert run.stdout == "correct\n", run.stderr
