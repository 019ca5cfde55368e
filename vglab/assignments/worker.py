"""Run a submission's cells and answer its grader's questions: what runs inside the sandbox.

The grader sends one JSON value a line, ``["run", source]``, ``["value", name]`` or
``["call", name, arguments, keywords]``, and gets one back: ``["value", …]``, ``["function", name]``
or ``["error", message]``. Nothing here is trusted by the grader: a submission may change all of it,
and gains only the right to answer for itself.
"""

import os
from collections.abc import Mapping
from typing import Any, BinaryIO

from vglab.assignments import wire

MESSAGE = 500


def main() -> None:
    """Serve one grader over the standard streams, which a submission then no longer has."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    shell = _shell()
    for line in requests:
        _send(answers, answer(shell, wire.loads(line, functions=True)))


def _shell() -> Any:
    """Start an IPython that keeps no history and shows nothing, for magics and ``!`` to work."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    for name in ("showtraceback", "showsyntaxerror", "enable_gui"):
        setattr(shell, name, lambda *_, **__: None)
    return shell


def _run(shell: Any, source: str) -> str:
    done = shell.run_cell(source, store_history=False)
    error = done.error_before_exec or done.error_in_exec
    return "" if error is None else describe(error)


def answer(shell: Any, request: list[Any]) -> list[Any]:
    """Answer one request from the names that the cells have defined."""
    names: Mapping[str, Any] = shell.user_ns
    try:
        what, name, *arguments = request
        if what == "run":
            return ["value", _run(shell, name)]
        found = names[name]
        if what == "value":
            return ["value", found] if not _is_function(found) else ["function", name]
        return ["value", found(*arguments[0], **arguments[1])]
    except BaseException as error:
        return ["error", describe(error)]


def _is_function(found: Any) -> bool:
    from torch import nn

    return callable(found) and not isinstance(found, nn.Module)


def describe(error: BaseException) -> str:
    """Name an exception and what it said, in one line of bounded length."""
    try:
        text = f"{type(error).__name__}: {error}".replace("\n", " ")
    except BaseException:
        text = type(error).__name__
    return text if len(text) <= MESSAGE else f"{text[: MESSAGE - 1]}…"


def _send(answers: BinaryIO, value: Any) -> None:
    try:
        line = wire.dumps(value)
    except Exception as error:
        line = wire.dumps(["error", describe(error)])
    answers.write(line + b"\n")
    answers.flush()


if __name__ == "__main__":
    main()
