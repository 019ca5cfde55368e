"""Run one cell in a kernel of this Python, then look whether it did what it should.

    python constraints/cell.py SOURCE

`colab.py` calls it in Colab's environment, with the chapters' first cell.
"""

import sys

import nbformat
from nbclient import NotebookClient

CELL_SECONDS = 600
AFTER_THE_CELL = """\
import sys, captum, lime, palmerpenguins, vglab
assert "google.colab" in sys.modules, "the kernel does not look like Colab"
assert "site-packages" in vglab.__file__, vglab.__file__
"""


def execute(source: str) -> None:
    """Run the cell and the check; raise where one fails."""
    cells = [nbformat.v4.new_code_cell(text) for text in (source, AFTER_THE_CELL)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3").execute()


if __name__ == "__main__":
    execute(sys.argv[1])
