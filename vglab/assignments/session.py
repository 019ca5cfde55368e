"""A conversation with a submission in its sandbox: its names, as a test sees them."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from vglab.assignments import wire
from vglab.assignments.sandbox import Limits, Sandboxed, Stopped

COMMAND = (sys.executable, "-I", "-m", "vglab.assignments.worker")
CALL_SECONDS = 60.0


class SubmissionError(Exception):
    """What a submission did wrong when it was asked; the message is for its author."""


class Session:
    """A submitted notebook, run in a sandbox, whose names can be asked for.

    Every value that comes out was validated by `vglab.assignments.wire` and is of a plain type; a
    function comes out as a `Function`, whose calls run inside.

    Parameters
    ----------
    cells
        ``(number, source)`` of each code cell, run in order; one that raises does not end the rest.
    seconds
        Wall time for all cells together.
    limits, kind
        As of `Sandboxed`.

    Raises
    ------
    Stopped
        On entering: the cells ended the process or hit a limit.
    """

    def __init__(
        self,
        cells: Sequence[tuple[int, str]],
        *,
        seconds: float = 300.0,
        limits: Limits | None = None,
        kind: str | None = None,
    ) -> None:
        self._sandboxed = Sandboxed(COMMAND, limits=limits or Limits(), kind=kind)
        self._cells = [[number, source] for number, source in cells]
        self._seconds = seconds
        self.errors: list[tuple[int, str]] = []

    def __enter__(self) -> Self:
        self._sandboxed.__enter__()
        try:
            answer = self._ask(self._cells, self._seconds)
            self.errors = [(int(number), str(message)) for number, message in answer]
        except BaseException:
            self._sandboxed.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._sandboxed.__exit__(kind, error, traceback)

    def _ask(self, request: Any, seconds: float) -> Any:
        self._sandboxed.send(wire.dumps(request) + b"\n")
        line = self._sandboxed.receive(seconds, wire.MAX_BYTES)
        try:
            return wire.loads(line)
        except wire.WireError as error:
            raise SubmissionError(f"gave something that is {error}") from None

    def request(self, *request: Any) -> Any:
        """Ask for one thing; raise SubmissionError where the submission raises or has it not."""
        answer = self._ask(list(request), CALL_SECONDS)
        match answer:
            case ["value", value]:
                return value
            case ["function", str(name)]:
                return Function(self, name)
            case ["error", str(message)]:
                raise SubmissionError(message)
        raise SubmissionError("gave an answer of no known form")

    def get(self, name: str, default: Any = None) -> Any:
        """Give the value of a name of the notebook: what otter calls the global environment."""
        try:
            return self.request("value", name)
        except SubmissionError as error:
            if str(error).startswith("KeyError"):
                raise SubmissionError(f"{name} is not defined") from None
            raise

    def run(self, source: str) -> str:
        """Run another cell; give what it raised, or nothing."""
        return str(self.request("run", source))


class Function:
    """A function of a submission: a call runs inside and gives a plain value, or raises."""

    def __init__(self, session: Session, name: str) -> None:
        self._session, self.__name__ = session, name

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Call it; raise SubmissionError with what it raised."""
        return self._session.request("call", self.__name__, list(arguments), keywords)


__all__ = ["Function", "Limits", "Session", "Stopped", "SubmissionError"]
