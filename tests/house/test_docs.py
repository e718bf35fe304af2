"""What the documents say is run."""

import doctest
import importlib
import pkgutil
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import thinned

ROOT = Path(__file__).parents[2]
GENERATED = {"_build", "tutorials"}  # by `make docs`
DOCUMENTS = [
    ROOT / "README.md",
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if not GENERATED & set(path.parts)),
]


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (f"{path.name}-{number}", code)
        for path in DOCUMENTS
        for number, code in enumerate(re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL))
    ]


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # Lightning's own
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*tensorboardX")
@pytest.mark.parametrize(("name", "code"), blocks("python"), ids=lambda v: v if "\n" not in v else "")
def test_python_blocks_run(name: str, code: str) -> None:
    exec(compile(code, name, "exec"), {"__name__": name})


def commands(value: object) -> Iterator[str]:
    """The shell commands of a CI configuration: what stands under ``run`` and ``script``."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        if key in {"run", "script"}:
            yield from inner if isinstance(inner, list) else [inner]
        else:
            yield from commands(inner)
    for inner in value if isinstance(value, list) else ():
        yield from commands(inner)


SHELL = [*blocks("sh"), *blocks("bash")]
SHELL += [(name, "\n".join(commands(yaml.safe_load(code)))) for name, code in blocks("yaml")]


@pytest.mark.parametrize(("name", "code"), SHELL, ids=lambda v: v if "\n" not in v and len(v) < 40 else "")
def test_shell_blocks_name_commands_and_options_that_exist(name: str, code: str) -> None:
    from typer.main import get_command

    from thinned_cli.app import app

    assert subprocess.run(["bash", "-n"], input=code, text=True, check=False).returncode == 0
    known = get_command(app).commands  # type: ignore[attr-defined]
    lines = [line.split("#")[0] for line in code.replace("\\\n", " ").splitlines()]
    called = [words.split() for line in lines for words in re.findall(r"\bthinned ([a-z]+ [^\"]*)", f"{line} ")]
    for command, *words in called:
        options = {option for parameter in known[command].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for line in lines if line.startswith("make ") for word in line.split()[1:]} <= targets


def test_shell_blocks_call_nothing_else() -> None:
    lines = [
        re.sub(r"^(\w+=\S+ )+", "", line).split("#")[0].split()
        for _, code in blocks("sh")
        for line in code.splitlines()
    ]
    assert {line[0] for line in lines if line} <= {"make", "thinned", "pip", "python", "."}


def test_no_figure_is_left_to_fill_in() -> None:
    for path in DOCUMENTS:
        assert not re.search(r"@[A-Z0-9]+@", path.read_text()), path


def test_links_lead_somewhere() -> None:
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
            assert target.startswith("https://") or (path.parent / target).exists(), f"{path.name}: {target}"


def test_commands_of_figures_exist() -> None:
    for path in DOCUMENTS:
        for script in re.findall(r"python (benchmarks/\w+\.py|scripts/\w+\.py)", path.read_text()):
            assert (ROOT / script).exists(), f"{path.name}: {script}"


@pytest.mark.parametrize("module", [m.name for m in pkgutil.walk_packages(thinned.__path__, "thinned.")])
def test_doctests(module: str) -> None:
    if not module.endswith("__main__"):
        assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_every_benchmark_has_its_row() -> None:
    named = set(re.findall(r"`python benchmarks/(\w+)\.py`", (ROOT / "docs/benchmarks.md").read_text()))
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text()}
    assert scripts <= named


def test_every_arm_has_its_row_in_the_table() -> None:
    from thinned.studies.design.arms import ARMS

    named = re.findall(r"^\| `(\w+)` \| [^|]+ \|$", (ROOT / "docs/study.md").read_text(), re.MULTILINE)
    assert named[: len(ARMS)] == list(ARMS)
