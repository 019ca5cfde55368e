"""One process behind its wall: how it is started, found, weighed and ended."""

import json
import os
import platform
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from vglab.assignments import _namespaces, _processes

PATIENCE = 10  # seconds for the kernel to do what it does in milliseconds
FILES = 256  # open at one time, by one process
UNIX, INET, INET6 = 1, 2, 10


class Started:
    """A process that waits for nobody, and what it takes to be rid of it.

    Parameters
    ----------
    rlimits
        Limits of each process, by their names without ``RLIMIT_``.
    processes, disk
        Limits of all together: number, and bytes of files.
    """

    def __init__(
        self, command: Sequence[str], kind: str, *, files: Mapping[str, bytes],
        visible: Sequence[Path], rlimits: Mapping[str, int], processes: int, disk: int,
    ):  # fmt: skip
        self.kind, self.disk = kind, disk
        self._uid: int | None = None
        self._dead = False
        self._init: int | None = None  # a handle of the namespace's first process
        self._marker = f"SANDBOX={secrets.token_hex(8)}"
        self._seen: dict[int, str] = {}
        self._cleanup = ExitStack()
        try:
            if os.geteuid() == 0:
                held = _namespaces.Uid()
                self._cleanup.callback(held.release)
                self._uid = held.value
            self.home = self._folder() if kind == "none" else _namespaces.HOME
            spec = self._cleanup.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
            told = self._spec(files, {**rlimits, "NPROC": self._tasks() + processes})
            spec.write(json.dumps(told).encode() + b"\n" + b"".join(files.values()))
            spec.seek(0)
            self._start(command, visible, spec.fileno())
        except BaseException:
            self._cleanup.close()
            raise

    def _spec(self, files: Mapping[str, bytes], rlimits: Mapping[str, int]) -> dict[str, Any]:
        walled = self.kind != "none"
        name, _, value = self._marker.partition("=")
        return {
            "home": self.home, "files": [[name, len(content)] for name, content in files.items()],
            "rlimits": {"CORE": 0, "NOFILE": FILES, "MSGQUEUE": 0, "MEMLOCK": 65536, **rlimits},
            "families": [UNIX, INET, INET6] if walled else [],
            "parent": 0 if walled else os.getpid(),
            "environment": {**_namespaces.environment(self.home), name: value},
        }  # fmt: skip

    def _tasks(self) -> int:
        """Count what the limit of processes counts besides: all of one user's, in old kernels."""
        release = tuple(int(part) for part in platform.release().split(".")[:2] if part.isdigit())
        alone = self._uid is not None or (self.kind != "none" and release >= (5, 14))
        return 0 if alone else _processes.tasks()

    def _folder(self) -> str:
        folder = tempfile.mkdtemp(prefix="vglab-")
        self._cleanup.callback(_remove, folder)
        if self._uid is not None:
            os.chown(folder, self._uid, self._uid)
        return folder

    def _start(self, command: Sequence[str], visible: Sequence[Path], spec: int) -> None:
        ready, go = os.pipe()
        accounts = _namespaces.accounts(self._uid) if self.kind == "bubblewrap" else {}
        fds = {path: _told(text) for path, text in accounts.items()}
        python = [sys.executable, "-I", "-S", str(_namespaces.INSIDE), str(spec), str(ready)]
        inside, identity = [*python, *command], {}
        if self.kind != "none":
            inside = _namespaces.command(
                self.kind, self._uid, visible, disk=self.disk, fds=fds, inside=inside
            )
        elif self._uid is not None:
            identity = {"user": self._uid, "group": self._uid, "extra_groups": ()}
        name, _, value = self._marker.partition("=")
        try:
            self.process = subprocess.Popen(
                inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                bufsize=0, pass_fds=(spec, ready, *fds.values()), cwd="/", start_new_session=True,
                env={"PATH": _namespaces.tools(), "LANG": "C.UTF-8", name: value}, **identity,
            )  # type: ignore[call-overload]  # fmt: skip
            self._cleanup.callback(self._close)
            self._find()
        finally:
            for fd in (ready, *fds.values()):
                os.close(fd)
            os.close(go)  # it has waited for this: its end will not be missed

    def _find(self) -> None:
        """Take hold of the namespace's first process before anything of the command has run."""
        until = time.monotonic() + PATIENCE
        while self.kind != "none" and self._init is None and time.monotonic() < until:
            for pid in _processes.children(self.process.pid):
                with suppress(ProcessLookupError):
                    self._init = os.pidfd_open(pid)
                    self.first = pid
            if self._init is None and self.process.poll() is not None:
                return
            time.sleep(0.001)

    def pids(self) -> set[int]:
        """Find its processes now."""
        found = _processes.tree(self.process.pid)
        if self.kind == "none" and self._uid is not None:
            found |= _processes.owned(self._uid)
        elif self.kind == "none":
            self._seen |= {pid: _processes.started(pid) for pid in found - self._seen.keys()}
            found |= {pid for pid, when in self._seen.items() if _processes.started(pid) == when}
        return found

    def storage(self) -> tuple[int, int]:
        """Count bytes and files in its folder."""
        if self.kind == "none":
            return _processes.size(Path(self.home))
        taken = number = 0
        for place in ("tmp", "dev/shm") if self.kind == "bubblewrap" else ("tmp",):
            with suppress(OSError, AttributeError):  # not yet made, or gone
                path = f"/proc/{self.first}/root/{place}"
                if os.stat(path).st_dev != os.stat("/" + place).st_dev:
                    disk = os.statvfs(path)
                    taken += (disk.f_blocks - disk.f_bfree) * disk.f_frsize
                    number += disk.f_files - disk.f_ffree
        return taken, number

    def kill(self) -> None:
        """Kill all of it, and wait until it is dead."""
        if self._dead:
            return
        with suppress(ProcessLookupError):
            if self._init is not None:
                signal.pidfd_send_signal(self._init, signal.SIGKILL)
        if self.kind == "none":
            self.pids()  # notes what may be lost with the one that is over them
            self.process.terminate()  # kills them all
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(2)
        self.process.kill()
        self.process.wait(PATIENCE)
        if self._init is not None:
            end = select.poll()
            end.register(self._init, select.POLLIN)
            if not end.poll(PATIENCE * 1000):
                raise RuntimeError(f"process {self.first} of a sandbox survives being killed")
        if self.kind == "none" and self._uid is not None:
            _processes.kill_user(self._uid)
        elif self.kind == "none":
            _processes.kill_marked(self._marker, self._seen)
        self._dead = True

    def remove(self) -> None:
        """Kill it, and remove all that it has left here."""
        self._cleanup.close()

    def _close(self) -> None:
        self.kill()
        if self._init is not None:
            os.close(self._init)
            self._init = None
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def _told(text: str) -> int:
    """Give an end of a pipe from which a short text can be read."""
    end, start = os.pipe()
    with os.fdopen(start, "w") as pipe:
        pipe.write(text)
    return end


def _remove(folder: str) -> None:
    """Remove a folder however deep, with whatever rights its owner has left."""
    for tool in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
        subprocess.run([*tool, "--", folder], stderr=subprocess.DEVNULL, check=False)
