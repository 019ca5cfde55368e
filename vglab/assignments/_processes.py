"""A sandbox's processes: which they are, what they use together, and their end."""

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Usage:
    """Processes, memory that is theirs alone (bytes) and processor time (seconds)."""

    processes: int
    memory: int
    cpu: float


def owned(uid: int) -> set[int]:
    """Find the processes of a user, zombies left out."""
    found = set()
    for pid in (int(path.name) for path in PROC.iterdir() if path.name.isdigit()):
        fields = _status(pid)
        if fields.get("Uid", "").split()[:1] == [str(uid)] and fields["State"][0] not in "ZX":
            found.add(pid)
    return found


def marked(marker: str) -> set[int]:
    """Find the processes that were started with these words in their environment."""
    found = set()
    for pid in (int(path.name) for path in PROC.iterdir() if path.name.isdigit()):
        if marker.encode() in _read(pid, "environ"):
            found.add(pid)
    return found


def tree(pid: int) -> set[int]:
    """Find a process and all that descend from it."""
    if not PROC.joinpath("self").exists():
        import psutil

        try:
            below = psutil.Process(pid).children(recursive=True)
        except psutil.Error:
            return set()
        return {pid, *(process.pid for process in below)}
    found, waiting = set(), [pid]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += children(one)
    return found


def children(pid: int) -> list[int]:
    """Find the processes that one has started."""
    try:
        tasks = os.listdir(PROC / str(pid) / "task")
    except OSError:
        return []
    return [int(word) for task in tasks for word in _read(pid, f"task/{task}/children").split()]


def tasks() -> int:
    """Count the threads of the user who runs this."""
    mine = owned(os.getuid()) if PROC.joinpath("self").exists() else set()
    return sum(int(_status(pid).get("Threads", 0)) for pid in mine)


def measure(pids: Iterable[int], *, exact: bool = False) -> Usage:
    """Add up what processes use; ``exact`` divides a shared page among those who share it."""
    number, memory, cpu = 0, 0, 0.0
    for pid in pids:
        stat = _read(pid, "stat").rpartition(b")")[2].split()
        if len(stat) > 14:
            number += 1
            memory += _shared_fairly(pid) if exact else _memory(_status(pid))
            cpu += sum(map(int, stat[11:15])) / os.sysconf("SC_CLK_TCK")
    return Usage(number, memory, cpu)


def _memory(fields: dict[str, str]) -> int:
    return sum(int(fields[name].split()[0]) for name in ("RssAnon", "RssShmem", "VmSwap")
               if name in fields) * 1024  # fmt: skip


def _shared_fairly(pid: int) -> int:
    text = _read(pid, "smaps_rollup").decode()
    fields = dict(line.split(":", 1) for line in text.splitlines()[1:])
    if not fields:
        return _memory(_status(pid))
    return sum(int(fields[name].split()[0]) for name in ("Pss_Anon", "Pss_Shmem", "SwapPss")
               if name in fields) * 1024  # fmt: skip


def _status(pid: int) -> dict[str, str]:
    lines = _read(pid, "status").decode(errors="replace").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _read(pid: int, name: str) -> bytes:
    try:
        return PROC.joinpath(str(pid), name).read_bytes()
    except OSError:  # ended meanwhile, or another user's
        return b""


def kill_user(uid: int) -> None:
    """Kill all that a user runs, again until nothing is left; for root, on a user made for this."""
    assert uid in range(1, 2**32 - 2)
    for _ in range(100):
        subprocess.run(
            ["/bin/sh", "-c", "kill -9 -1"], user=uid, group=uid, extra_groups=[],
            stderr=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if not owned(uid):
            return
        time.sleep(0.01)


def kill_marked(marker: str, seen: dict[int, str]) -> None:
    """Kill what was started with a marker, and what was seen (process id: when it was started)."""
    for _ in range(100):
        alive = {pid for pid, when in seen.items() if when and started(pid) == when}
        left = marked(marker) | alive
        if not left:
            return
        for one in left | {below for pid in left for below in tree(pid)}:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(one, signal.SIGKILL)
        time.sleep(0.01)


def started(pid: int) -> str:
    """Tell when a process was started, in the kernel's clock ticks; empty if it is dead."""
    stat = _read(pid, "stat").rpartition(b")")[2].split()
    return stat[19].decode() if len(stat) > 19 and stat[0] not in (b"Z", b"X") else ""


def size(folder: Path) -> tuple[int, int]:
    """Count the bytes and the files in a folder whose owner may change it meanwhile."""
    taken = number = 0
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            number += 1
            with suppress(OSError):
                taken += os.lstat(os.path.join(where, name)).st_blocks * 512
    return taken, number
