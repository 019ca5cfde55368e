"""Make the notebooks from their text twins, and check that the two agree.

    python book/_tools/notebooks.py build [--all] [chapter …]
    python book/_tools/notebooks.py check

A chapter is named as in `_toc.yml` below `book/`: `gradients/gradient_descent`.
"""

import argparse
import os
import sys
from pathlib import Path

from checks import problems
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from tqdm import tqdm
from twins import (
    BookError,
    Chapter,
    chapters,
    cover,
    digest,
    dump,
    error_text,
    load,
    normalise,
    parse,
    setup_source,
    unparse,
    write,
)

ROOT = Path(__file__).resolve().parents[2]
PROFILE = Path(__file__).resolve().parent / "ipython"
CELL_SECONDS = 300


def build(root: Path, names: list[str] | None = None, *, everything: bool = False) -> list[str]:
    """Run every chapter that changed (or all of them) and list what went wrong."""
    found = [chapter for chapter in chapters(root) if chapter.twin.exists()]
    if names:
        known = {chapter.name: chapter for chapter in found}
        unknown = [name for name in names if name not in known]
        if unknown:
            return [f"no such chapter: {', '.join(unknown)}; known are {', '.join(known)}"]
        found = [known[name] for name in names]
    failures = []
    with tqdm(found, unit="chapter") as progress:
        for chapter in progress:
            progress.set_postfix_str(chapter.name)
            try:
                make(chapter, everything=everything)
            except BookError as error:
                failures.append(f"{chapter.name}: {error}")
    return failures


def make(chapter: Chapter, *, everything: bool = False) -> None:
    """Bring one notebook up to date with its twin, and the twin into its normal form."""
    setup = setup_source(chapter.root)
    twin = unparse(parse(chapter.twin.read_text(encoding="utf-8"), setup))
    write_if_new(chapter.twin, twin)
    notebook = parse(twin, setup)
    if chapter.notebook.exists():
        old = load(chapter.notebook)
        refuse_if_edited(old)
        same = old.metadata.vglab.twin == digest(twin) and setup in (c.source for c in old.cells)
        if same and not everything:
            write_if_new(chapter.notebook, dump(normalise(old, digest(twin))))
            write_cover(chapter, old)
            return
    execute(notebook, chapter.notebook.parent)
    write(chapter.notebook, dump(normalise(notebook, digest(twin))))
    write_cover(chapter, notebook)


def refuse_if_edited(notebook: NotebookNode) -> None:
    """Raise where a notebook no longer says what its twin said when it was made."""
    if notebook.metadata.get("vglab", {}).get("twin") != digest(unparse(notebook)):
        raise BookError(
            "the notebook was edited by hand, and building it would lose the edit; "
            "make the edit in the twin, delete the notebook, and build again"
        )


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Run a notebook's cells in place, in a kernel of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "IPYTHONDIR": str(PROFILE)}
    environment.pop("MPLBACKEND", None)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        client.execute(env=environment)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        ran = [cell.get("execution_count") is not None for cell in notebook.cells]
        last = max((n for n, done in enumerate(ran, start=1) if done), default=0)
        raise BookError(f"cell {last} failed\n{error_text(str(error))}") from error


def write_if_new(path: Path, text: str) -> None:
    """Write a file unless it already says this."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write(path, text)


def write_cover(chapter: Chapter, notebook: NotebookNode) -> None:
    """Store the figure of the cell tagged `cover`, which the README shows."""
    figure = cover(notebook)
    if figure is not None:
        write_if_new(chapter.root / "book" / "_static" / "cover.svg", figure)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    builder = commands.add_parser("build", help="run the chapters that changed")
    builder.add_argument("--all", action="store_true", help="also those that did not change")
    builder.add_argument("chapters", nargs="*", help="only these")
    commands.add_parser("check", help="list what is wrong, run nothing")
    options = parser.parse_args(arguments)
    if options.command == "build":
        found = build(ROOT, options.chapters, everything=options.all)
    else:
        found = problems(ROOT)
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
