"""Run one chapter as a reader does, compare it with what is stored, and say what it cost.

    python constraints/chapters.py NOTEBOOK [--clean] [--elsewhere]

Prints one object of JSON: `differences`, one line each; `claims`, how many were compared;
`wall_seconds`, `cpu_seconds` and `seconds` (see `Meter`) after the first cell, and `memory_mb`, the
peak of the kernel and its workers. With `--clean` the first cell must be what brings `vglab`.
With `--elsewhere` it prints only what fails when `fit` and `sweep` train on a second device, which
refuses to be mixed with the first (`tests/accelerator.py`): a rehearsal of a GPU without one.
`colab.py` calls it in Colab's environment; it needs nbclient and psutil, which Jupyter brings.
"""

import argparse
import configparser
import importlib.util
import json
import re
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SANITIZE = Path(__file__).resolve().parents[1] / "book" / "_tools" / "nbval-sanitize.cfg"
TESTS = Path(__file__).resolve().parents[1] / "tests"
ELSEWHERE = "import sys; sys.path.insert(0, {folder!r})\n"
ELSEWHERE += "import accelerator; accelerator.everywhere()"
CLAIM = "application/vnd.vglab.claim+json"
CELL_SECONDS = 600
WATCH_SECONDS = 1.0
Entry = dict[str, str]


def patterns(path: Path = SANITIZE) -> list[tuple[str, str]]:
    """Read what is replaced before outputs are compared, as nbval reads it."""
    config = configparser.RawConfigParser()
    config.read_string(path.read_text(encoding="utf-8"))
    return [(config[name]["regex"], config[name]["replace"]) for name in config.sections()]


def entries(outputs: Sequence[Mapping[str, Any]], rules: list[tuple[str, str]]) -> list[Entry]:
    """Return a cell's outputs as texts by kind: streams joined, pictures as such, JSON sorted."""
    found: list[Entry] = []
    for output in outputs:
        if output["output_type"] == "stream":
            entry = {output["name"]: joined(output["text"])}
            if found and found[-1].keys() == entry.keys():
                found[-1][output["name"]] += entry[output["name"]]
                continue
        elif output["output_type"] == "error":
            entry = {"error": f"{output['ename']}: {output['evalue']}"}
        else:
            entry = dict(plain(kind, value, rules) for kind, value in output["data"].items())
        found.append(entry)
    return [{kind: sanitized(text, rules) for kind, text in entry.items()} for entry in found]


def plain(kind: str, value: Any, rules: list[tuple[str, str]]) -> tuple[str, str]:
    """Return one form of an output; Colab draws in pixels what the book stores as lines."""
    if kind.startswith("image/"):
        drawn = kind != "image/svg+xml" or sanitized(joined(value), rules) == "FIGURE"
        return "image", "FIGURE" if drawn else joined(value)
    if isinstance(value, dict):
        return kind, json.dumps(value, ensure_ascii=False, sort_keys=True)
    return kind, joined(value)


def joined(text: str | list[str]) -> str:
    """Join a notebook's lines."""
    return text if isinstance(text, str) else "".join(text)


def sanitized(text: str, rules: list[tuple[str, str]]) -> str:
    """Apply every replacement in turn."""
    for regex, replacement in rules:
        text = re.sub(regex, replacement, text)
    return text


def differences(
    stored: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]
) -> list[str]:
    """List where the outputs of a chapter's cells are not those that are stored."""
    rules, listed = patterns(), []
    for number, (before, after) in enumerate(zip(stored, found, strict=True), start=1):
        old, new = (entries(cell.get("outputs", []), rules) for cell in (before, after))
        if len(old) != len(new):
            kinds = [", ".join("/".join(entry) for entry in side) for side in (old, new)]
            listed.append(f"cell {number}: stored outputs [{kinds[0]}], came [{kinds[1]}]")
        for was, now in zip(old, new, strict=False):
            listed += [f"cell {number}: {line}" for line in changed(was, now)]
    return listed


def changed(was: Entry, now: Entry) -> list[str]:
    """Say how one output differs; of a claim, which of its fields."""
    if CLAIM in was and CLAIM in now:
        old, new = json.loads(was[CLAIM]), json.loads(now[CLAIM])
        fields = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
        if fields:
            said = "; ".join(f"{name} {old.get(name)!r} → {new.get(name)!r}" for name in fields)
            return [f"claim “{old['statement']}”: {said}"]
    kinds = sorted({*was, *now})
    return [
        f"{kind}: {was.get(kind)!r} → {now.get(kind)!r}"
        for kind in kinds
        if was.get(kind) != now.get(kind)
    ]


def claims(cells: Sequence[Mapping[str, Any]]) -> int:
    """Count the claims among the outputs of cells."""
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return sum(CLAIM in output.get("data", {}) for output in outputs)


def errors(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the errors among the outputs of cells."""
    return [
        f"cell {number}: {output['ename']}: {output['evalue']}"
        for number, cell in enumerate(cells, start=1)
        for output in cell.get("outputs", [])
        if output["output_type"] == "error"
    ]


class Meter:
    """Watch a kernel and the processes that it starts, until stopped.

    Other programs lengthen the wall time, several threads the processor time. So `busiest` adds up,
    moment by moment, the processor time of the thread that had most: what the chapter would take
    on a quiet machine, or more, where a neighbour slows even the core one has.
    """

    def __init__(self, pid: int) -> None:
        import psutil

        self.kernel = psutil.Process(pid)
        self.peak = self.busiest = 0.0
        self._last: dict[tuple[int, int], float] = {}
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(WATCH_SECONDS):
            self.look()

    def look(self) -> None:
        """Take stock of the moment since the last look."""
        with self._lock:
            now = self._threads()
            self.busiest += max((now[key] - self._last.get(key, 0.0) for key in now), default=0.0)
            self._last = now
            self.peak = max(self.peak, self._memory())

    def _tree(self) -> list[Any]:
        import psutil

        try:
            return [self.kernel, *self.kernel.children(recursive=True)]
        except psutil.Error:  # it has just ended
            return []

    def _threads(self) -> dict[tuple[int, int], float]:
        """Processor time of every thread, by process and thread."""
        import psutil

        found: dict[tuple[int, int], float] = {}
        for process in self._tree():
            try:
                found |= {(process.pid, one.id): one.user_time + one.system_time
                          for one in process.threads()}  # fmt: skip
            except psutil.Error:
                continue
        return found

    def _memory(self) -> float:
        """Megabytes that kernel and workers hold; what they share counts once, where known."""
        import psutil

        together = 0
        for process in self._tree():
            try:
                memory = process.memory_full_info()
                together += getattr(memory, "pss", memory.rss)
            except psutil.Error:
                continue
        return together / 1e6

    def cpu_seconds(self) -> float:
        """Return the processor time of the kernel and its workers, past and present, so far."""
        times = self.kernel.cpu_times()
        total: float = times.children_user + times.children_system
        return total + sum(sum(process.cpu_times()[:2]) for process in self._tree())

    def read(self) -> tuple[float, float, float]:
        """Return the wall, the processor and the busiest thread's seconds so far."""
        self.look()
        return time.monotonic(), self.cpu_seconds(), self.busiest

    def stop(self) -> None:
        """Watch no longer."""
        self._stop.set()
        self._thread.join()


def executed(notebook: Path, *, prelude: str = "") -> tuple[list[Any], dict[str, float]]:
    """Run a chapter in a fresh kernel and an empty folder; return its cells and what it took.

    Every cell is run, also after an error. The `prelude` comes before them and is not among them.
    """
    import nbformat
    from nbclient import NotebookClient

    live = nbformat.read(notebook, as_version=4)
    live.cells.insert(0, nbformat.v4.new_code_cell(prelude))
    first = [cell.cell_type for cell in live.cells].index("code", 1)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            live, timeout=CELL_SECONDS, kernel_name="python3", allow_errors=True,
            resources={"metadata": {"path": folder}},
        )  # fmt: skip
        with client.setup_kernel():
            kernel: Any = client.km
            meter = Meter(kernel.provisioner.pid)
            for number, cell in enumerate(live.cells):
                client.execute_cell(cell, number)
                if number == first:  # the installation is the reader's once, not the chapter's
                    before = meter.read()
            wall, cpu, busy = (end - start for start, end in zip(before, meter.read(), strict=True))
            meter.stop()
    live.cells[first].outputs = []  # what an installer says is no result
    if failed := [out for out in live.cells[0].outputs if out["output_type"] == "error"]:
        raise SystemExit(f"before the first cell: {failed[0]['ename']}: {failed[0]['evalue']}")
    return live.cells[1:], {
        "wall_seconds": round(wall, 1),
        "seconds": round(busy, 1),
        "cpu_seconds": round(cpu, 1),
        "memory_mb": round(meter.peak),
    }


def run(notebook: Path, *, clean: bool = False, prelude: str = "") -> dict[str, Any]:
    """Run a chapter and compare it with what is stored."""
    if clean and importlib.util.find_spec("vglab") is not None:
        raise SystemExit("vglab is here already: this is no clean state")
    stored = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    cells, took = executed(notebook, prelude=prelude)
    return {"differences": differences(stored, cells), "claims": claims(cells)} | took


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--clean", action="store_true", help="the first cell must bring vglab")
    parser.add_argument("--elsewhere", action="store_true", help="train as if on a GPU")
    options = parser.parse_args(arguments)
    if options.elsewhere:
        cells, _ = executed(options.notebook, prelude=ELSEWHERE.format(folder=str(TESTS)))
        print(*(line for line in errors(cells)), sep="\n")
        return int(bool(errors(cells)))
    result = run(options.notebook, clean=options.clean)
    print(json.dumps(result, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
