"""The rules of the house: imports go one way, the core needs torch and numpy alone, files and functions stay short."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

Node = TypeVar("Node", bound=ast.AST)

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
MODULES = sorted(SOURCE.rglob("*.py"))


def relative(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def lint_imports(config: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-c", code, "--config", str(config), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_imports_go_one_way() -> None:
    result = lint_imports(ROOT / "pyproject.toml")
    assert result.returncode == 0, result.stdout


def test_the_contracts_see_an_upward_import(tmp_path: Path) -> None:
    """The same check, told that functional stands above layers, finds that layers import it."""
    config = tmp_path / "contracts.toml"
    config.write_text(
        '[tool.importlinter]\nroot_package = "thinned"\n[[tool.importlinter.contracts]]\nname = "upside down"\n'
        'type = "layers"\ncontainers = ["thinned"]\nlayers = ["functional", "layers"]\n'
    )
    result = lint_imports(config)
    assert result.returncode == 1
    assert "thinned.layers is not allowed to import thinned.functional" in result.stdout


def nodes(kind: type[Node]) -> Iterator[tuple[str, Node]]:
    """All syntax nodes of a kind in the package, each with its file."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, kind):
                yield relative(path), node


def test_no_relative_import() -> None:
    assert [file for file, node in nodes(ast.ImportFrom) if node.level] == []


def test_a_file_has_at_most_400_lines() -> None:
    assert {relative(path) for path in MODULES if path.read_text().count("\n") > 400} == set()


def test_a_function_has_at_most_60_lines() -> None:
    long = {
        f"{file}: {node.name}" for file, node in nodes(ast.FunctionDef) if (node.end_lineno or 0) - node.lineno >= 60
    }
    assert long == set()


def test_the_package_has_at_most_14_files_and_14_folders() -> None:
    entries = [
        entry for entry in (SOURCE / "thinned").iterdir() if entry.name != "__pycache__" and entry.suffix != ".so"
    ]
    assert sum(entry.is_file() for entry in entries) <= 14
    assert sum(entry.is_dir() for entry in entries) <= 14


def test_any_is_rare() -> None:
    counts = {relative(path): len(re.findall(r"\bAny\b", path.read_text())) for path in MODULES}
    assert sum(counts.values()) < 120
    of_results = ("thinned/studies/analysis/", "thinned/studies/report/", "thinned/studies/results")
    assert {name: count for name, count in counts.items() if name.startswith(of_results) and count} == {}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.jinja")), ids=relative)
def test_a_line_of_a_template_has_at_most_120_characters(path: Path) -> None:
    assert [line for line in path.read_text().splitlines() if len(line) > 120] == []


PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")]


@pytest.mark.parametrize("path", [path for path in PAGES if "_build" not in path.parts], ids=str)
def test_a_line_of_prose_has_at_most_100_characters(path: Path) -> None:
    """Tables, code and lines that are one link or image can't be broken."""
    prose = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL).splitlines()
    assert [line for line in prose if len(line) > 100 and not line.startswith(("|", "[", "!["))] == []


def test_the_core_imports_torch_and_numpy_alone() -> None:
    blocked = [
        *("altair", "jinja2", "joblib", "msgspec", "pandas", "polars", "pyarrow", "rich", "scipy", "sklearn", "skops"),
        *("skrub", "triton", "typer"),
    ]
    code = (
        f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\n"
        "import thinned, torch\nassert thinned.Dropout(0.5)(torch.ones(8)).shape == (8,)\n"
        "thinned.audit, thinned.convert, thinned.ensemble, thinned.sites, thinned.uncertainty\n"
    )
    subprocess.run([sys.executable, "-W", "error::DeprecationWarning", "-c", code], check=True)


def test_a_plain_install_audits() -> None:
    blocked = ["altair", "jinja2", "msgspec", "pandas", "rich", "scipy", "sklearn", "skops", "typer", "vl_convert"]
    code = (
        f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\n"
        "import thinned, torch\nfrom torch import nn\n"
        "model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.9), nn.Linear(3, 2))\n"
        "result = thinned.audit(model, torch.ones(8, 4))\n"
        "assert result.codes() == {'TD304'}, result.codes()\nprint(result, repr(result))\n"
        "assert not thinned.audit(model, torch.ones(8, 4), ignore=['TD304']).codes()\n"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "TD304" in result.stdout


def test_what_a_training_loop_does_not_need_is_imported_at_first_use() -> None:
    code = (
        "import sys, thinned\n"
        "parts = {name.split('.')[1] for name in sys.modules if name.startswith('thinned.')}\n"
        "assert not parts & {'audits', 'ensemble', 'studies', 'tracing', 'uncertainty'}, parts\n"
        "for name in dir(thinned): getattr(thinned, name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_extra_is_one_sentence() -> None:
    code = (
        "import importlib.metadata as m, sys\nversion = m.version\n"
        "def absent(name):\n    raise m.PackageNotFoundError(name)\n"
        "m.version = lambda name: absent(name) if name == 'altair' else version(name)\n"
        "sys.argv = ['thinned', 'report', 'nowhere']\nfrom thinned_cli.main import main\nmain()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "pip install 'thinned[study]'" in result.stderr


def test_no_pickle() -> None:
    """joblib, which pickles, only moves our own data between our own processes: nothing from outside is unpickled."""
    forbidden = {"pickle", "cloudpickle", "dill"}
    plain = {f"{file}: {alias.name}" for file, node in nodes(ast.Import) for alias in node.names}
    parts = {f"{file}: {node.module}" for file, node in nodes(ast.ImportFrom)}
    assert {name for name in plain | parts if name.split(": ")[1].split(".")[0] in forbidden} == set()
