"""docs/listen.ipynb runs from top to bottom, and is committed as it ran."""

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "listen.ipynb"


def test_it_is_committed_with_the_outputs_of_one_run():
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert outputs
    assert not {"error", "stderr"} & {o.get("name", o["output_type"]) for o in outputs}
    assert NOTEBOOK.stat().st_size < 500_000


@pytest.mark.slow
def test_it_runs(monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="make test-all installs nbclient")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    said = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}

    client = nbclient.NotebookClient(notebook, timeout=300, coalesce_streams=True)
    client.execute()  # an error in a cell is raised

    for cell in notebook.cells:
        if cell.cell_type == "code":
            kinds = [sorted(o.get("data", {"text": 0})) for o in cell.outputs]
            assert kinds == [sorted(o.get("data", {"text": 0})) for o in said[cell.id]], cell.source
