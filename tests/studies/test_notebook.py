"""A study in a notebook, by a real kernel: data and network stand in cells, and a second kernel goes on."""

import textwrap
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

EXAMPLES = """
import torch
import thinned
from torch import nn

WIDTH = 8

def examples():
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    return x, x.argmax(1)
"""
NETWORK = """
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, WIDTH), nn.ReLU(), nn.Dropout(0.5), nn.Linear(WIDTH, 3))

    def forward(self, x):
        return self.layers(x)
"""
STUDY = """
study = thinned.study(
    examples, network=Block, arms=["dropout"], rates=[0.5], epochs=2, folds=2, seeds=1, jobs=2, device="cpu", out="run"
)
print(study.results.run.networks, study.results.plan.network)
"""


def run(folder: Path, *cells: str) -> list[dict[str, object]]:
    """Run cells in a fresh kernel, and return the outputs of each."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}})
    return [dict(output) for cell in client.execute().cells for output in cell.outputs]


@pytest.mark.slow
def test_a_study_in_a_notebook_is_shown_and_goes_on_in_another_kernel(tmp_path: Path) -> None:
    first = run(tmp_path, EXAMPLES, NETWORK, STUDY, "study")
    (shown,) = [output["data"] for output in first if output["output_type"] == "execute_result"]
    assert "dropout" in shown["text/html"]  # type: ignore[index]
    printed = "".join(str(output.get("text", "")) for output in first)
    assert "4 __main__:Block" in printed
    records = (tmp_path / "run/study.sqlite").read_bytes()
    again = run(tmp_path, EXAMPLES, NETWORK, STUDY)
    assert "4 __main__:Block" in "".join(str(output.get("text", "")) for output in again)
    assert (tmp_path / "run/study.sqlite").read_bytes() == records
    call = textwrap.indent(STUDY.strip(), "    ")
    refused = f"try:\n{call}\nexcept thinned.InputError as error:\n    print(error)"
    changed = run(tmp_path, EXAMPLES.replace("WIDTH = 8", "WIDTH = 9"), NETWORK, refused)
    assert "the source of the network has changed since" in "".join(str(o.get("text", "")) for o in changed)
