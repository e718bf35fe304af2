"""Objects by their import paths, and digests of the files that define them."""

import hashlib
import sys
from pathlib import Path

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
