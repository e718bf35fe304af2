"""The command line: its options are those of Python, and commands ask for what they need alone."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

import thinned
from thinned.studies.design.options import OptionKeywords, StudyOptions
from thinned_cli import extra
from thinned_cli.app import app
from thinned_cli.options import parse_names, parse_rates, parse_sizes


def test_the_command_line_and_python_offer_the_same_options() -> None:
    text = CliRunner().invoke(app, ["study", "--help"]).output
    for name in StudyOptions.__dataclass_fields__:
        assert f"--{'column' if name == 'columns' else name.replace('_', '-')} " in text
    assert list(StudyOptions.__dataclass_fields__) == list(OptionKeywords.__annotations__)


def test_lists_are_parsed_once() -> None:
    assert parse_rates("0.1,.5") == (0.1, 0.5)
    assert parse_sizes(" 250, 500") == (250, 500)
    assert parse_names("dropout, cocktail") == ("dropout", "cocktail")


@pytest.mark.parametrize("command", ["study", "predict", "report", "export", "audit", "demo", "explain"])
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert result.output.strip().startswith("Usage: ")


def test_every_package_of_the_extra_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the installed metadata: a list kept by hand would fall behind."""
    assert extra.missing_packages("study") == []
    requirements = ["torch>=2.6", 'pyarrow>=18; extra == "study"', "absent-one>=1; extra == 'study'"]
    monkeypatch.setattr(extra.metadata, "requires", lambda name: [*requirements, 'absent-two; extra == "onnx"'])
    assert extra.missing_packages("study") == ["absent-one"]
    result = CliRunner().invoke(app, ["report", "nowhere"])
    assert result.exit_code == 2
    assert "this command needs the study extra; absent-one not found; install it with" in result.output


def test_the_audit_starts_without_the_packages_of_studies() -> None:
    blocked = ["altair", "vl_convert", "pandas", "sklearn", "skops", "skrub", "pyarrow", "scipy", "safetensors"]
    code = (
        f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\n"
        "sys.argv = ['thinned', 'audit', '--help']\nfrom thinned_cli.main import main\nmain()\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Usage: thinned audit" in result.stdout


@pytest.mark.parametrize("command", [[], ["audit"], ["study"], ["predict"], ["merge"]])
def test_help_waits_for_nothing_that_it_does_not_need(command: list[str]) -> None:
    """Neither torch, which takes seconds, nor the package itself, which imports it to register its operators."""
    code = (
        f"import atexit, sys\nsys.argv = ['thinned', *{command!r}, '--help']\n"
        "slow = ('torch', 'numpy', 'pandas', 'rich', 'thinned')\n"
        "atexit.register(lambda: print([name for name in slow if name in sys.modules]))\n"
        "from thinned_cli.main import main\nmain()\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("Usage: ")
    assert result.stdout.endswith("[]\n")


def test_python_m_thinned_is_the_same_command() -> None:
    result = subprocess.run([sys.executable, "-m", "thinned", "--version"], capture_output=True, text=True, check=True)
    assert result.stdout == f"thinned {thinned.__version__}\n"
