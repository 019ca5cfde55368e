"""What each chapter finds with other images: one of its lines changed, the rest run as it is.

    python benchmarks/other_data.py --root DIR [CHAPTER …]

Where a chapter loads the embedded digits, that line loads MNIST instead, from the folder DIR in
torchvision's layout (`MNIST/raw/*.gz`). If its training archives are missing, the 10,000 test
images serve, three quarters of them to train. Then the claims hold or they don't: what came out
goes into `other_data.json`, beside the time that the digits take, for the page `run_it.md`.
"""

import argparse
import gzip
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_suffix(".json")
sys.path.insert(0, str(ROOT / "constraints"))

import chapters  # noqa: E402

DIGITS = re.compile(r'data\.load\("digits"(, image_size=28)?')
WHOLE, SMALL = 'data.load("mnist"', 'data.load("mnist", image_size=8'
# Chapters whose networks take the images' size from the data, and those that need 64 pixels.
LINES = {
    "book/gradients/gradient_descent": WHOLE,
    "book/gradients/backpropagation": WHOLE,
    "book/gradients/why_gradients_vanish": WHOLE,
    "book/gradients/signal_propagation": WHOLE,
    "book/fixes/activations": WHOLE,
    "book/fixes/initialisation": WHOLE,
    "book/fixes/normalisation": WHOLE,
    "book/fixes/rmsprop": WHOLE,
    "book/fixes/residual_paths": SMALL,
    "book/fixes/all_the_fixes": WHOLE,
    "book/interpretability/lime": WHOLE,
    "book/interpretability/when_gradients_vanish": SMALL,
    "book/questions_and_answers": WHOLE,
}
GO_ON = """\
from vglab import claims

def _state(*given, _claim=claims.claim, **more):
    try:
        _claim(*given, **more)
    except claims.ClaimFailed:  # shown already; the next ones are wanted too
        pass

claims.claim = _state
"""
CACHED = "import os; os.environ['VGLAB_DATA'] = {root!r}\n"
TEST_IMAGES = """\
import gzip, torch
from pathlib import Path
from vglab import data

def _images(name, root, raw=Path({raw!r})):
    x, y = (bytearray(gzip.decompress((raw / file).read_bytes())) for file in
            ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"))
    x = torch.frombuffer(x, dtype=torch.uint8, offset=16).view(-1, 1, 28, 28)
    y, n = torch.frombuffer(y, dtype=torch.uint8, offset=8).long(), len(x) * 3 // 4
    return x[:n], y[:n], x[n:], y[n:], tuple("0123456789")

data.images = _images
"""


def source(root: Path) -> tuple[str, tuple[int, int]]:
    """Return code that makes `data.load` find the images, and how many train and test."""
    raw = root.resolve() / "MNIST" / "raw"
    if (raw / "train-images-idx3-ubyte.gz").exists():
        return CACHED.format(root=str(root.resolve())), (60_000, 10_000)
    with gzip.open(raw / "t10k-images-idx3-ubyte.gz") as file:
        count = int.from_bytes(file.read(8)[4:], "big")
    return TEST_IMAGES.format(raw=str(raw)), (count * 3 // 4, count - count * 3 // 4)


def switched(notebook: Any, new: str) -> tuple[str, str]:
    """Change the first line that loads the digits; return it before and after."""
    for cell in notebook.cells:
        for line in cell.source.splitlines() if cell.cell_type == "code" else ():
            if DIGITS.search(line):
                after = DIGITS.sub(new, line)
                cell.source = cell.source.replace(line, after)
                return line.strip(), after.strip()
    raise ValueError("no line loads the digits")


def stated(cells: Any) -> dict[str, Any]:
    """Return the claims among the outputs of cells, by their order and statement."""
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    found = [
        out["data"][chapters.CLAIM] for out in outputs if chapters.CLAIM in out.get("data", {})
    ]
    return {claim["statement"]: claim for claim in found}


def measure(path: Path, new: str, prelude: str) -> dict[str, Any]:
    """Run one chapter with the digits and with MNIST, and compare."""
    notebook = nbformat.read(path, as_version=4)
    known = stated(notebook.cells)
    before, after = switched(notebook, new)
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder, path.name)
        nbformat.write(notebook, changed)
        cells, took = chapters.executed(changed, prelude=GO_ON + prelude)
    same = chapters.run(path)
    if same["differences"]:
        raise SystemExit(
            f"{path}: with the digits not as stored\n" + "\n".join(same["differences"])
        )
    found = stated(cells)
    return {
        "line": before,
        "becomes": after,
        "claims": len(known),
        "stated": len(found),
        "hold": sum(claim["holds"] for claim in found.values()),
        "fail": [
            {
                "statement": claim["statement"],
                "expected": claim["expected"],
                "digits": known.get(claim["statement"], {}).get("measured", ""),
                "mnist": claim["measured"],
            }
            for claim in found.values()
            if not claim["holds"]
        ],
        "accuracy": [
            {
                "statement": claim["statement"],
                "digits": known[claim["statement"]]["measured"],
                "mnist": claim["measured"],
            }
            for claim in found.values()
            if "accuracy" in claim["statement"]
            and claim["measured"] != known.get(claim["statement"], claim)["measured"]
        ],
        "errors": chapters.errors(cells),
        "seconds": {"digits": same["seconds"], "mnist": took["seconds"]},
    }


def main() -> None:
    """Measure the chapters named, or all, and keep what is known of the others."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="where MNIST/raw lies")
    parser.add_argument("chapters", nargs="*", default=list(LINES), metavar="CHAPTER")
    options = parser.parse_args()
    prelude, (train, test) = source(options.root)
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    if (results.get("train"), results.get("test")) != (train, test):
        results = {"train": train, "test": test, "chapters": {}}
    for name in options.chapters:
        found = measure(ROOT / f"{name}.ipynb", LINES[name], prelude)
        results["chapters"][name] = found
        text = json.dumps(results, indent=2, ensure_ascii=False) + "\n"
        RESULTS.write_text(text, encoding="utf-8")
        print(f"{name}: {found['hold']} of {found['claims']} hold, {found['seconds']}", flush=True)
        for problem in found["errors"]:
            print(f"  {problem}", flush=True)


if __name__ == "__main__":
    main()
