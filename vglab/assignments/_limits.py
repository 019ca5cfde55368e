"""What a sandbox may use, and the thread that watches that it does not use more."""

import os
import select
import signal
import threading
import time
from dataclasses import dataclass

from vglab.assignments import _namespaces, _processes
from vglab.assignments._started import Started

TICK = 0.05  # seconds between two looks at what the processes use
TAIL = 4096  # bytes of stderr that are kept
CHUNK = 65536
SPARE = 8  # processes of the wall itself, and some that end just then
TORCH_DATA = 2**30  # bytes mapped to write after importing torch and the rest: 0.7 to 1.0 GB
TORCH_MEMORY = 2**29  # bytes of them in use: 0.3 to 0.5 GB


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
        Beyond what an interpreter with torch takes: of each process by the kernel, of all together
        by a look at them 20 times a second.
    processes
        Processes and threads at one time.
    file_bytes, disk_bytes
        The largest file, and all files together.
    output_bytes
        Written to stderr, or to the channel while nobody asks.
    """

    wall_seconds: float = 600
    cpu_seconds: int = 600
    memory_bytes: int = 2 * 2**30
    processes: int = 64
    file_bytes: int = 64 * 2**20
    disk_bytes: int = 256 * 2**20
    output_bytes: int = 4 * 2**20

    def of_one_process(self) -> dict[str, int]:
        """Give the kernel's limits of each process, by their names without ``RLIMIT_``."""
        return {
            "DATA": self.memory_bytes + TORCH_DATA,
            "FSIZE": self.file_bytes,
            "CPU": int(self.cpu_seconds) + 1,
        }


class Watch:
    """Empties stderr, looks at the limits, ends the process beyond them; ``reason`` says why."""

    def __init__(self, started: Started, limits: Limits):
        self.reason: str | None = None
        self.halted = False
        self.ended = threading.Event()
        self.tail = b""
        self._started, self._limits = started, limits
        self._since = time.monotonic()
        self._lock = threading.Lock()
        self._printed, self._open = 0, True
        assert started.process.stderr is not None
        self._err = started.process.stderr.fileno()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def halt(self, reason: str) -> None:
        """End the process; the first reason counts."""
        with self._lock:
            self.halted = True
            if self.reason is None:
                self.reason = reason
            self._started.kill()

    def join(self) -> None:
        """Wait for the end of the thread."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._attend()
        except Exception as error:
            self.halt(f"the watch over it failed, {type(error).__name__}: {error}")
        finally:
            self.ended.set()

    def _attend(self) -> None:
        poll, look = select.poll(), 0.0
        poll.register(self._err, select.POLLIN)
        while self._started.process.poll() is None:
            if not self._open:
                time.sleep(TICK)
            elif poll.poll(TICK * 1000):
                self._drain()
            if self._printed > self._limits.output_bytes or time.monotonic() >= look:
                excess = self._excess()
                if excess:
                    self.halt(excess)
                look = time.monotonic() + TICK
        with self._lock:
            self._started.kill()
            if self.reason is None:
                self.reason = _end(self._started.process.returncode)
        while self._open and poll.poll(0) and self._printed <= self._limits.output_bytes:
            self._drain()

    def _drain(self) -> None:
        try:
            chunk = os.read(self._err, CHUNK)
        except BlockingIOError:
            return
        self.tail = (self.tail + chunk)[-TAIL:]
        self._open = bool(chunk)
        self._printed += len(chunk)

    def _excess(self) -> str:
        """Name the limit that it exceeds, if any."""
        limits, pids = self._limits, self._started.pids()
        usage = _processes.measure(pids)
        most = limits.memory_bytes + TORCH_MEMORY
        taken, number = self._started.storage()
        if self._printed > limits.output_bytes:
            return f"more than {size(limits.output_bytes)} printed"
        if time.monotonic() - self._since > limits.wall_seconds:
            return f"more than {limits.wall_seconds:g} s"
        if usage.cpu > limits.cpu_seconds:
            return f"more than {limits.cpu_seconds:g} s of processor time"
        if usage.memory > most and _processes.measure(pids, exact=True).memory > most:
            return f"more than {size(limits.memory_bytes)} of memory"
        if usage.processes > limits.processes + SPARE:
            return f"more than {limits.processes} processes"
        if taken > limits.disk_bytes + _namespaces.SHARED:
            return f"more than {size(limits.disk_bytes)} of files"
        return f"more than {_namespaces.INODES} files" if number > _namespaces.INODES else ""


def size(number: int) -> str:
    """Write a number of bytes in words."""
    return f"{number / 2**30:.3g} GB" if number >= 2**30 else f"{number / 2**20:.3g} MB"


def _end(code: int) -> str:
    """Say how a process ended by itself, from its exit status or its shell's."""
    number = -code if code < 0 else code - 128
    if number in {one.value for one in signal.Signals}:
        return f"ended by {signal.Signals(number).name}"
    return f"ended with status {code}"
