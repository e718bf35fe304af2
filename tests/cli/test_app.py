"""The command line: its options are those of Python, and commands ask for what they need alone."""

import dataclasses
import inspect
import os
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

import thinned
from thinned.studies.design.options import OptionKeywords, StudyOptions
from thinned.studies.design.own_network.options import NetworkKeywords, NetworkOptions
from thinned_cli import extra
from thinned_cli.app import app
from thinned_cli.options import parse_names, parse_rates, parse_sizes

#: parameters of `thinned.study` that the command line has under other names
RENAMED = {
    "file": "data",  # a table is an argument, examples are the option --data
    "column": "columns",  # given once for each column, where Python has a mapping
}
#: of Python alone: the terminal shows the progress, callbacks are objects, and the command is the one that runs
PYTHON_ALONE = {"progress", "callbacks", "command"}
#: of the command line alone: jobs of an array train a share each
COMMAND_LINE_ALONE = {"shard", "stage", "pilot"}


def python_options() -> dict[str, set[object]]:
    """The parameters of ``thinned.study`` with its options, each with the defaults that it has."""
    parameters = inspect.signature(thinned.study).parameters.values()
    defaults: dict[str, set[object]] = {p.name: {p.default} for p in parameters if p.kind is not p.VAR_KEYWORD}
    for kind in (StudyOptions, NetworkOptions):
        for field in dataclasses.fields(kind):
            defaults.setdefault(field.name, set()).add(field.default)
    return defaults


def test_the_command_line_and_python_offer_the_same_options() -> None:
    command = typer.main.get_command(app).commands["study"]  # type: ignore[attr-defined]
    options = {RENAMED.get(param.name, param.name): param for param in command.params}
    assert options.keys() - COMMAND_LINE_ALONE == python_options().keys() - PYTHON_ALONE
    assert {name for name, param in options.items() if param.required} == {"out"}  # Python makes a temporary folder
    assert list(StudyOptions.__dataclass_fields__) == list(OptionKeywords.__annotations__)
    assert list(NetworkOptions.__dataclass_fields__) == list(NetworkKeywords.__annotations__)


def test_an_option_that_is_left_out_has_the_default_of_python() -> None:
    """None is not handed on."""
    command = typer.main.get_command(app).commands["study"]  # type: ignore[attr-defined]
    defaults = python_options()
    for param in command.params:
        if param.name in defaults and param.default not in {None, False}:
            assert defaults[param.name] == {param.default}, param.name
    assert all(p.default is not True for p in command.params)


def test_every_option_stands_in_the_help() -> None:
    text = CliRunner().invoke(app, ["study", "--help"]).output
    command = typer.main.get_command(app).commands["study"]  # type: ignore[attr-defined]
    flags = [flag for param in command.params if param.param_type_name == "option" for flag in param.opts]
    assert len(flags) > 40
    assert [flag for flag in flags if f"{flag} " not in text] == []


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


def test_a_shell_completes_commands_and_options_without_torch() -> None:
    code = "import sys; from thinned_cli.main import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    completed = []
    for words in ("thinned au", "thinned audit --fail"):
        environment = {"_THINNED_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        result = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=True
        )
        completed.append(result.stdout.strip())
    assert completed == ["audit", "--fail-on"]
