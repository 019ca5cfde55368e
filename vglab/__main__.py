"""``python -m vglab diagnose package.module:factory`` and ``python -m vglab assignments``."""

import argparse
import importlib
import os
import sys
from typing import Any

from vglab.assignments import command as assignments
from vglab.diagnose import Diagnosis, diagnose

STATUS = {"healthy": 0, "vanishing": 1, "exploding": 1, "dead": 1, "invalid": 1}
FAILED = 2


class _UsageError(Exception):
    """What the user gave cannot be diagnosed; the message says why."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its status (of `diagnose` 0 healthy, 1 sick, 2 where nothing ran)."""
    parser = argparse.ArgumentParser(prog="python -m vglab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "diagnose",
        help="say which layers' gradients vanish, why, and what to change",
        description=(
            "Call FACTORY and diagnose the (model, inputs, targets) or (model, inputs, targets, "
            "loss) that it returns. Exit status: 0 healthy; 1 vanishing, exploding, dead or "
            "invalid; 2 where nothing could be diagnosed."
        ),
    )
    command.add_argument(
        "factory", metavar="package.module:factory", help="a function without arguments"
    )
    command.add_argument("--layers", action="store_true", help="print the table of layers too")
    assignments.add(commands)
    given = parser.parse_args(arguments)
    if given.command == "assignments":
        return assignments.main(given)
    try:
        result = _diagnose(given.factory)
    except _UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    print(result)
    if given.layers:
        print()
        print(result.layers.to_string(float_format=lambda value: f"{value:.3g}", na_rep=""))
    return STATUS[result.verdict]


def _diagnose(path: str) -> Diagnosis:
    name, _, function = path.partition(":")
    if not name or not function:
        raise _UsageError(f"expected package.module:factory, got {path!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(name)
    except Exception as error:
        hint = " (give a module's name, not a file's)" if name.endswith(".py") else ""
        raise _UsageError(f"cannot import {name}: {type(error).__name__}: {error}{hint}") from error
    factory: Any = module
    for part in function.split("."):
        factory = getattr(factory, part, None)
    if not callable(factory):
        raise _UsageError(f"{name} has no function {function}")
    try:
        made = factory()
    except Exception as error:
        raise _UsageError(f"{path} raised {type(error).__name__}: {error}") from error
    if not isinstance(made, tuple) or len(made) not in (3, 4):
        got = f"{len(made)} values" if isinstance(made, tuple) else type(made).__name__
        raise _UsageError(f"{path} must return (model, inputs, targets[, loss]), got {got}")
    try:
        return diagnose(*made[:3], loss=made[3] if len(made) == 4 else None)
    except Exception as error:
        notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", []))
        raise _UsageError(f"{type(error).__name__}: {error}{notes}") from error


if __name__ == "__main__":
    sys.exit(main())
