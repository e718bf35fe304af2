"""The lines that build a network again: names and paths in them are quoted, whatever they hold."""

import ast
import sys
from pathlib import Path

import msgspec
import pytest
from saved_networks import ABOUT, Plain, trained

from thinned.studies.recommended_network.code_lines import code_lines, is_importable
from thinned.studies.recommended_network.storage import save_network

HOSTILE = 'x\n"""; raise SystemExit(3)  # \u2028 \' \\'


def statements(lines: str) -> list[str]:
    return [type(statement).__name__ for statement in ast.parse(lines).body]


def test_hostile_labels_and_folders_are_no_code() -> None:
    usual = statements(code_lines(ABOUT, "Path('runs/x')"))
    about = msgspec.structs.replace(ABOUT, label=HOSTILE)
    assert statements(code_lines(about, f"Path({str(Path(HOSTILE))!r})")) == usual


@pytest.mark.parametrize(
    ("network", "line"),
    [
        ("mypackage.models:build", "from mypackage.models import build"),
        ("mypackage:Models.small", "from mypackage import Models"),
        ("mypackage:network", "from mypackage import network as build"),
        ("my-package:build", "build = getattr(__import__('my-package', fromlist=['build']), 'build')"),
        ("class:build", "build = getattr(__import__('class', fromlist=['build']), 'build')"),
    ],
)
def test_the_line_that_imports_the_function(network: str, line: str) -> None:
    lines = code_lines(msgspec.structs.replace(ABOUT, network=network), "Path('.')")
    assert line in lines.splitlines()
    assert f"network = {network.partition(':')[2] if '.' in network.partition(':')[2] else 'build'}()" in lines


def test_a_module_whose_name_is_no_identifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my-module.py").write_text("from saved_networks import Plain as build\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    about = msgspec.structs.replace(ABOUT, network="my-module:build")
    save_network(trained(Plain), Plain, about, tmp_path / "network")
    found: dict[str, object] = {"__file__": str(tmp_path / "network/build.py")}
    exec((tmp_path / "network/build.py").read_text(), found)
    assert isinstance(found["network"], Plain)
    assert is_importable("my-module:build", Plain)
    monkeypatch.delitem(sys.modules, "my-module")


def test_what_can_be_imported() -> None:
    assert is_importable("saved_networks:Plain", Plain)
    assert not is_importable("saved_networks:trained", Plain)
    assert not is_importable("__main__:build", Plain)
    assert not is_importable("saved_networks:f.<locals>.<lambda>", Plain)
    assert not is_importable("no_such_module:build", Plain)
