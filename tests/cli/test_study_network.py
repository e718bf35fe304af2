"""``thinned study --data``: examples and a network of one's own from the command line."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from thinned.cli.app import app
from thinned.studies import Study

MODULE = """
import torch
from torch import nn

def build():
    return nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 3))

def examples():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(80, 4, generator=generator)
    return x, (x @ torch.randn(4, 3, generator=generator)).argmax(1)

def items():
    x, y = examples()
    return [(row[: 2 + n % 3], int(label)) for n, (row, label) in enumerate(zip(x, y))]

def collate(batch):
    rows, labels = zip(*batch)
    return torch.stack([nn.functional.pad(row, (0, 4 - len(row))) for row in rows]), torch.tensor(labels)
"""
SMALL = ["--epochs", "2", "--folds", "2", "--seeds", "1", "--rates", "0.3", "--arms", "dropout", "--jobs", "1"]
OWN = ["--data", "cli_examples:examples", "--network", "cli_examples:build"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cli_examples.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_study_of_examples_says_its_cost_and_leaves_a_report(folder: Path) -> None:
    options = [*SMALL, "--insert", "hidden", "--design", "confirm", "--device", "cpu"]
    result = CliRunner().invoke(app, ["study", *OWN, "--out", "run", *options])
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stderr.splitlines() if "full nested design" in line]
    assert len(lines) == 1
    assert "networks on half of the examples choose" in lines[0]
    assert "Recommended:" in result.stdout or "Provisionally:" in result.stdout
    assert (folder / "run" / "report.html").is_file()
    results = Study.load(folder / "run").results
    assert results.plan.network == "cli_examples:build"
    assert results.data.name == "cli_examples:examples"
    assert {arm.name for arm in results.arms} == {"none", "dropout"}


def test_examples_of_unequal_length_have_a_collate_function(folder: Path) -> None:
    items = ["study", "--data", "cli_examples:items", *OWN[2:], *SMALL]
    without = CliRunner().invoke(app, [*items, "--out", "refused"])
    assert without.exit_code == 2, without.output
    assert "--collate" in without.stderr
    result = CliRunner().invoke(app, [*items, "--out", "run", "--collate", "cli_examples:collate"])
    assert result.exit_code == 0, result.output
    assert Study.load(folder / "run").results.data.rows == 80


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("a study has a table or --data", ["table.csv", *OWN]),
        ("--target must name a column of a table", [*OWN, "--target", "y"]),
        ("--group must name a column of a table", [*OWN, "--group", "y"]),
        ("--time must name a column of a table", [*OWN, "--time", "y"]),
        ("a study of --data needs a network", OWN[:2]),
        ("the module of the collate function must be importable", [*OWN, "--collate", "no_such_module:x"]),
        ("--collate must come with --data", ["table.csv", "--target", "y", "--collate", "cli_examples:collate"]),
        ("--shard must be of the study of a table", [*OWN, "--shard", "1/2"]),
        ("hidden is an option of another kind of study", [*OWN, "--hidden", "8"]),
        ("give a place or layers=NAME,NAME", [*OWN, "--insert", "place=conv"]),
        ("where must be 'hidden'", [*OWN, "--insert", "everywhere"]),
        ("the module of the data must be importable", ["--data", "no_such_module:x", *OWN[2:]]),
        ("a study needs a table, or examples of any kind", []),
        ("a study of a table needs --target", ["table.csv"]),
        ("design is an option of another kind of study", ["table.csv", "--target", "y", "--design", "nested"]),
    ],
)
def test_what_has_no_meaning_is_refused_in_a_sentence(folder: Path, words: str, options: list[str]) -> None:
    result = CliRunner().invoke(app, ["study", *options, "--out", "run", *SMALL])
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert not (folder / "run" / "results.json").exists()
