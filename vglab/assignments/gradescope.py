"""The autograder that Gradescope takes: a zip with a release, this package, and two scripts."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import vglab
from vglab.assignments import grade, sandbox, submissions
from vglab.assignments.marking import Release

PACKAGE = Path(vglab.__file__).resolve().parent
SETUP = """\
#!/usr/bin/env bash
# Gradescope runs this once, as root, when the zip is uploaded.
set -euo pipefail
apt-get update
apt-get install -y --no-install-recommends bubblewrap python3.11 python3.11-venv
python3.11 -m venv /opt/vglab
/opt/vglab/bin/pip install --no-cache-dir "/autograder/source/course[teaching]"
"""
RUN = """\
#!/usr/bin/env bash
# Gradescope runs this for each submission, as root: students' code runs as another user.
set -euo pipefail
chmod -R go-rwx /autograder/source /autograder/results
/opt/vglab/bin/python -m vglab.assignments.gradescope /autograder
"""


def write_zip(folder: Path) -> Path:
    """Write ``instructor/gradescope.zip`` of a released assignment; nothing in it is for students.

    The package goes along as it is here, so that Gradescope grades with what released.
    """
    project = PACKAGE.parent / "pyproject.toml"
    path = folder / "instructor" / "gradescope.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        _script(archive, "setup.sh", SETUP)
        _script(archive, "run_autograder", RUN)
        for file in sorted(PACKAGE.rglob("*")):
            if file.suffix == ".py" or file.name == "py.typed":
                archive.write(file, f"course/vglab/{file.relative_to(PACKAGE)}")
        for file in (project, project.with_name("README.md")):
            archive.write(file, f"course/{file.name}")
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file != path:
                archive.write(file, f"release/{file.relative_to(folder)}")
    return path


def _script(archive: zipfile.ZipFile, name: str, text: str) -> None:
    about = zipfile.ZipInfo(name)
    about.external_attr = 0o755 << 16
    archive.writestr(about, text)


def run(root: Path) -> dict[str, Any]:
    """Grade what lies in ``root/submission``; write and return ``root/results/results.json``."""
    release = root / "source" / "release"
    kind = sandbox.available() or "none"  # then: another user, limits, no more
    found = submissions.find(root / "submission")
    with_notebook = [one for one in found if one.name] or found
    record = grade.grade_one(release, with_notebook[0], kind=kind) if found else None
    results = describe(Release.load(release), record)
    (root / "results").mkdir(exist_ok=True)
    (root / "results" / "results.json").write_text(json.dumps(results), encoding="utf-8")
    return results


def describe(release: Release, record: dict[str, Any] | None) -> dict[str, Any]:
    """Turn a record into Gradescope's format: hidden tests show when grades are published."""
    if record is None:
        return {"score": 0, "output": "No file was handed in."}
    tests = []
    for question in record["questions"]:
        if question["manual"]:
            continue
        for number, test in enumerate(question["tests"], start=1):
            name = "hidden test" if test["hidden"] else test["name"]
            name = f"{question['name']}, {question['title']}, {number}: {name}"
            tests.append({
                "name": name, "score": test["points"],
                "max_score": test["possible"],
                "status": "passed" if test["passed"] else "failed",
                "visibility": "after_published" if test["hidden"] else "visible",
                "output": "" if test["hidden"] else test["message"],
            })  # fmt: skip
    cells = [f"cell {error['cell']}: {error['message']}" for error in record["errors"]]
    return {"tests": tests, "output": "\n".join([record["message"], *cells]).strip()}


def main(arguments: list[str]) -> None:
    """Grade the submission below the given folder, Gradescope's ``/autograder``."""
    os.environ["OMP_NUM_THREADS"] = "1"
    run(Path(arguments[0]))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
