"""Shuts the calling process off from the machine by what Linux has for it. Standard library alone: it runs
before a program of program_sandbox.py.

`run_isolated(action, ...)` runs `action` in a grandchild with

- name spaces of its own for users, files, processes, network, System V memory and host name. Its files are a
  new root, all read-only, of which `/tmp` alone (also `/dev/shm`; 64 MiB of memory, gone with the process)
  can be written; there is /usr and Python's own installation, no /proc, /sys, /home, /run, no sockets of
  services. Its network has no way out, its process ids name its own processes only;
- no capabilities, no new privileges, and limits on memory, processor time, file sizes, open files and tasks;
- where libseccomp is there, a filter of system calls: no other program or process (threads are allowed), no
  sockets but Unix ones, no signals to others, no tracing, anonymous files, mounts, keys, io_uring, bpf.
  Without it (`layers` says so) a program may start others behind the same walls, each with its own limits.

All of it dies with the process that called: each parent of the chain takes its child along
(PR_SET_PDEATHSIG), and the end of the first process of a process name space ends the others. What it does not
protect from: faults of the kernel itself, and reading what stands in /usr and in the Python installation. It
needs Linux 5.12 or newer and user name spaces for this user.
"""

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

FOLDER_BYTES = 64 << 20  # what a program may keep in /tmp
_LIBC = ctypes.CDLL(None, use_errno=True)

_NAME_SPACES = {
    "files": 0x00020000,
    "cgroup": 0x02000000,
    "host name": 0x04000000,
    "System V memory": 0x08000000,
    "users": 0x10000000,
    "processes": 0x20000000,
    "network": 0x40000000,
}
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 2, 4, 0x1000, 0x4000, 1 << 18, 2
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _ATTR_RDONLY, _ATTR_NOSUID = 442, -100, 0x8000, 1, 2
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_SETUP_FAILED = 99

_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38  # what seccomp does with a call
_NOT_EQUAL, _MASKED_EQUAL = 1, 7
_CLONE_THREAD, _AF_UNIX = 0x10000, 1
_REFUSED_CALLS = """
    execve execveat fork vfork kill tkill rt_sigqueueinfo rt_tgsigqueueinfo ptrace process_vm_readv process_vm_writev process_madvise kcmp
    pidfd_open pidfd_getfd pidfd_send_signal memfd_create memfd_secret shmget semget msgget mq_open userfaultfd
    mount umount umount2 pivot_root chroot move_mount open_tree fsopen fsmount fsconfig fspick mount_setattr unshare setns mknod mknodat
    setxattr lsetxattr fsetxattr name_to_handle_at open_by_handle_at bpf perf_event_open keyctl add_key request_key
    io_uring_setup io_uring_enter io_uring_register io_setup init_module finit_module delete_module kexec_load kexec_file_load
    reboot swapon swapoff sethostname setdomainname settimeofday clock_settime adjtimex acct quotactl syslog fanotify_init
"""  # noqa: E501


@dataclass(frozen=True)
class Walls:
    """What stands round a process; `limits` has names of the module resource. Without `name_spaces` the
    user's files stay in reach.
    """

    limits: dict[str, int]
    wall_seconds: float
    name_spaces: bool


def run_isolated(
    action: Callable[[], None], walls: Walls, report: Callable[[dict[str, object]], None]
) -> int:
    """The process id of a child that ends, with the same exit code (128 + that of a signal), when `action`
    has ended in a grandchild.

    `report` takes `{"layers": [...]}` just before the action, or `{"broken": ...}` if a wall could not be put
    up: then nothing runs.
    """
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        die_with_parent()
        if os.getppid() != parent:
            os._exit(_SETUP_FAILED)
        if walls.name_spaces:
            _leave_name_spaces()
        # The first process of the new name space of processes; nothing in it can stop or trace this one
        init = os.fork()
        if init == 0:
            die_with_parent()
            if walls.name_spaces:
                _leave_files()
            program = os.fork()
            if program == 0:
                _run_here(action, walls, report)
            _end_like(program)
        _end_like(init)
    except BaseException as error:  # noqa: BLE001 it is told; nothing of this process may go on above, in a copy of the caller
        report({"broken": f"{type(error).__name__}: {error}"})
        os._exit(_SETUP_FAILED)


def _run_here(
    action: Callable[[], None], walls: Walls, report: Callable[[dict[str, object]], None]
) -> NoReturn:
    die_with_parent()
    os.setsid()  # or a signal to its own group would reach those who watch over it
    # In case that they ended before they could take this one along
    signal.setitimer(signal.ITIMER_REAL, walls.wall_seconds + 1)
    for name, limit in walls.limits.items():
        # Elsewhere the kernel counts all processes of this user
        if name != "RLIMIT_NPROC" or walls.name_spaces:
            resource.setrlimit(getattr(resource, name), (limit, limit))
    _drop_capabilities()
    layers = ["limits on memory, time, files and tasks", "no new privileges"]
    if walls.name_spaces:
        layers.insert(0, f"name spaces ({', '.join(_NAME_SPACES)}) with a read-only root")
    if _refuse_calls():
        layers.append("seccomp")
    report({"layers": layers})
    exit_code = 1
    try:
        action()
        exit_code = 0
    except SystemExit as error:
        exit_code = 0 if error.code is None else error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 as Python itself ends a program
        sys.excepthook(*sys.exc_info())
    finally:
        try:
            sys.stdout.flush()
        finally:
            os._exit(exit_code & 0xFF)


def _end_like(child: int) -> NoReturn:
    _, status = os.waitpid(child, 0)
    exit_code = os.waitstatus_to_exitcode(status)
    os._exit(exit_code if exit_code >= 0 else 128 - exit_code)


def die_with_parent() -> None:
    """The kernel kills this process as soon as its parent has ended."""
    _check(_LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0), "prctl")


def _leave_name_spaces() -> None:
    user, group = os.getuid(), os.getgid()
    _check(_LIBC.unshare(sum(_NAME_SPACES.values())), "unshare")
    die_with_parent()  # new capabilities have cleared it
    for name, content in (
        ("setgroups", "deny"),
        ("uid_map", f"1000 {user} 1"),
        ("gid_map", f"1000 {group} 1"),
    ):
        Path(f"/proc/self/{name}").write_text(content)


def _leave_files() -> None:
    """A new root with what Python needs to read; the old one is out of reach afterwards."""
    installation = [
        sys.prefix,
        sys.base_prefix,
        sys.exec_prefix,
        "/usr",
        "/lib",
        "/lib64",
        "/etc/ld.so.cache",
        "/etc/alternatives",
    ]
    sources = {
        path: os.path.realpath(path)
        for path in [*installation, "/etc/localtime", "/dev/null", "/dev/zero", "/dev/urandom"]
    }
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755,size=1m")
    Path("/tmp/old").mkdir()
    _check(_LIBC.pivot_root(b"/tmp", b"/tmp/old"), "pivot_root")
    os.chdir("/")
    for folder in ("/tmp", "/dev", "/etc"):
        Path(folder).mkdir()
    Path("/dev/shm").symlink_to("/tmp")
    _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, f"mode=755,size={FOLDER_BYTES},nr_inodes=4096")
    for path, source in sorted(sources.items()):
        # One that exists is part of an earlier one
        if not Path(path).exists() and Path(f"/old{source}").exists():
            _bind(f"/old{source}", path)
    _check(_LIBC.umount2(b"/old", _MNT_DETACH), "umount2")
    Path("/old").rmdir()
    _change_mount("/", _AT_RECURSIVE, set_attributes=_ATTR_RDONLY | _ATTR_NOSUID)
    _change_mount("/tmp", 0, clear_attributes=_ATTR_RDONLY)
    os.chdir("/tmp")


def _bind(source: str, path: str) -> None:
    if Path(source).is_dir():
        Path(path).mkdir(parents=True)
    else:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    _mount(source, path, "", _MS_BIND | _MS_REC)


def _mount(source: str, path: str, kind: str, flags: int, options: str = "") -> None:
    _check(
        _LIBC.mount(
            source.encode(), os.fsencode(path), kind.encode(), ctypes.c_ulong(flags), options.encode()
        ),
        f"mount {path}",
    )


def _change_mount(path: str, flags: int, set_attributes: int = 0, clear_attributes: int = 0) -> None:
    attributes = (ctypes.c_uint64 * 4)(set_attributes, clear_attributes, 0, 0)
    _check(
        _LIBC.syscall(
            _MOUNT_SETATTR, _AT_FDCWD, os.fsencode(path), flags, attributes, ctypes.sizeof(attributes)
        ),
        "mount_setattr",
    )


def _drop_capabilities() -> None:
    header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    _check(_LIBC.capset(header, nothing), "capset")
    die_with_parent()
    _check(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


class _Comparison(ctypes.Structure):
    """libseccomp's struct scmp_arg_cmp."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("one", ctypes.c_uint64),
        ("other", ctypes.c_uint64),
    )


def _refuse_calls() -> bool:
    """Whether libseccomp is there; if so, its filter holds for this process from now on."""
    try:
        seccomp = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return False
    seccomp.seccomp_init.restype = ctypes.c_void_p
    rules: list[tuple[str, int, list[_Comparison]]] = [(name, _EPERM, []) for name in _REFUSED_CALLS.split()]
    rules.append(("clone", _EPERM, [_Comparison(0, _MASKED_EQUAL, _CLONE_THREAD, 0)]))
    # Its flags lie in memory, where no filter looks; glibc then takes clone
    rules.append(("clone3", _ENOSYS, []))
    # Its own threads take signals, as for abort()
    rules.append(("tgkill", _EPERM, [_Comparison(0, _NOT_EQUAL, os.getpid(), 0)]))
    rules.append(("socket", _EPERM, [_Comparison(0, _NOT_EQUAL, _AF_UNIX, 0)]))
    context = ctypes.c_void_p(seccomp.seccomp_init(_ALLOW))
    for name, verdict, comparisons in rules:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # negative: this library or this processor does not know it
            array = (_Comparison * len(comparisons))(*comparisons)
            if seccomp.seccomp_rule_add_array(context, verdict, number, len(comparisons), array):
                raise OSError(f"seccomp: no rule for {name}")
    if seccomp.seccomp_load(context):
        raise OSError("seccomp: the filter was not taken")
    return True


def _check(result: int, call: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
