"""Colab's versions, and the book under them.

    python constraints/colab.py constraints LIST [--date YYYY-MM-DD]
    python constraints/colab.py run [--venv DIR] [--costs] [--only CHAPTER …]

`constraints` takes from a published `pip freeze` of Colab's image (googlecolab/backend-info,
`pip-freeze.txt`; `-` reads standard input) what concerns this project, into `colab.txt`.
`run` installs exactly that, runs the chapters' first cell in a kernel that looks like Colab,
shows that it moved no version, then runs the package's tests and every chapter there, each by
itself, and compares what comes out with what is stored (`chapters.py`). The first chapter of each
part begins without `vglab`, as a reader's does. `--costs` skips the tests and writes what each
chapter took into `costs.json`; `--only` runs no more than the chapters it names. What it tests is
the last commit. Nothing but the standard library and git is needed beforehand.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from urllib.parse import unquote

from costs import cost, write_costs

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".txt")
CELL = Path(__file__).with_name("cell.py")
CHAPTERS = Path(__file__).with_name("chapters.py")
# Colab's kernel and installer, and what decides whether the package's dependencies fit together.
IMAGE = (
    "ipykernel", "ipython", "jupyter-client", "nbclient", "nbformat", "numba", "pillow", "pip",
    "pytest", "pyzmq", "scipy", "tornado", "traitlets",
)  # fmt: skip
LACKING = {"captum", "lime", "palmerpenguins", "vglab"}
TOOLS = ("hypothesis",)  # what the tests need and Colab lacks


class ColabError(Exception):
    """Something that would go wrong for a reader in Colab, or that kept us from finding out."""


def normalised(name: str) -> str:
    """Return a distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def versions(freeze: str) -> dict[str, str]:
    """Read the versions in a `pip freeze`, wheels that came from an address included."""
    pinned = re.findall(r"^([\w.-]+)==([^\s;]+)", freeze, re.M)
    wheels = re.findall(r"^([\w.-]+) @ \S*/[^/\s-]+-([^/\s-]+)-\S*\.whl", freeze, re.M)
    return {normalised(name): unquote(version).split("+")[0] for name, version in pinned + wheels}


def pins(path: Path) -> dict[str, str]:
    """Read the versions in a file of requirements."""
    return versions(path.read_text(encoding="utf-8"))


def constraints(freeze: str, published: date) -> str:
    """Write the constraints that hold what concerns this project of a published `pip freeze`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = {normalised(re.split(r"[^\w.-]", line)[0]) for line in project["dependencies"]}
    held = versions(freeze)
    missing = (direct | set(IMAGE)) - LACKING - held.keys()
    python = re.search(r"-cp3(\d+)-", freeze)
    if missing or python is None:
        raise ColabError(f"no list of Colab's: no Python's tag, or without {sorted(missing)}")
    lines = [
        f"# Colab (Python 3.{python[1]}), as published on {published}: what concerns vglab.",
        "# Made by `python constraints/colab.py constraints`; read anew every week.",
        *(f"{name}=={held[name]}" for name in sorted((direct | set(IMAGE)) & held.keys())),
    ]
    return "\n".join(lines) + "\n"


def call(
    command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> str:
    """Run a command and return what it printed; ColabError where it fails."""
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise ColabError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def environment(folder: Path) -> tuple[Path, list[str]]:
    """Install Colab's versions below `folder`; return its Python and what could not be had."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        call([sys.executable, "-m", "venv", folder])
    wanted, unavailable = [f"{name}=={version}" for name, version in pins(LIST).items()], []
    while True:
        try:
            call([python, "-m", "pip", "install", "-qq", "--only-binary", ":all:", *wanted])
        except ColabError as error:
            lost = re.search(r"No matching distribution found for (\S+==\S+)", str(error))
            if lost is None or lost[1] not in wanted:
                raise
            unavailable.append(lost[1])
            wanted[wanted.index(lost[1])] = lost[1].split("==")[0]
        else:
            call([python, "-m", "pip", "uninstall", "-qq", "--yes", *sorted(LACKING)])
            return python, unavailable


def frozen(python: Path) -> dict[str, str]:
    """Return every distribution of an environment, and its version or origin."""
    listed = json.loads(call([python, "-m", "pip", "list", "--format=json"]))
    return {normalised(entry["name"]): entry["version"] for entry in listed}


def colab(folder: Path, checkout: Path) -> dict[str, str]:
    """Make what a kernel needs to look like Colab below `folder`; return its environment.

    `google.colab` is there and imported; the project's address leads to `checkout`.
    """
    package = folder / "modules" / "google" / "colab" / "__init__.py"
    startup = folder / "ipython" / "profile_default" / "startup" / "colab.py"
    for path, text in ((package, ""), (startup, "import google.colab\n")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    config = (checkout / "_config.yml").read_text(encoding="utf-8")
    address = re.search(r"^repository:\n(?:\s+.*\n)*?\s+url:\s*(\S+)", config, re.M)
    if address is None:
        raise ColabError("_config.yml holds no repository.url")
    kept = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    return kept | {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{checkout.as_posix()}.insteadOf",
        "GIT_CONFIG_VALUE_0": address[1],
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # a kernel of Colab's age warns on every start
        "PYTHONPATH": str(folder / "modules"),
        "PYTHONSAFEPATH": "1",  # the installed package is tested, not the folder at hand
    }


def first_cells(checkout: Path) -> dict[str, list[Path]]:
    """Return the chapters by the source of their first code cell."""
    found: dict[str, list[Path]] = {}
    for path in sorted(checkout.glob("book/**/*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        first = next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        found.setdefault(first, []).append(path)
    return found


def moved(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """List the versions that changed, went, or came unasked, and what should have come."""
    changes = [
        f"{name}: {version} became {after.get(name, 'missing')}"
        for name, version in before.items()
        if after.get(name) != version
    ]
    unasked = after.keys() - before.keys() - LACKING
    changes += [f"{name}: came unasked" for name in sorted(unasked)]
    return changes + [f"{name}: is missing" for name in sorted(LACKING - after.keys())]


def setup(python: Path, env: Mapping[str, str], checkout: Path) -> None:
    """Run the chapters' first cell, word for word, and report what it changed."""
    sources = first_cells(checkout)
    if len(sources) != 1:
        raise ColabError(f"the chapters have {len(sources)} different first cells, expected one")
    before = frozen(python)
    for source in sources:
        call([python, CELL, source], env=env, cwd=checkout / "book")
    after = frozen(python)
    problems = moved(before, after)
    check = subprocess.run([python, "-m", "pip", "check"], capture_output=True, text=True)
    problems += [line for line in check.stdout.splitlines() if line.startswith("vglab ")]
    if problems:
        raise ColabError("the first cell:\n" + "\n".join(problems))
    added = ", ".join(f"{name} {after[name]}" for name in sorted(LACKING))
    print(f"first cell: {len(before)} versions stayed; added {added}", flush=True)


def package_tests(python: Path, env: Mapping[str, str], checkout: Path, scratch: Path) -> bool:
    """Run the package's tests; return whether they passed."""
    (scratch / "held.txt").write_text("\n".join(f"{n}=={v}" for n, v in frozen(python).items()))
    tools = [f"{name}=={pins(ROOT / 'requirements.txt')[name]}" for name in TOOLS]
    held = ["--constraint", str(scratch / "held.txt")]
    call([python, "-m", "pip", "install", "-qq", *held, *tools])
    arguments = ["-q", "-p", "no:cacheprovider", "tests", "--ignore=tests/book"]
    command = [str(python), "-m", "pytest", *arguments]
    return subprocess.run(command, env=env, cwd=checkout).returncode == 0


def chapters(
    python: Path, env: Mapping[str, str], checkout: Path, only: Sequence[str]
) -> tuple[bool, dict[str, dict[str, int]]]:
    """Run every chapter, or `only` some; return whether all came out as stored, and their costs."""
    paths = {
        path.relative_to(checkout).with_suffix("").as_posix(): path
        for path in sorted(checkout.glob("book/**/*.ipynb"))
    }
    if unknown := [name for name in only if name not in paths]:
        raise ColabError(f"no such chapter: {', '.join(unknown)}; known are {', '.join(paths)}")
    same, costs, parts = True, {}, set()
    for name in only or paths:
        clean = paths[name].parent not in parts
        parts.add(paths[name].parent)
        if clean:
            call([python, "-m", "pip", "uninstall", "-qq", "--yes", *sorted(LACKING)])
        command: list[str | Path] = [python, CHAPTERS, paths[name], *(["--clean"] if clean else [])]
        result = json.loads(call(command, env=env))
        costs[name] = cost(result)
        same &= not result["differences"]
        print(
            f"{name}{' (from the clean state)' if clean else ''}: {result['claims']} claims, "
            f"{result['seconds']} s (wall {result['wall_seconds']} s, processor "
            f"{result['cpu_seconds']} s), {result['memory_mb']} MB, "
            f"{len(result['differences'])} differences",
            *result["differences"],
            sep="\n  ",
            flush=True,
        )
    return same, costs


def run(folder: Path, scratch: Path, *, costs: bool = False, only: Sequence[str] = ()) -> bool:
    """Run everything in an environment at `folder`; return whether all of it passed."""
    began = time.monotonic()
    checkout = scratch / "checkout"
    call(["git", "clone", "--quiet", ROOT, checkout])
    python, unavailable = environment(folder)
    print(
        f"Colab's versions on {sys.version.split()[0]}: {time.monotonic() - began:.0f} s",
        flush=True,
    )
    for pin in unavailable:
        print(f"not to be had for this Python, so another version: {pin}", flush=True)
    env = colab(scratch, checkout)
    setup(python, env, checkout)
    passed = costs or bool(only) or package_tests(python, env, checkout, scratch)
    same, took = chapters(python, env, checkout, only)
    if costs:
        write_costs(took, checkout)
    passed &= same
    print(f"{'passed' if passed else 'FAILED'} in {time.monotonic() - began:.0f} s", flush=True)
    return passed


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    writer = commands.add_parser("constraints", help="write colab.txt from a published pip freeze")
    writer.add_argument("list", help="the file, or - for standard input")
    writer.add_argument("--date", type=date.fromisoformat, default=date.today())
    runner = commands.add_parser("run", help="test the last commit under Colab's versions")
    runner.add_argument("--venv", type=Path, help="keep the environment here, and use it again")
    runner.add_argument("--costs", action="store_true", help="no tests; write costs.json")
    runner.add_argument("--only", nargs="+", default=[], metavar="CHAPTER", help="no tests")
    options = parser.parse_args(arguments)
    try:
        if options.command == "constraints":
            listed = sys.stdin.read() if options.list == "-" else Path(options.list).read_text()
            LIST.write_text(constraints(listed, options.date), encoding="utf-8")
        else:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
                venv = options.venv or Path(scratch, "venv")
                place, how = Path(scratch).resolve(), {"costs": options.costs, "only": options.only}
                return 0 if run(venv.absolute(), place, **how) else 1
    except ColabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
