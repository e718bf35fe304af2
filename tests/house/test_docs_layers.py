"""docs/layers.md lists every layer, and is what the script would write."""

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import pytest
from torch import nn

from thinned import layers

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "tools" / "layers.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_layers", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def public() -> list[str]:
    names = (name for name in layers.__all__ if name != "Addressed")
    return sorted(name for name in names if inspect.isclass(getattr(layers, name)))


def test_every_layer_has_a_section_and_a_picture(tool: ModuleType) -> None:
    assert sorted(tool.PICTURES) == public()


def test_the_list_is_not_stale(tool: ModuleType) -> None:
    for path, text in tool.files().items():
        assert path.exists(), f"{path} is missing: run python docs/tools/layers.py"
        assert path.read_text("utf-8") == text, f"{path} is stale: run python docs/tools/layers.py"


@pytest.mark.parametrize("name", public())
def test_a_docstring_says_source_shape_and_where_not(name: str) -> None:
    text = inspect.getdoc(getattr(layers, name))
    assert issubclass(getattr(layers, name), nn.Module)
    assert "Shape:" in text
    assert "Put it" in text
    assert " not " in text.split("Put it")[1]
    assert (
        any(f"{year}" in text for year in range(2012, 2027)) or "Drop-in replacement" in text or "AlphaDropout" in text
    )
