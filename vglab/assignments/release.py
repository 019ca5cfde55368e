"""From a master to what a class gets, and what only its instructor may have.

otter assign makes the student's notebook and the test files; here the public tests become plain
functions that `vglab.exercises` runs, so that students install nothing but `vglab`, and a scan
looks for anything of a solution or a hidden test in what students get.
"""

import ast
import contextlib
import io
import json
import re
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from vglab.assignments import master as masters
from vglab.assignments.master import Master, MasterError

PUBLIC = "# Public tests of this question."
STUB = re.compile(r"^(\s+)\.\.\.$", re.M)
CHECK = re.compile(r'grader\.check\("(.+)"\)')
SOLUTION = re.compile(r"# BEGIN SOLUTION.*?# END SOLUTION|^[^\n]*# SOLUTION[^\n]*$", re.S | re.M)
HAND_IN = """\
## Handing in

Run everything once more from the top (in Colab: *Runtime > Restart session and run all*), read the
results, then download this notebook (*File > Download > Download .ipynb*) and hand in the file."""
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def release(path: Path, out: Path, *, seed: int, key: str | None = None) -> Path:
    """Write a class's notebook and the instructor's private folder.

    Parameters
    ----------
    path
        The master, `assignments/<name>.md`.
    out
        The folder of the class; gets `<name>/student/` to hand out and `<name>/instructor/`.
    seed
        The class's; last year's solutions do not pass with this year's.
    key
        Chooses the inputs of the hidden tests; drawn at random unless given.

    Returns
    -------
    Path
        ``out / name``.

    Raises
    ------
    MasterError
        The master is not well formed, or something private would reach the students.
    FileExistsError
        The folder is there: a second release would lose the key that the first is graded with.
    """
    folder = out / path.stem
    if folder.exists():
        raise FileExistsError(
            f"{folder} is there already, and is what its submissions are graded with; "
            "give another --out, or remove it yourself"
        )
    master = masters.read(path, seed=seed, key=secrets.token_hex(16) if key is None else key)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".release-") as temporary:
        unfinished = Path(temporary) / path.stem
        make(master, unfinished)
        unfinished.rename(folder)
    return folder


def make(master: Master, folder: Path) -> None:
    """Write both halves of a release into an empty folder; raise where a secret would leave."""
    student, instructor = folder / "student", folder / "instructor"
    student.mkdir(parents=True)
    instructor.mkdir()
    name = f"{master.name}.ipynb"
    nbformat.write(master.notebook, instructor / name)
    with tempfile.TemporaryDirectory() as temporary:
        made = _otter_assign(instructor / name, Path(temporary))
        notebook = _student(nbformat.read(made / "student" / name, as_version=4),
                            made / "student" / "tests")  # fmt: skip
        shutil.copytree(made / "autograder" / "tests", instructor / "tests")
    found = leaks(notebook, master)
    if found:
        raise MasterError(f"{master.name}: the student's notebook would hold {'; '.join(found)}")
    nbformat.write(notebook, student / name)
    (instructor / "rubric.md").write_text(_rubric(master), encoding="utf-8")
    about = json.dumps(_described(master), indent=1)
    (instructor / "assignment.json").write_text(about, encoding="utf-8")


def _otter_assign(path: Path, out: Path) -> Path:
    """Run otter assign in silence; what it says is part of the error where it fails."""
    from otter import assign

    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            assign.main(str(path), str(out), no_run_tests=True, no_pdfs=True)
    except Exception as error:
        raise MasterError(f"{path.stem}: otter assign says: {error}\n{said.getvalue()}") from error
    return out


def _student(notebook: NotebookNode, tests: Path) -> NotebookNode:
    """Put plain tests in place of otter's checks, and stubs in place of bare dots."""
    cells = []
    for cell in notebook.cells:
        checked = CHECK.fullmatch(cell.source.strip())
        if checked:
            public = _public_tests(tests / f"{checked[1]}.py")
            if public:
                cells.append(nbformat.v4.new_code_cell(public))
        elif cell.cell_type == "code":
            source = re.sub(
                r"^(\s+)\.\.\.$", r"\1raise NotImplementedError", cell.source, flags=re.M
            )
            cells.append(nbformat.v4.new_code_cell(source))
        elif cell.source.strip():
            source = re.sub(r"<!-- (BEGIN|END) QUESTION -->\s*", "", cell.source).strip()
            cells += [nbformat.v4.new_markdown_cell(source)] if source else []
    cells.append(nbformat.v4.new_markdown_cell(HAND_IN))
    for number, cell in enumerate(cells, start=1):
        cell["id"] = f"cell-{number}"
    made: NotebookNode = nbformat.v4.new_notebook(cells=cells, metadata=METADATA)
    return made


def _public_tests(path: Path) -> str:
    """Write the cell that runs a question's public tests; nothing where it has none."""
    source = path.read_text(encoding="utf-8") if path.exists() else ""
    functions = [
        ast.get_source_segment(source, node) or ""
        for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)
    ]  # fmt: skip
    if not functions:
        return ""
    called = ", ".join(function.removeprefix("def ").partition("(")[0] for function in functions)
    tests = "\n\n\n".join(functions)
    return f"{PUBLIC}\n{tests}\n\n\nexercises.run_tests(globals(), {called})"


def leaks(notebook: NotebookNode, master: Master) -> list[str]:
    """Name each private piece of a master that a student's notebook holds; empty where none.

    Private are the lines of solutions, mutants and hidden tests, and the clauses of rubrics, that
    stand nowhere in the open parts of the master. Read from the master's own markers, not from what
    otter made of them; looked for in every text of the notebook, metadata and outputs included.
    """
    opened, closed = _parted(master)
    texts = _texts(notebook)
    lines = {_plain(line) for text in texts for line in text.splitlines()}
    shown, known = _plain(" ".join(texts)), _plain(" ".join(opened))
    found = []
    for what, text in closed:
        for piece in re.split(r"[.:;]\s|\n", text) if "rubric" in what else text.splitlines():
            plain = _plain(piece)
            if plain in known or len(plain) < 8:
                continue
            if plain in lines or (len(plain) >= 16 and plain in shown):
                found.append(f"a line of {what}: {piece.strip()}")
    return found


def _texts(node: Any) -> list[str]:
    """List every string in a notebook, wherever it stands."""
    if isinstance(node, str):
        return [node]
    if isinstance(node, dict):
        return [text for one in node.items() for text in _texts(list(one))]
    return [text for one in node for text in _texts(one)] if isinstance(node, list) else []


def _plain(line: str) -> str:
    return re.sub(r"[\s'\"()]+", "", line)


def _parted(master: Master) -> tuple[list[str], list[tuple[str, str]]]:
    """Part a master into its open texts and its private ones, each with what it is."""
    opened, closed = [], []
    solutions = {text: q for q in master.questions for text in q.solution}
    for cell in master.notebook.cells:
        question = solutions.get(cell.source)
        if re.match(r"#.*\bhidden\b", cell.source, re.I):
            closed.append(("a hidden test", cell.source))
        elif question is None:
            opened.append(cell.source)
        elif question.manual:
            closed.append((f"{question.name}'s rubric", cell.source))
        else:
            inside = SOLUTION.findall(cell.source)
            closed.append((f"{question.name}'s solution", "\n".join(inside)))
            opened.append(SOLUTION.sub("", cell.source))
    for q in master.questions:
        closed += [(f"{q.name}'s mutant", mutant.source) for mutant in q.mutants]
    return opened, closed


def _rubric(master: Master) -> str:
    written = [question for question in master.questions if question.manual]
    parts = [f"# {master.title}: rubric", f"Seed {master.seed}."]
    for question in written:
        parts += [f"## {question.title}", *question.solution]
    return "\n\n".join(parts) + "\n"


def _described(master: Master) -> dict[str, Any]:
    questions = [
        {"name": q.name, "title": q.title, "manual": q.manual, "possible": q.possible}
        for q in master.questions
    ]
    return {
        "schema": 1, "name": master.name, "title": master.title, "chapter": master.chapter,
        "minutes": master.minutes, "seconds": master.seconds, "seed": master.seed,
        "key": master.key, "questions": questions,
        "rubrics": {q.name: "\n\n".join(q.solution) for q in master.questions if q.manual},
    }  # fmt: skip
