"""The rules of the house: imports go one way, and the core needs torch and numpy alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "thinned"

# A module imports only from lower ranks, or from its own rank's package; see DESIGN.
RANKS = {
    "_checks": 0,
    "_places": 1,
    "_torch_calls": 0,
    "philox": 0,
    "pages": 1,
    "kernels": 1,
    "numpy_network": 1,
    "schedules": 1,
    "uncertainty": 1,
    "variance": 1,
    "masks": 2,
    "ops": 3,
    "functional": 4,
    "attention": 5,
    "variants": 5,
    "layers": 6,
    "_reroute": 6,
    "sites": 6,
    "_circuit": 7,
    "datasets": 7,
    "addressing": 8,
    "audits": 9,
    "ensemble": 8,
    "studies": 9,
    "estimators": 10,
    "audit_command": 10,
    "explain": 10,
    "cli": 11,
    "__main__": 12,
}
AUDITS = {
    "finding": 0,
    "flow": 0,
    "guard": 0,
    "loading": 0,
    "observe": 1,
    "passes": 2,
    "rules": 3,
    "formats": 4,
    "rules_masks": 4,
    "rules_modes": 4,
    "rules_places": 4,
    "rules_rates": 4,
    "fixing": 5,
    "source": 5,
    "_audit": 6,
    "callbacks": 7,
    "__init__": 8,
}
STUDIES = {
    "arms": 0,
    "columns": 0,
    "claim_charts": 2,
    "side_by_side": 2,
    "comparing": 0,
    "conformal": 0,
    "embedding": 0,
    "metrics": 0,
    "results": 0,
    "workers": 0,
    "charts": 1,
    "card": 1,
    "nested": 1,
    "network": 1,
    "optimizer": 1,
    "reading": 1,
    "answers": 2,
    "claims": 2,
    "export": 2,
    "encoding": 2,
    "table": 2,
    "plan": 3,
    "telling": 3,
    "verdict": 3,
    "cautions": 4,
    "cohort": 4,
    "report": 4,
    "splits": 4,
    "store": 4,
    "mechanisms": 3,
    "probes": 5,
    "sizes": 2,
    "analysis": 5,
    "terminal": 5,
    "run": 6,
    "model": 7,
    "_study": 8,
    "predicting": 8,
    "__init__": 9,
}


def imported(path: Path) -> set[str]:
    """Dotted names below ``thinned`` that a file imports, at any depth of its code but for TYPE_CHECKING blocks."""
    names = set()
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("thinned.") for name in names if name.startswith("thinned.")}


def upward(path: Path, own: str, ranks: dict[str, int], prefix: str) -> list[str]:
    found = []
    for name in imported(path):
        if not name.startswith(prefix):
            continue
        other = name.removeprefix(prefix).split(".")[0]
        if other in ranks and other != own and ranks[other] >= ranks[own]:
            found.append(f"{path.name} (rank {ranks[own]}) imports {name} (rank {ranks[other]})")
    return found


def test_every_module_has_a_rank() -> None:
    top = {p.stem for p in SOURCE.glob("*.py")} | {p.parent.name for p in SOURCE.glob("*/__init__.py")}
    assert top - {"__init__"} == set(RANKS)
    assert {p.stem for p in (SOURCE / "audits").glob("*.py")} == set(AUDITS)
    assert {p.stem for p in (SOURCE / "studies").glob("*.py")} == set(STUDIES)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_one_way(path: Path) -> None:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    if parts == ("__init__",):
        return
    assert upward(path, parts[0], RANKS, "") == []
    if parts[0] == "audits":
        assert upward(path, parts[1], AUDITS, "audits.") == []
    if parts[0] == "studies":
        assert upward(path, parts[1], STUDIES, "studies.") == []


def test_the_rank_test_sees_an_upward_import(tmp_path: Path) -> None:
    file = tmp_path / "masks.py"
    file.write_text("def f():\n    from thinned.layers import Dropout\n")
    assert upward(file, "masks", RANKS, "") == ["masks.py (rank 2) imports layers.Dropout (rank 6)"]


def test_the_core_imports_torch_and_numpy_alone() -> None:
    blocked = ["pandas", "sklearn", "scipy", "altair", "typer", "rich", "skrub", "skops", "pyarrow", "polars", "triton"]
    code = (
        f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\n"
        "import thinned, torch\nassert thinned.Dropout(0.5)(torch.ones(8)).shape == (8,)\n"
    )
    subprocess.run([sys.executable, "-W", "error::DeprecationWarning", "-c", code], check=True)


def test_a_missing_extra_is_one_sentence() -> None:
    code = (
        "import importlib.metadata as m, sys\nversion = m.version\n"
        "def absent(name):\n    raise m.PackageNotFoundError(name)\n"
        "m.version = lambda name: absent(name) if name == 'altair' else version(name)\n"
        "sys.argv = ['thinned', 'report', 'nowhere']\nfrom thinned.__main__ import main\nmain()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "pip install 'thinned[study]'" in result.stderr


def test_no_pickle() -> None:
    """joblib, which pickles, only moves our own data between our own processes: nothing from outside is unpickled."""
    for path in SOURCE.rglob("*.py"):
        assert not {"pickle", "cloudpickle", "dill"} & {
            alias.name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }, path
