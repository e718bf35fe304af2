"""Objects by their import paths, and digests of the files that define them."""

import functools
import hashlib
import linecache
import sys
from pathlib import Path
from typing import Any

import pytest

from thinned import import_path
from thinned.errors import InputError
from thinned.import_path import import_object, source_digest, working_directory

SOURCE = hashlib.sha256(Path(import_path.__file__).read_bytes()).hexdigest()


def test_names_may_have_dots():
    assert import_object("pathlib:Path.cwd", "the function") == Path.cwd


def test_modules_of_the_working_directory_can_be_imported(tmp_path, monkeypatch):
    (tmp_path / "own_module_of_a_test.py").write_text("VALUE = 3\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert import_object("own_module_of_a_test:VALUE", "the number") == 3
    assert sys.path == before
    with working_directory():
        assert sys.path[0] == str(tmp_path)
    del sys.modules["own_module_of_a_test"]


def test_the_file_of_a_module_is_no_module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="name the module, and not its file: shop_of_a_test:cnn"):
        import_object("shop_of_a_test.py:cnn", "the model")
    with pytest.raises(InputError, match=r"and not its file: shop_of_a_test\.models:cnn"):
        import_object("shop_of_a_test/models.py:cnn", "the model")


def test_a_module_that_raises_is_named(tmp_path, monkeypatch):
    (tmp_path / "raising_module_of_a_test.py").write_text("raise OSError('no disk')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"'raising_module_of_a_test:f': OSError: no disk"):
        import_object("raising_module_of_a_test:f", "the network")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("pathlib", "the model must be given as package.module:name; got 'pathlib'"),
        ("pathlib:", "the model must be given as package.module:name"),
        ("pathlib:Path.none", "pathlib must have Path.none; there is no 'none'"),
        ("no_such_module:f", "the module of the model must be importable from here; got|no_such_module"),
    ],
)
def test_paths_of_nothing_are_refused(path, message):
    with pytest.raises(InputError, match=message):
        import_object(path, "the model")


def test_digests_of_paths_and_of_functions_agree():
    assert source_digest("thinned.import_path:source_digest") == SOURCE
    assert source_digest(source_digest) == SOURCE
    assert source_digest("builtins:len") is None
    assert source_digest("math:pi") is None
    assert source_digest(functools.partial(source_digest, "math:pi")) == SOURCE


class Loss:
    def __call__(self) -> float:
        return 0.0


def test_an_object_that_can_be_called_has_the_digest_of_its_class():
    assert source_digest(Loss()) == source_digest(Loss) == hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


CELL = """
RATE = 0.5

class Block:
    def __init__(self):
        self.layers = [helper() for _ in range(2)]

class Wide(Block):
    pass

def helper():
    return RATE

def build():
    # a remark
    return Wide()

def other():
    return 3
"""


def digests(cell: str, number: int, monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Those of build, Wide and other, defined in a cell as a kernel defines it."""
    place = f"/tmp/ipykernel_0/{number}.py"  # not a file
    monkeypatch.setitem(linecache.cache, place, (len(cell), None, cell.splitlines(keepends=True), place))
    space = {"__name__": "notebook_of_a_test"}
    exec(compile(cell, place, "exec"), space)
    return [source_digest(space[name]) for name in ("build", "Wide", "other")]


def test_functions_of_a_notebook_have_the_digest_of_their_lines_and_of_what_they_name(monkeypatch):
    """A cell that is run again keeps it; the kernel gives its lines another name then."""
    first = digests(CELL, 1, monkeypatch)
    assert None not in first
    assert len(set(first)) == 3
    assert digests("\n\n" + CELL, 2, monkeypatch) == first
    for before, after, changed in (
        ("# a remark", "# another", [True, False, False]),
        ("range(2)", "range(3)", [True, True, False]),
        ("return RATE", "return 2 * RATE", [True, True, False]),
        ("RATE = 0.5", "RATE = 0.3", [True, True, False]),
        ("return 3", "return 4", [False, False, True]),
    ):
        found = digests(CELL.replace(before, after), 3, monkeypatch)
        assert [one != two for one, two in zip(first, found, strict=True)] == changed, before


def test_lines_that_are_kept_nowhere_have_no_digest():
    space: dict[str, Any] = {"__name__": "notebook_of_a_test"}
    exec("def build(): return 3", space)
    assert source_digest(space["build"]) is None
