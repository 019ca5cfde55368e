"""Start a command that is not trusted: walled in, limited, with one channel to its grader.

``bubblewrap`` and ``namespaces`` (util-linux's `unshare`) give it a user, a file system, processes
and a network of its own: it reads the system's programs, the Python environment and `vglab`, writes
to a disk in memory that ends with it, and reaches nothing else. ``none``, for `--trusted`, keeps
the limits but not the walls: it reads and writes whatever its user may. That user has no rights
where the grader is root, and is the instructor elsewhere, whose files, processes and settings it
may change then, and end what watches over it. In all three a filter of system calls refuses
networks (``none``: sockets), namespaces, debugging and memory that nobody counts.

What no wall here can give: protection against a fault of the kernel, or a limit on the kernel's own
memory (buffers of pipes and sockets; bounded by processes times open files).
"""

import functools
import os
import select
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import NoReturn, Self

from vglab.assignments import _namespaces, _started
from vglab.assignments._limits import CHUNK, TICK, Watch, size
from vglab.assignments._limits import Limits as Limits

KINDS = ("bubblewrap", "namespaces", "none")


class Unavailable(RuntimeError):
    """No process can be isolated here; the message says what is missing and what to do."""


class Stopped(RuntimeError):
    """The process has ended or was stopped; ``reason`` says why."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


@functools.cache
def available() -> str | None:
    """Find the best isolation that works here by starting a process in it; None if none does."""
    return next((kind for kind in KINDS[:2] if not problem(kind)), None)


@functools.cache
def problem(kind: str) -> str:
    """Tell why a kind of isolation does not work here; empty if it works."""
    if sys.platform != "linux" and kind != "none":
        return f"needs Linux, not {sys.platform}"
    lacking = _namespaces.missing(kind) if kind != "none" else []
    if lacking:
        return f"{', '.join(lacking)} not found"
    box = Sandboxed([sys.executable, "-I", "-S", "-c", "print('ready')"], kind=kind)
    try:
        with box:
            return "" if box.receive(30, 100) == b"ready" else "gives no answer"
    except (Stopped, Unavailable, OSError) as error:
        return (box.errors.strip().splitlines() or [str(error)])[-1]


class Sandboxed:
    """A process that is not trusted, started on entering the context and gone on leaving it.

    Its standard input and output are the channel, in lines of bytes. Leave the context in the
    thread that entered it: the kernel ends the process when that thread ends.

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
        limits: Limits = Limits(),  # noqa: B008  frozen
        kind: str | None = None,
    ):
        chosen = kind or available()
        if chosen is None:
            raise Unavailable(_explain())
        if chosen not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {chosen!r}")
        self.kind, self.limits = chosen, limits
        self._command, self._visible, self._files = list(command), tuple(visible), dict(files or {})
        for name in self._files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise ValueError(f"a file's name must lead into the directory, got {name!r}")
        self._buffer = bytearray()
        self._watch: Watch | None = None

    @property
    def reason(self) -> str | None:
        """Why it has ended; None while it runs."""
        return self._watch.reason if self._watch else None

    @property
    def errors(self) -> str:
        """The end of what it wrote to stderr."""
        return self._watch.tail.decode(errors="replace") if self._watch else ""

    def __enter__(self) -> Self:
        if os.name != "posix":
            raise Unavailable("a submission cannot be limited on Windows; use Linux, or WSL")
        try:
            self._started = _started.Started(
                self._command, self.kind, files=self._files, visible=self._visible,
                rlimits=self.limits.of_one_process(), processes=self.limits.processes,
                disk=self.limits.disk_bytes,
            )  # fmt: skip
        except PermissionError:
            raise Unavailable(
                "root becomes another user to run a submission, and that user cannot read the "
                f"Python environment in {sys.base_prefix}; let all read it (chmod o+rx), or move it"
            ) from None
        process = self._started.process
        streams = (process.stdin, process.stdout, process.stderr)
        self._in, self._out, error = (stream.fileno() for stream in streams if stream)
        for fd in (self._in, self._out, error):
            os.set_blocking(fd, False)
        self._watch = Watch(self._started, self.limits)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.stop()

    def stop(self) -> None:
        """End it, wait until all its processes are dead, and remove its folder."""
        if self._watch is not None:
            self._watch.halt("stopped by the grader")
            self._watch.join()
            self._started.remove()

    def send(self, line: bytes) -> None:
        """Write a line, with or without its end, to the process's standard input.

        Raises
        ------
        Stopped
            It has ended, or writes without end instead of reading.
        """
        line = line.removesuffix(b"\n")
        if b"\n" in line:
            raise ValueError("expected one line, got several")
        left = memoryview(line + b"\n")
        while left:
            events = self._ready({self._in: select.POLLOUT, self._out: select.POLLIN})
            if self._out in events:
                self._read()
                if len(self._buffer) > self.limits.output_bytes:
                    self._halt(f"more than {size(self.limits.output_bytes)} answered unasked")
            if self._in in events:
                try:
                    left = left[os.write(self._in, left[:CHUNK]) :]
                except BlockingIOError:
                    continue
                except BrokenPipeError:
                    self._over()

    def receive(self, timeout: float, max_bytes: int) -> bytes:
        """Read a line, without its end, from the process's standard output.

        Raises
        ------
        Stopped
            It has ended before; or no line came within ``timeout`` seconds or ``max_bytes``, and it
            was stopped for that.
        """
        until, looked = time.monotonic() + timeout, 0
        while (end := self._buffer.find(b"\n", looked)) < 0 and len(self._buffer) <= max_bytes:
            looked = len(self._buffer)
            if self._ready({self._out: select.POLLIN}):
                self._read()
            if time.monotonic() > until:
                self._halt(f"no answer within {timeout:g} s")
        if not 0 <= end <= max_bytes:
            self._halt(f"an answer of more than {size(max_bytes)}")
            self._over()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _halt(self, reason: str) -> None:
        assert self._watch is not None
        self._watch.halt(reason)

    def _ready(self, wanted: Mapping[int, int]) -> set[int]:
        """Wait a moment for any of these; raise where it was stopped."""
        if self._watch is None or self._watch.halted:
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
        if self._watch is None:
            raise Stopped("not started")
        if not self._watch.ended.wait(1):
            self._watch.halt("closed its channel")
        self._watch.ended.wait()
        raise Stopped(self._watch.reason or "")


def _explain() -> str:
    why = "; ".join(f"{kind}: {problem(kind)}" for kind in KINDS[:2])
    return (
        f"this machine cannot isolate a submission ({why}). Install bubblewrap, on a Linux that "
        "allows user namespaces. --trusted grades without isolation: a submission can then read "
        "and change what you can, or what any user can where you are root"
    )
