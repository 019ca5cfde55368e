"""Start a command that is not trusted: behind walls, under limits, with one channel to its grader.

``bubblewrap`` and ``namespaces`` (util-linux's `unshare`) give it a user, file system, process table
and network of its own: it reads the system's programs, the Python environment and `vglab`, writes to
a memory disk that ends with it, and reaches nothing else. ``none``, for `--trusted`, keeps the limits
but not the walls: the process reads and writes whatever its user may; where the grader is root that is
a user without rights, else the instructor. In all three, system calls that a filter refuses make no
network connection (``none``: no socket at all), no namespaces, and no memory that nobody counts.
"""

import functools
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import NoReturn, Self

from vglab.assignments import _namespaces, _processes, _started

KINDS = ("bubblewrap", "namespaces", "none")
TICK = 0.05  # seconds between two looks at what the processes use
TAIL = 4096  # bytes of stderr that are kept
CHUNK = 65536
SPARE = 8  # processes of the wall itself, and some that end just then
TORCH_DATA = (
    2**30
)  # bytes that an interpreter with torch and the rest has mapped to write (0.7 to 1.0)
TORCH_MEMORY = 2**29  # bytes of them that it uses (0.3 to 0.5)


class Unavailable(RuntimeError):
    """This machine cannot isolate a process; the message says what is missing and what to do."""


class Stopped(RuntimeError):
    """The process has ended or was stopped; ``reason`` says why."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Limits:
    """What all processes of one sandbox may use; beyond, it is stopped.

    Parameters
    ----------
    wall_seconds
        From its start to its end.
    cpu_seconds
        Of processor time, of all its processes together.
    memory_bytes
        Beyond what an interpreter with torch takes: for each process by the kernel, for all together
        by a look at them 20 times a second.
    processes
        Processes and threads at one time.
    file_bytes, disk_bytes
        The largest file, and all files together.
    output_bytes
        Written to stderr.
    """

    wall_seconds: float = 600
    cpu_seconds: int = 600
    memory_bytes: int = 2 * 2**30
    processes: int = 64
    file_bytes: int = 64 * 2**20
    disk_bytes: int = 256 * 2**20
    output_bytes: int = 4 * 2**20


@functools.cache
def available() -> str | None:
    """Find the best isolation that works on this machine by starting a process in it, or None."""
    return next((kind for kind in ("bubblewrap", "namespaces") if not problem(kind)), None)


@functools.cache
def problem(kind: str) -> str:
    """Tell why a kind of isolation does not work here; empty if it works."""
    if sys.platform != "linux" and kind != "none":
        return f"needs Linux, this is {sys.platform}"
    lacking = _namespaces.missing(kind) if kind != "none" else []
    if lacking:
        return f"{', '.join(lacking)} not found"
    box = Sandboxed([sys.executable, "-I", "-S", "-c", "print('ready')"], kind=kind)
    try:
        with box:
            return "" if box.receive(30, 100) == b"ready" else "does not answer"
    except (Stopped, Unavailable, OSError) as error:
        return (box.errors.strip().splitlines() or [str(error)])[-1]


class Sandboxed:
    """A process that is not trusted, started on entering the context, gone on leaving it.

    Its standard input and output are the channel: lines of bytes. Leave the context in the thread
    that entered it: the kernel kills the process when that thread ends.

    Parameters
    ----------
    command
        Program and arguments; the program by its full path.
    files
        Put into its working directory before it starts: contents by relative name.
    visible
        More files and folders that it may read, at their own places.
    kind
        One of `KINDS`; None takes the best that works here.

    Raises
    ------
    Unavailable
        ``kind`` is None and no isolation works here.
    ValueError
        An unknown kind, or a file's name that leads out of the directory.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        files: Mapping[str, bytes] | None = None,
        visible: Sequence[Path] = (),
        limits: Limits = Limits(),
        kind: str | None = None,
    ):
        chosen = kind or available()
        if chosen is None:
            raise Unavailable(_explain())
        if chosen not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {chosen!r}")
        self.files = dict(files or {})
        for name in self.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise ValueError(
                    f"files need a name relative to the working directory, got {name!r}"
                )
        self.command, self.visible = list(command), tuple(visible)
        self.kind, self.limits = chosen, limits
        self.reason: str | None = None
        self._stopped = False
        self._tail, self._buffer = bytearray(), bytearray()
        self._lock = threading.Lock()
        self._ended = threading.Event()

    @property
    def errors(self) -> str:
        """The end of what it wrote to stderr."""
        return self._tail.decode(errors="replace")

    def __enter__(self) -> Self:
        limits = self.limits
        rlimits = {
            "DATA": limits.memory_bytes + TORCH_DATA, "FSIZE": limits.file_bytes,
            "CPU": int(limits.cpu_seconds) + 1,
        }  # fmt: skip
        try:
            self._started = _started.Started(
                self.command, self.kind, files=self.files, visible=self.visible, rlimits=rlimits,
                processes=limits.processes, disk=limits.disk_bytes,
            )  # fmt: skip
        except PermissionError:
            raise Unavailable(
                "root becomes another user to run a submission, and that user cannot read the "
                f"Python environment in {sys.base_prefix}; let all read it (chmod o+rx), or move it"
            ) from None
        self._since = time.monotonic()
        self._process = self._started.process
        streams = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._in, self._out, self._err = (stream.fileno() for stream in streams if stream)
        for fd in (self._in, self._out, self._err):
            os.set_blocking(fd, False)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.stop()

    def stop(self) -> None:
        """End it, wait until all its processes are dead, and remove its folder."""
        self._halt("stopped by the grader")
        self._watcher.join()
        self._started.remove()

    def send(self, line: bytes) -> None:
        """Write one line to its standard input; ``line`` comes without the end of the line.

        Raises
        ------
        Stopped
            It has ended, or writes without end instead of reading.
        """
        if b"\n" in line:
            raise ValueError("one line at a time, got a line that has an end of line inside")
        left = memoryview(line + b"\n")
        while left:
            events = self._ready({self._in: select.POLLOUT, self._out: select.POLLIN})
            if self._out in events:
                self._read()
                if len(self._buffer) > self.limits.output_bytes:
                    self._halt(f"more than {_size(self.limits.output_bytes)} written unasked")
            if self._in in events:
                try:
                    left = left[os.write(self._in, left[:CHUNK]) :]
                except BlockingIOError:
                    continue
                except BrokenPipeError:
                    self._over()

    def receive(self, timeout: float, max_bytes: int) -> bytes:
        """Read one line from its standard output, without the end of the line.

        Raises
        ------
        Stopped
            No whole line came within ``timeout`` seconds, or one of more than ``max_bytes``: then
            it is stopped; or it has ended before.
        """
        until, looked = time.monotonic() + timeout, 0
        while (end := self._buffer.find(b"\n", looked)) < 0 and len(self._buffer) <= max_bytes:
            looked = len(self._buffer)
            if self._ready({self._out: select.POLLIN}):
                self._read()
            elif time.monotonic() > until:
                self._halt(f"no answer within {timeout:g} s")
        if not 0 <= end <= max_bytes:
            self._halt(f"an answer of more than {_size(max_bytes)}")
            self._over()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _ready(self, wanted: Mapping[int, int]) -> set[int]:
        """Wait a moment for any of these; raise where it was stopped."""
        if self._stopped:
            self._over()
        poll = select.poll()
        for fd, event in wanted.items():
            poll.register(fd, event)
        return {fd for fd, _ in poll.poll(TICK * 1000)}

    def _read(self) -> None:
        with suppress(BlockingIOError):
            chunk = os.read(self._out, CHUNK)
            self._buffer += chunk
            if not chunk:
                self._over()

    def _over(self) -> NoReturn:
        """Say why there is no channel any more."""
        if not self._ended.wait(1):
            self._halt("closed its channel")
        self._ended.wait()
        raise Stopped(self.reason or "")

    def _halt(self, reason: str) -> None:
        with self._lock:
            self._stopped = True
            if self.reason is None:
                self.reason = reason
            self._started.kill()

    def _watch(self) -> None:
        """Empty stderr, look at the limits, note the end."""
        try:
            self._attend()
        except Exception as error:
            self._halt(f"the watch over it failed, {type(error).__name__}: {error}")
        finally:
            self._ended.set()

    def _attend(self) -> None:
        poll, printed, look, open_ = select.poll(), 0, 0.0, True
        poll.register(self._err, select.POLLIN)
        while self._process.poll() is None:
            if not open_:
                time.sleep(TICK)
            elif poll.poll(TICK * 1000):
                open_, printed = self._drain(printed)
            if printed > self.limits.output_bytes or time.monotonic() >= look:
                excess = self._excess(printed)
                if excess:
                    self._halt(excess)
                look = time.monotonic() + TICK
        with self._lock:
            self._started.kill()
            if self.reason is None:
                self.reason = _end(self._process.returncode)
        while open_ and poll.poll(0) and printed <= self.limits.output_bytes:
            open_, printed = self._drain(printed)

    def _drain(self, printed: int) -> tuple[bool, int]:
        try:
            chunk = os.read(self._err, CHUNK)
        except BlockingIOError:
            return True, printed
        self._tail = (self._tail + chunk)[-TAIL:]
        return bool(chunk), printed + len(chunk)

    def _excess(self, printed: int) -> str:
        """Name the limit that it exceeds, if any."""
        limits, pids = self.limits, self._started.pids()
        usage = _processes.measure(pids)
        most = limits.memory_bytes + TORCH_MEMORY
        taken, number = self._started.storage()
        if printed > limits.output_bytes:
            return f"more than {_size(limits.output_bytes)} printed"
        if time.monotonic() - self._since > limits.wall_seconds:
            return f"more than {limits.wall_seconds:g} s"
        if usage.cpu > limits.cpu_seconds:
            return f"more than {limits.cpu_seconds:g} s of processor time"
        if usage.memory > most and _processes.measure(pids, exact=True).memory > most:
            return f"more than {_size(limits.memory_bytes)} of memory"
        if usage.processes > limits.processes + SPARE:
            return f"more than {limits.processes} processes"
        if taken > limits.disk_bytes + _namespaces.LOCAL:
            return f"more than {_size(limits.disk_bytes)} of files"
        return f"more than {_namespaces.INODES} files" if number > _namespaces.INODES else ""


def _size(number: int) -> str:
    return f"{number / 2**30:.3g} GB" if number >= 2**30 else f"{number / 2**20:.3g} MB"


def _end(code: int) -> str:
    """Say how a process ended by itself, from its exit status or its shell's."""
    number = -code if code < 0 else code - 128
    if number in {one.value for one in signal.Signals}:
        return f"ended by {signal.Signals(number).name}"
    return f"ended with status {code}"


def _explain() -> str:
    why = "; ".join(f"{kind}: {problem(kind)}" for kind in KINDS[:2])
    return (
        f"this machine cannot isolate a submission ({why}). Install bubblewrap on a Linux where "
        "user namespaces are allowed. --trusted grades without isolation: a submission can then "
        "read what you can read, or what an unprivileged user can read where you are root"
    )
