"""Run examples/films.ipynb, write its figure: ``PYTHONPATH=. python docs/generate_python.py``."""

import json
from contextlib import chdir
from pathlib import Path
from typing import Any

import matplotlib as mpl

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "films.ipynb"
TARGET = Path(__file__).with_name("images") / "python.png"


def run_cells(notebook: Path = NOTEBOOK) -> dict[str, Any]:
    """Run the code of a notebook in its folder, as Jupyter does; returns the names it leaves."""
    mpl.use("agg")
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {}
    with chdir(notebook.parent):
        for number, cell in enumerate(cells):
            if cell["cell_type"] == "code":
                code = compile("".join(cell["source"]), f"{notebook.name}, cell {number}", "exec")
                exec(code, names)  # noqa: S102  the repository's own notebook
    return names


if __name__ == "__main__":
    run_cells()["figure"].savefig(TARGET, dpi=110, metadata={"Software": None})
