"""Thirty submissions as they come: right, partly right, wrong, empty, and files that went wrong."""

import json
from collections.abc import Callable
from typing import Any

import nbformat

WHOLE, PUBLIC, NONE = 3.0, 1.0, 0.0
Cells = list[str]
Notebook = dict[str, Any]


def right(factor: int) -> str:
    return f"def multiplied(x):\n    return {factor} * x"


def answered(notebook: Notebook, *cells: str) -> Notebook:
    """The student's notebook with the stub replaced by these cells."""
    notebook = json.loads(json.dumps(notebook))
    at = next(n for n, cell in enumerate(notebook["cells"])
              if "".join(cell["source"]).startswith("def multiplied"))  # fmt: skip
    notebook["cells"][at : at + 1] = [nbformat.v4.new_code_cell(source) for source in cells]
    return notebook


def stripped(notebook: Notebook) -> bytes:
    """As after an upload that keeps nothing but the cells: no ids, no metadata, no kernel."""
    kept = ("cell_type", "source")
    cells = [{key: cell[key] for key in kept} for cell in notebook["cells"]]
    return json.dumps({"cells": cells, "nbformat": 4}).encode()


def format_3(notebook: Notebook) -> bytes:
    cells = [
        {"cell_type": "code", "input": cell["source"], "outputs": [], "language": "python"}
        if cell["cell_type"] == "code" else {"cell_type": "markdown", "source": cell["source"]}
        for cell in notebook["cells"]
    ]  # fmt: skip
    return json.dumps({"nbformat": 3, "metadata": {}, "worksheets": [{"cells": cells}]}).encode()


def other_python(notebook: Notebook) -> bytes:
    notebook["metadata"] = {
        "kernelspec": {"name": "python38", "display_name": "Python 3.8 (old)"},
        "language_info": {"name": "python", "version": "3.8.2"}, "colab": {"provenance": []},
    }  # fmt: skip
    return plain(notebook)


def with_outputs(notebook: Notebook) -> bytes:
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["3 of 3\n"]}]
            cell["execution_count"] = 99
    return plain(notebook)


def plain(notebook: Notebook) -> bytes:
    return json.dumps(notebook).encode()


def thirty(student: Notebook, factor: int) -> dict[str, tuple[str, bytes, float]]:
    """Name, file's name, bytes and the points they deserve of the tests."""

    def made(*cells: str, write: Callable[[Notebook], bytes] = plain) -> bytes:
        return write(answered(student, *cells))

    good = right(factor)
    return {
        "right": ("small.ipynb", made(good), WHOLE),
        "right_as_lambda": ("small.ipynb", made(f"multiplied = lambda x: x * {factor}"), WHOLE),
        "right_by_adding": ("small.ipynb", made(
            f"def multiplied(x):\n    return sum([x] * {factor})"), WHOLE),
        "right_as_numpy": ("small.ipynb", made(
            f"import numpy as np\ndef multiplied(x):\n    return np.int64({factor}) * x"), WHOLE),
        "right_in_two_cells": ("small.ipynb", made(
            f"k = {factor}", "multiplied = k.__mul__"), WHOLE),
        "right_at_last": ("small.ipynb", made("def multiplied(x):\n    return 0", good), WHOLE),
        "right_after_an_error": ("small.ipynb", made("1 / 0", good), WHOLE),
        "right_after_bad_syntax": ("small.ipynb", made("for", good), WHOLE),
        "right_after_a_loop": ("small.ipynb", made("while True: pass", good), WHOLE),
        "right_after_exit": ("small.ipynb", made("import sys; sys.exit(3)", good), WHOLE),
        "right_with_magics": ("small.ipynb", made(
            "%matplotlib inline\n!ls\n%time 1 + 1", good), WHOLE),
        "right_with_a_figure": ("small.ipynb", made(
            "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()", good), WHOLE),
        "right_and_asks": ("small.ipynb", made("input('your name?')", good), WHOLE),
        "right_and_talks": ("small.ipynb", made("print('x' * 100_000)", good), WHOLE),
        "right_stripped": ("small.ipynb", made(good, write=stripped), WHOLE),
        "right_format_3": ("small.ipynb", made(good, write=format_3), WHOLE),
        "right_other_python": ("small.ipynb", made(good, write=other_python), WHOLE),
        "right_with_outputs": ("small.ipynb", made(good, write=with_outputs), WHOLE),
        "right_renamed": ("Copy of small (3).ipynb", made(good), WHOLE),
        "right_as_json": ("small.ipynb.json", made(good), WHOLE),
        "right_with_bom": ("small.ipynb", b"\xef\xbb\xbf" + made(good), WHOLE),
        "partly_constant": ("small.ipynb", made(
            f"def multiplied(x):\n    return {factor}"), PUBLIC),
        "partly_then_loops": ("small.ipynb", made(
            f"def multiplied(x):\n    while x != 1: pass\n    return {factor}"), PUBLIC),
        "wrong": ("small.ipynb", made("def multiplied(x):\n    return x"), NONE),
        "wrong_text": ("small.ipynb", made(
            f"def multiplied(x):\n    return str({factor} * x)"), NONE),
        "wrong_output_kept": ("small.ipynb", made(
            "def multiplied(x):\n    print(3)", write=with_outputs), NONE),
        "empty": ("small.ipynb", plain(student), NONE),
        "no_cells": ("small.ipynb", b'{"cells": [], "nbformat": 4}', NONE),
        "not_a_notebook": ("essay.pdf", b"%PDF-1.7 my essay", NONE),
        "truncated": ("small.ipynb", made(good)[:-200], NONE),
    }  # fmt: skip
