"""What the documents say is run."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import thinned

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (f"{path.name}-{number}", code)
        for path in DOCUMENTS
        for number, code in enumerate(re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL))
    ]


@pytest.mark.parametrize(("name", "code"), blocks("python"), ids=lambda v: v if "\n" not in v else "")
def test_python_blocks_run(name: str, code: str) -> None:
    exec(compile(code, name, "exec"), {"__name__": name})


def test_shell_blocks_name_commands_and_options_that_exist() -> None:
    from typer.main import get_command

    from thinned_cli.app import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = [line.split("#")[0].split() for _, code in blocks("sh") for line in code.splitlines() if line.strip()]
    assert lines
    for program, *words in lines:
        if program == "make":
            assert set(words) <= targets
        elif program == "thinned":
            known = {option for p in commands[words[0]].params for option in p.opts}
            assert {word for word in words if word.startswith("--")} <= known
        else:
            assert program in {"pip", "python", "."}, program


def test_no_figure_is_left_to_fill_in() -> None:
    for path in DOCUMENTS:
        assert not re.search(r"@[A-Z0-9]+@", path.read_text()), path


def test_links_lead_somewhere() -> None:
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
            assert target.startswith("https://") or (path.parent / target).exists(), f"{path.name}: {target}"


def test_commands_of_figures_exist() -> None:
    for path in DOCUMENTS:
        for script in re.findall(r"python (benchmarks/\w+\.py|scripts/\w+\.py)", path.read_text()):
            assert (ROOT / script).exists(), f"{path.name}: {script}"


@pytest.mark.parametrize("module", [m.name for m in pkgutil.walk_packages(thinned.__path__, "thinned.")])
def test_doctests(module: str) -> None:
    if not module.endswith("__main__"):
        assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_every_arm_has_its_row_in_the_table() -> None:
    from thinned.studies.design.arms import ARMS

    named = re.findall(r"^\| `(\w+)` \| [^|]+ \|$", (ROOT / "docs/study.md").read_text(), re.MULTILINE)
    assert named[: len(ARMS)] == list(ARMS)
