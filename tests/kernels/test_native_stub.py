"""The committed stub of the extension is the one that its bindings give."""

import ast
import inspect
from pathlib import Path

import pytest

from thinned import _native

STUB = Path(__file__).parents[2] / "src" / "thinned" / "_native.pyi"


def without_layout(source: str) -> str:
    """The declarations of a stub and their docstrings, whatever the line breaks."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = inspect.cleandoc(node.value)
    return ast.dump(tree)


def test_the_stub_is_not_stale() -> None:
    stubgen = pytest.importorskip("nanobind.stubgen")
    generator = stubgen.StubGen(_native)
    generator.put(_native)
    command = "python -m nanobind.stubgen -m thinned._native -o src/thinned/_native.pyi && ruff format"
    assert without_layout(generator.get()) == without_layout(STUB.read_text()), f"stale: {command}"


def test_arguments_have_names_and_types() -> None:
    address = _native.Address(key=1, call=2, keep=3)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        _native.keep_mask(dst=0, packed=False, offset=0, n=0, address=(1, 2, 3), threads=1)
    _native.keep_mask(dst=0, packed=False, offset=0, n=0, address=address, threads=1)
