"""The package as it is installed: minimum versions, extras, plug-ins, and what pre-commit and GitHub are given."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version
from typer.main import get_command

import thinned
from thinned_cli.app import app

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def minimums(requirements: Iterable[str]) -> dict[str, Version]:
    """The least version of each requirement."""
    parsed = [Requirement(text) for text in requirements]
    return {r.name: Version(next(iter(r.specifier)).version) for r in parsed if r.specifier}


def test_the_tested_minimum_versions_are_those_that_are_declared() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    declared = minimums(PROJECT["project"]["dependencies"])
    for part in (extras["audit"], extras["study"], PROJECT["dependency-groups"]["tests-core"]):
        declared |= minimums(part)
    lines = (ROOT / "constraints-minimum.txt").read_text("utf-8").splitlines()
    tested = dict(line.split("==") for line in lines if not line.startswith("#"))
    pinned = {name: Version(version) for name, version in tested.items()}
    assert {name: pinned.get(name) for name in declared} == declared  # what those need in turn may be pinned as well


def test_the_study_brings_what_an_audit_needs() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    assert set(extras["audit"]) <= set(extras["study"])


def test_one_version() -> None:
    version = PROJECT["project"]["version"]
    assert thinned.__version__ == version
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["version"] == version


@pytest.mark.parametrize("file", [".pre-commit-hooks.yaml", "action.yml"])
def test_the_hook_and_the_action_name_options_that_exist(file: str) -> None:
    options = {option for param in get_command(app).commands["audit"].params for option in param.opts}  # type: ignore[attr-defined]
    text = (ROOT / file).read_text("utf-8")
    calls = re.findall(r"(?:run|entry): thinned audit (.*)", text)
    assert calls
    for call in calls:
        named = set(re.findall(r"--[a-z-]+", call))
        assert "--source" in named
        assert named <= options


def test_workflows_run_tests_that_exist() -> None:
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        text = path.read_text("utf-8")
        assert set(yaml.safe_load(text)["jobs"])
        for name in re.findall(r"(?<![\w/])tests/[\w/.]+", text):
            assert (ROOT / name).exists(), f"{path.name}: {name}"
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert set(re.findall(r"run: make ([a-z-]+)", text)) <= targets | {"docs"}


def test_the_extra_for_audits_needs_no_charts(tmp_path: Path) -> None:
    blocked = ["altair", "joblib", "msgspec", "pandas", "pyarrow", "scipy", "sklearn", "skops", "skrub", "vl_convert"]
    source = tmp_path / "net.py"
    lines = ["import torch.nn.functional as F", "from torch import nn", "", "class Net(nn.Module):"]
    lines += ["    def forward(self, x):", "        return F.dropout(x, 0.5)", ""]
    source.write_text("\n".join(lines))
    code = f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\nfrom thinned_cli.main import main\nmain()"
    command = [
        sys.executable,
        "-c",
        code,
        "audit",
        "--source",
        str(source),
        "--format",
        "html",
        "--fail-on",
        "warning",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stderr
    assert "TD101" in result.stdout
