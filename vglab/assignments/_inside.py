"""The last step into the sandbox, run inside it: files, limits, refused system calls, then exec.

Runs alone, as ``python -I -S _inside.py FD GO command…``: it imports nothing of `vglab`, for it
starts before every submission. ``FD`` holds one line of JSON, then the bytes of the files one after
another; the end of ``GO`` says that the grader is ready.
"""

import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys
import time
from contextlib import suppress
from typing import Any

# System calls refused (with EPERM), by name: number on x86_64, number on aarch64. They make kernel
# objects that no limit counts (segments, message queues, keys), hold memory that no process maps
# (memfd), look into other processes, or make namespaces and mounts.
REFUSED = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "syslog": (103, 116), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442),
}  # fmt: skip
MISSING = {"clone3": (435, 435), "io_uring_setup": (425, 425)}  # ENOSYS: libraries then do without
CLONE, SOCKET = (56, 220), (41, 198)
NAMESPACES = 0x7E020000  # the CLONE_NEW… flags
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column, AUDIT_ARCH_…
UNIX, INET, INET6 = 1, 2, 10
EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # classic BPF
KILL, ERRNO, ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
SET_DEATH_SIGNAL, SET_SECCOMP, SET_SUBREAPER, SET_NO_NEW_PRIVS, FILTER = 1, 22, 36, 38, 2


def main() -> None:
    """Read what to do, do it, become the command."""
    fd, go, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    os.read(go, 1)
    os.close(go)
    with os.fdopen(fd, "rb") as told:
        spec = json.loads(told.readline())
        os.umask(0o077)
        os.makedirs(spec["home"], exist_ok=True)
        os.chdir(spec["home"])
        for name, size in spec["files"]:
            os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
            with open(name, "wb") as file:
                file.write(told.read(size))
    os.closerange(3, 1024)
    _limit(spec)
    if sys.platform == "linux":
        _refuse(spec["families"])
        if spec["parent"]:
            _supervise(spec["parent"], spec["home"])
    os.execve(command[0], command, spec["environment"])


def _limit(spec: dict[str, Any]) -> None:
    """Set each limit, soft and hard, and come first where memory or the processor runs short."""
    for name, value in spec["rlimits"].items():
        which = getattr(resource, f"RLIMIT_{name}", None)
        if which is not None:
            hard = resource.getrlimit(which)[1]
            low = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(which, (low, low))
    os.nice(5)
    if os.path.exists("/proc/self/oom_score_adj"):
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("1000")


def _supervise(parent: int, home: str) -> None:
    """Go on in a child; when it ends, on SIGTERM, or when the grader is gone, kill all below it.

    Only where no process table of its own ends with the command. The kernel tells by SIGHUP that
    the grader is gone; it cannot remove the folder any more, so this does.
    """
    told: list[int] = []

    def end(number: int, _: object) -> None:
        told.append(number)
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    _prctl(SET_DEATH_SIGNAL, signal.SIGHUP)
    if os.getppid() != parent:
        sys.exit("the grader is gone")
    _prctl(SET_SUBREAPER, 1)
    child = os.fork()
    if child == 0:
        return
    try:
        for fd in (0, 1):
            os.dup2(os.open(os.devnull, os.O_RDWR), fd)
        ended, status = os.wait()
        while ended != child:
            ended, status = os.wait()
        code = os.waitstatus_to_exitcode(status)
        sys.exit(code if code >= 0 else 128 - code)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _kill_below()
        if signal.SIGHUP in told or os.getppid() != parent:
            tidy = 'cd /; chmod -R u+rwX -- "$0"; exec rm -rf -- "$0"'
            os.execv("/bin/sh", ["sh", "-c", tidy, home])


def _kill_below() -> None:
    """Stop all descendants, so that none makes new ones, then kill them, until there are none."""
    until = time.monotonic() + 5
    while (below := _below(os.getpid())) and time.monotonic() < until:
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in below:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _below(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as children:
                found += map(int, children.read().split())
    return found + [one for child in found for one in _below(child)]


def _refuse(families: list[int]) -> None:
    """Load the filter of system calls; what follows, and all its children, cannot take it off."""
    _prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    code = b"".join(struct.pack("HBBI", *step) for step in program(platform.machine(), families))
    held = ctypes.create_string_buffer(code, len(code))
    _prctl(SET_SECCOMP, FILTER, struct.pack("HP", len(code) // 8, ctypes.addressof(held)))


def program(machine: str, families: list[int]) -> list[tuple[int, int, int, int]]:
    """Write the filter: (operation, steps to skip if true, if false, operand)."""
    if machine not in ARCHITECTURES:
        sys.exit(f"no filter of system calls for {machine}; known: {', '.join(ARCHITECTURES)}")
    column, architecture = ARCHITECTURES[machine]
    steps = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, KILL)]
    steps += [(LOAD, 0, 0, 0)]
    steps += [(AT_LEAST, 0, 1, 0x40000000), (RETURN, 0, 0, KILL)]  # x32: other numbers
    for number in REFUSED.values():
        steps += [(EQUAL, 0, 1, number[column]), (RETURN, 0, 0, ERRNO | EPERM)]
    for number in MISSING.values():
        steps += [(EQUAL, 0, 1, number[column]), (RETURN, 0, 0, ERRNO | ENOSYS)]
    steps += [(EQUAL, 0, 4, CLONE[column]), (LOAD, 0, 0, 16), (ANY_BIT, 0, 1, NAMESPACES)]
    steps += [(RETURN, 0, 0, ERRNO | EPERM), (RETURN, 0, 0, ALLOW)]
    steps += [(EQUAL, 0, 2 + 2 * len(families), SOCKET[column]), (LOAD, 0, 0, 16)]
    for family in families:
        steps += [(EQUAL, 0, 1, family), (RETURN, 0, 0, ALLOW)]
    return [*steps, (RETURN, 0, 0, ERRNO | EAFNOSUPPORT), (RETURN, 0, 0, ALLOW)]


def _prctl(*arguments: Any) -> None:
    values = [a if isinstance(a, bytes) else ctypes.c_ulong(a) for a in arguments]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(*values) != 0:
        sys.exit(f"prctl {arguments[0]}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main()
