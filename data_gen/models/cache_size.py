"""How many bytes of keys and values may be kept where the settings do not say it: a share of the memory that
is free when a model has been loaded, and no more than is of use.

With 16 GiB free, a policy whose tokens take 46,080 bytes each (30 layers, 3 heads of 64 numbers, float32)
may keep a quarter, 4 GiB, which is 93,206 tokens; one whose tokens take 1,024 bytes keeps 262,144 of them,
256 MiB.

Several processes know nothing of each other: each counts the memory that is free when it has loaded its
model. Where many share a machine, give them sizes.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# Of the memory that is free: half of it stays for the rows under way and for everything else, also where a
# PRM and an ORM are loaded behind the policy.
POLICY_SHARE = 1 / 4
SCORER_SHARE = 1 / 8
# More of them than this are not read again: work goes on with what was begun last.
MOST_TOKENS = 2**18

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def default_cache_bytes(bytes_per_token: int, share: float, n_free: int) -> int:
    """`share` of `n_free` bytes, and at most what `MOST_TOKENS` take."""
    return min(int(share * n_free), MOST_TOKENS * bytes_per_token)


def free_bytes(device: "torch.device") -> int:
    """Bytes that are free on a device. On the host: what the machine has left, or the process's control group
    if that is less; where neither is known, half of the memory.
    """
    if device.type == "cuda":
        import torch

        return torch.cuda.mem_get_info(device)[0]
    return host_free_bytes(MEMINFO, CGROUP)


def host_free_bytes(meminfo: Path, cgroup: Path) -> int:
    """`free_bytes` of the host, read from these places."""
    known = [n for n in (_available(meminfo), _left_in_group(cgroup)) if n is not None]
    return min(known, default=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)


def _available(meminfo: Path) -> int | None:
    if not meminfo.is_file():
        return None
    sizes = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    available = sizes.get("MemAvailable", "").removesuffix("kB").strip()
    return int(available) * 1024 if available else None


def _left_in_group(cgroup: Path) -> int | None:
    """Of a control group (version 2) with a limit. Its file pages that nobody reads can be had at once."""
    files = [cgroup / name for name in ("memory.max", "memory.current", "memory.stat")]
    if not all(file.is_file() for file in files):
        return None
    limit, used, facts = (file.read_text().strip() for file in files)
    if limit == "max":
        return None
    idle = dict(line.split() for line in facts.splitlines()).get("inactive_file", "0")
    return max(0, int(limit) - int(used) + int(idle))
