"""What a run or a benchmark says of the machine that it ran on."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def machine_name() -> str:
    """Processor, cores and Python of this machine."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip()
            for line in cpuinfo.read_text().splitlines()
            if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def shown_path(folder: Path) -> str:
    """Without the folders above the working directory, which are of no use to a reader of stored figures."""
    path, here = folder.resolve(), Path.cwd().resolve()
    return str(path.relative_to(here)) if path.is_relative_to(here) else f"…/{path.parent.name}/{path.name}"


def code_version(checkout: Path = CHECKOUT) -> str:
    """The version of the package, and the commit where it runs from a checkout of its own: `0.1.0, commit
    1a2b3c4d5e6f`, and whether files of it have changed since.
    """
    words = version("prm-train")
    if not (checkout / ".git").exists():  # an installed package, maybe inside somebody else's checkout
        return words
    commit, changed = (
        _git(checkout, *arguments)
        for arguments in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "-uno"))
    )
    return words if not commit else f"{words}, commit {commit}{', with changes' if changed else ''}"


def _git(checkout: Path, *arguments: str) -> str:
    """What git prints; nothing where there is no git, or it refuses."""
    try:
        run = subprocess.run(
            ["git", "-C", str(checkout), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""
