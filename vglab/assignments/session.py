"""A conversation with a submission in its sandbox: its names, as a test sees them."""

import functools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import vglab
from vglab.assignments import wire
from vglab.assignments.sandbox import Limits, Sandboxed, Stopped

# The grader's own vglab, wherever it comes from: -I leaves out PYTHONPATH.
ROOT = str(Path(vglab.__file__).resolve().parents[1])
BEGIN = (
    f"import sys; sys.path.insert(0, {ROOT!r}); from vglab.assignments.worker import main; main()"
)
COMMAND = (sys.executable, "-I", "-c", BEGIN)
START_SECONDS = 120.0  # to import torch on a busy machine
CALL_SECONDS = 20.0
MESSAGE = 500


@functools.cache
def fonts() -> dict[str, bytes]:
    """Give matplotlib's list of fonts, which each submission would need seconds to make again."""
    import matplotlib
    from matplotlib import font_manager

    lists = Path(matplotlib.get_cachedir()).glob("fontlist*.json") if font_manager else ()
    return {f".cache/matplotlib/{path.name}": path.read_bytes() for path in lists}


class SubmissionError(Exception):
    """What a submission did wrong when it was asked; the message is for its author."""


class Own:
    """A process that runs our own code, without walls and on any system; for `check`."""

    reason: str | None = None

    def __enter__(self) -> Self:
        kept = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        self._process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=kept,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def send(self, line: bytes) -> None:
        """Write a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()

    def receive(self, timeout: float, max_bytes: int) -> bytes:
        """Read a line; raise Stopped where it takes too long or the process ended."""
        assert self._process.stdout is not None
        timer = threading.Timer(timeout, self._process.kill)
        timer.start()
        line = self._process.stdout.readline(max_bytes)
        timer.cancel()
        if not line.endswith(b"\n"):
            self.reason = f"ended, or gave no answer within {timeout:g} s"
            raise Stopped(self.reason)
        return line[:-1]


class NotStarted(RuntimeError):
    """A process ended before it ran anything of a submission, whose fault this cannot be."""


class CellStopped(Stopped):
    """A cell ended the process or ran into a limit; `cell` is its number."""

    def __init__(self, cell: int, reason: str) -> None:
        super().__init__(f"cell {cell}: {reason}")
        self.cell = cell


class Session:
    """A submitted notebook, run in a sandbox, whose names can be asked for.

    Every value that comes out was validated by `vglab.assignments.wire` and is of a plain type; a
    function comes out as a `Function`, whose calls run inside. `errors` holds ``(number, message)``
    of each cell that raised, which does not end the others.

    Parameters
    ----------
    cells
        ``(number, source)`` of each code cell, in order.
    seconds
        Wall time for all cells together.
    limits, kind
        As of `Sandboxed`; the kind "own" has no walls and no limits, for our own code.

    Raises
    ------
    CellStopped
        On entering: a cell ended the process or ran into a limit.
    """

    def __init__(
        self,
        cells: Sequence[tuple[int, str]],
        *,
        seconds: float = 300.0,
        limits: Limits | None = None,
        kind: str | None = None,
    ) -> None:
        self._process: Own | Sandboxed = (
            Own() if kind == "own"
            else Sandboxed(COMMAND, files=fonts(), limits=limits or Limits(), kind=kind)
        )  # fmt: skip
        self._cells, self._seconds = cells, seconds
        self.errors: list[tuple[int, str]] = []

    def __enter__(self) -> Self:
        self._process.__enter__()
        number = 0
        try:
            self._start()
            end = time.monotonic() + self._seconds
            for number, source in self._cells:
                said = self._asked(["run", source], round(max(end - time.monotonic(), 0.1), 1))
                if said:
                    self.errors.append((number, str(said)[:MESSAGE]))
        except BaseException as error:
            self._process.__exit__(None, None, None)
            if isinstance(error, (Stopped, SubmissionError)):
                raise CellStopped(number, str(error)) from None
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.__exit__(kind, error, traceback)

    def _start(self) -> None:
        """Wait until the process answers; it has run nothing of the submission yet."""
        try:
            self._asked(["run", ""], START_SECONDS)
        except (Stopped, SubmissionError) as error:
            said = getattr(self._process, "errors", "").strip()[-MESSAGE:]
            raise NotStarted(f"a process for submissions did not start ({error}). {said}") from None

    def _asked(self, request: list[Any], seconds: float = CALL_SECONDS) -> Any:
        """Ask for one thing; raise SubmissionError where the submission raises or has it not."""
        self._process.send(wire.dumps(request))
        line = self._process.receive(seconds, wire.MAX_BYTES)
        try:
            answer = wire.loads(line)
        except wire.WireError as error:
            raise SubmissionError(f"gave something that is {error}") from None
        match answer:
            case ["value", value]:
                return value
            case ["function", str(name)]:
                return Function(self, name)
            case ["error", str(message)]:
                raise SubmissionError(message[:MESSAGE])
        raise SubmissionError("gave an answer of no known form")

    @property
    def stopped(self) -> bool:
        """Whether the process has ended, so that nothing can be asked any more."""
        return self._process.reason is not None

    def get(self, name: str, default: Any = None) -> Any:
        """Give the value of a name of the notebook: what otter calls the global environment."""
        try:
            return self._asked(["value", name])
        except SubmissionError as error:
            if str(error).startswith("KeyError"):
                raise SubmissionError(f"{name} is not defined") from None
            raise

    def run(self, source: str) -> str:
        """Run another cell; give what it raised, or nothing."""
        return str(self._asked(["run", source]))


class Function:
    """A function of a submission: a call runs inside and gives a plain value, or raises."""

    def __init__(self, session: Session, name: str) -> None:
        self._session, self.__name__ = session, name

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Call it; raise SubmissionError with what it raised."""
        return self._session._asked(["call", self.__name__, list(arguments), keywords])


__all__ = ["COMMAND", "CellStopped", "Function", "Limits", "Session", "Stopped", "SubmissionError"]
