"""The tutorial is a notebook that runs in a real Jupyter kernel, as it is in docs/."""

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

TUTORIAL = ROOT / "docs" / "tutorial.ipynb"


def outputs(cell: Any, kind: str) -> list[Any]:
    """Return the outputs of a cell that have a representation of this kind, such as image/png."""
    return [
        output.data[kind] for output in cell.get("outputs", []) if kind in output.get("data", {})
    ]


def test_it_is_kept_without_outputs() -> None:
    notebook = nbformat.read(TUTORIAL, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) >= 10
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


@pytest.mark.slow
def test_it_runs_and_shows_what_it_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    notebook = nbformat.read(TUTORIAL, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(output.output_type != "error" for cell in cells for output in cell.outputs)
    assert len([cell for cell in cells if outputs(cell, "image/png")]) == 2
    assert len([cell for cell in cells if outputs(cell, "text/html")]) >= 4  # tables
    printed = "".join(output.get("text", "") for cell in cells for output in cell.outputs)
    assert "epoch 4/4" in printed
    assert "Best:" in printed
    assert outputs(cells[-1], "text/plain") == ["True"]
    assert "Traceback" not in printed
    assert "Warning" not in printed
    assert "Epoch 3: 100%" in printed  # the progress bar
    assert "Validation" not in printed
    assert "it/s]epoch" not in printed  # the bar is wiped before a line is printed
    assert {path.name for path in tmp_path.iterdir()} == {"tutorial"}
    nbformat.write(notebook, tmp_path / "executed.ipynb")  # type: ignore[no-untyped-call]
