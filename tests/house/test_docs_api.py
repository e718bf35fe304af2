"""docs/api.md is the one list of public names: whole, fresh, and each name explained."""

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

import pytest

import thinned

TOOLS = Path(__file__).resolve().parents[2] / "docs" / "tools"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    sys.path.insert(0, str(TOOLS))
    try:
        spec = importlib.util.spec_from_file_location("docs_api", TOOLS / "api.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(TOOLS))
    return module


def test_the_list_is_not_stale(tool: ModuleType) -> None:
    assert tool.PAGE.read_text("utf-8") == tool.page(), "run python docs/tools/api.py"


def test_every_public_module_is_listed(tool: ModuleType) -> None:
    modules = {name for name in thinned.__all__ if inspect.ismodule(getattr(thinned, name))}
    assert modules - {"layers"} == set(tool.MODULES)  # the layers stand at the top


def test_every_name_says_what_it_is(tool: ModuleType) -> None:
    rows = [line.split("|") for line in tool.page().splitlines() if line.startswith("| `")]
    assert [name for _, name, text, *_ in rows if len(text.split()) < 2] == []


@pytest.mark.parametrize(
    "name", ["InputError", "Study", "Arm", "Setting", "Audit", "Finding", "ConversionReport", "convert", "address"]
)
def test_what_a_user_must_name_has_a_public_home(name: str) -> None:
    assert name in thinned.__all__
    assert getattr(thinned, name)
