"""Run one chapter as a reader does, compare it with what is stored, and say what it cost.

    python constraints/chapters.py NOTEBOOK [--clean]

Prints one object of JSON: `differences`, one line each; `claims`, how many were compared;
`seconds` of wall time and `cpu_seconds` after the first cell, and `memory_mb`, the peak of the
kernel and its workers. With `--clean` the first cell must be what brings `vglab`. Called by
`colab.py` in Colab's environment; needs nbclient and psutil, which Jupyter brings.
"""

import argparse
import configparser
import importlib.util
import json
import math
import re
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SANITIZE = Path(__file__).resolve().parents[1] / "book" / "_tools" / "nbval-sanitize.cfg"
CLAIM = "application/vnd.vglab.claim+json"
CELL_SECONDS = 600
WATCH_SECONDS = 0.1
SECONDS, MEGABYTES = 5, 100  # what a stored cost is rounded up to
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


class Meter:
    """Watch a kernel and the processes that it starts, until stopped."""

    def __init__(self, pid: int) -> None:
        import psutil

        self.kernel = psutil.Process(pid)
        self.peak = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        import psutil

        while not self._stop.wait(WATCH_SECONDS):
            together = 0
            for process in [self.kernel, *self.kernel.children(recursive=True)]:
                try:  # what they share counts once, where the system can tell
                    memory = process.memory_full_info()
                    together += getattr(memory, "pss", memory.rss)
                except psutil.Error:  # it has just ended
                    continue
            self.peak = max(self.peak, together / 1e6)

    def cpu_seconds(self) -> float:
        """Return the processor time of the kernel and its workers, past and present, so far."""
        times = self.kernel.cpu_times()
        total: float = times.user + times.system + times.children_user + times.children_system
        for worker in self.kernel.children(recursive=True):
            total += sum(worker.cpu_times()[:2])
        return total

    def stop(self) -> float:
        """Return the peak of memory in megabytes."""
        self._stop.set()
        self._thread.join()
        return self.peak


def run(notebook: Path, *, clean: bool) -> dict[str, Any]:
    """Run a chapter in a fresh kernel and an empty folder; every cell, also after an error."""
    import nbformat
    from nbclient import NotebookClient

    if clean and importlib.util.find_spec("vglab") is not None:
        raise SystemExit("vglab is here already: this is no clean state")
    stored = nbformat.read(notebook, as_version=4)
    live = nbformat.read(notebook, as_version=4)
    first = next(n for n, cell in enumerate(live.cells) if cell.cell_type == "code")
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            live, timeout=CELL_SECONDS, kernel_name="python3", allow_errors=True,
            resources={"metadata": {"path": folder}},
        )  # fmt: skip
        with client.setup_kernel():
            meter = Meter(client.km.provisioner.pid)
            began, cpu = time.monotonic(), meter.cpu_seconds()
            for number, cell in enumerate(live.cells):
                client.execute_cell(cell, number)
                if number == first:  # the installation is the reader's once, not the chapter's
                    began, cpu = time.monotonic(), meter.cpu_seconds()
            wall, cpu = time.monotonic() - began, meter.cpu_seconds() - cpu
            memory = meter.stop()
    live.cells[first].outputs = []  # what an installer says is no result
    return {
        "differences": differences(stored.cells, live.cells),
        "claims": claims(live.cells),
        "seconds": round(wall, 1),
        "cpu_seconds": round(cpu, 1),
        "memory_mb": round(memory),
    }


def cost(measured: Mapping[str, float]) -> dict[str, int]:
    """Round what a chapter took, so that measuring again gives the same.

    Other programs lengthen the wall time, several threads the processor time: the smaller of the
    two is how long the chapter takes on a quiet machine, or somewhat more.
    """
    seconds = min(measured["seconds"], measured["cpu_seconds"])
    return {
        "seconds": SECONDS * math.ceil(seconds / SECONDS),
        "memory_mb": MEGABYTES * math.ceil(measured["memory_mb"] / MEGABYTES),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--clean", action="store_true", help="the first cell must bring vglab")
    options = parser.parse_args(arguments)
    result = run(options.notebook, clean=options.clean)
    print(json.dumps(result | {"cost": cost(result)}, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
