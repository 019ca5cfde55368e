"""Grade a class of 300: submissions a minute, memory, and a kill in the middle.

    python benchmarks/grade.py [--submissions 300] [--jobs 2]

Most hand in the solution, or the solution with one question wrong; every tenth is one of the tests'
cheats. The grader is killed once half of the records are there, and started again.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import psutil

from vglab.assignments import grade, master, release

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "assignments"))


def main() -> None:
    """Make the class, grade it, kill it, grade the rest, and compare with what each deserves."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--submissions", type=int, default=300)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        made = release.release(
            ROOT / "assignments" / "backpropagation.md", folder / "class", seed=2026
        )
        deserved = hand_in(made, folder / "handed in", given.submissions)
        out = folder / "out"
        command = [
            *(sys.executable, "-m", "vglab", "assignments", "grade", str(made)),
            *(str(folder / "handed in"), "--out", str(out), "--jobs", str(given.jobs)),
        ]
        began = time.monotonic()
        most = run(command, out / "results", stop_at=given.submissions // 2)
        kept = {path: path.stat().st_mtime_ns for path in (out / "results").glob("*.json")}
        most = max(most, run(command, out / "results"))
        seconds = time.monotonic() - began
        records = [json.loads(path.read_text()) for path in (out / "results").glob("*.json")]
        moved = sum(path.stat().st_mtime_ns != before for path, before in kept.items())
        wrong = [r["key"] for r in records if points(r) != deserved[r["key"]]]
        print(f"{len(records)} of {given.submissions} graded, {len(kept)} before the kill, "
              f"{moved} of them again, {len(wrong)} not as deserved {wrong[:5]}")  # fmt: skip
        print(f"{60 * len(records) / seconds:.1f} a minute with {given.jobs} processes, "
              f"{sum(r['seconds'] for r in records) / len(records):.1f} s each; "
              f"most memory {most / 2**30:.1f} GB")  # fmt: skip


def hand_in(made: Path, folder: Path, number: int) -> dict[str, float]:
    """Write the submissions; give what each deserves of the tests."""
    from cheats import CHEATS

    about = json.loads((made / "instructor" / "assignment.json").read_text())
    one = master.read(ROOT / "assignments" / "backpropagation.md", seed=about["seed"],
                      key=about["key"])  # fmt: skip
    student = nbformat.read(made / "student" / "backpropagation.ipynb", as_version=4)
    stubs = {}
    for question in one.questions:
        for source in question.solution:
            head = source.split("\n", 1)[0]
            for position, cell in enumerate(student.cells):
                if cell.source.startswith(head) and cell.cell_type == "code":
                    stubs[question.name] = position, source
    whole = sum(q.possible for q in one.questions if not q.manual)
    folder.mkdir()
    deserved, cheats = {}, sorted(CHEATS)
    for n in range(number):
        notebook = nbformat.from_dict(json.loads(json.dumps(student)))
        for position, source in stubs.values():
            notebook.cells[position].source = source
        points_of = whole
        if n % 2:
            question = [q for q in one.questions if q.mutants][n // 2 % 4]
            notebook.cells[stubs[question.name][0]].source = question.mutants[0].source
            points_of = whole - question.possible + question.mutants[0].keeps
        if n % 10 == 9:
            cell = nbformat.v4.new_code_cell(CHEATS[cheats[n // 10 % len(cheats)]][0])
            notebook.cells = [*student.cells, cell]
            points_of = 0.0
        key = f"s{n:03}"
        nbformat.write(notebook, folder / f"{key}.ipynb")
        deserved[key] = points_of
    return deserved


def points(record: grade.Record) -> float:
    """Points of the tests."""
    return sum(q["points"] for q in record["questions"] if not q["manual"])


def run(command: list[str], results: Path, stop_at: int | None = None) -> int:
    """Run the grader to its end or until so many records are there; give its peak memory."""
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        if stop_at is not None and len(list(results.glob("*.json"))) >= stop_at:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return most
        family = [psutil.Process(process.pid)]
        memory = 0
        try:
            family += family[0].children(recursive=True)
            memory = sum(each.memory_full_info().pss for each in family)  # shared pages once
        except psutil.Error:
            pass
        most = max(most, memory)
        time.sleep(0.5)
    return most


if __name__ == "__main__":
    main()
