"""The command `thinned audit`."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from audit_corpus import SOURCE
from typer.testing import CliRunner

from thinned.audits import RULES
from thinned_cli.app import app
from thinned_cli.audit_inputs import read_inputs

MODELS = """
import torch
import torch.nn.functional as F
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last, self.dead = nn.Linear(4, 8), nn.Linear(8, 2), nn.Dropout(0.2)

    def forward(self, x, scale=None):
        x = F.dropout(self.first(x).relu(), 0.5)
        return self.last(x) * (1 if scale is None else scale)

def clean():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2))

def words():
    return nn.Sequential(nn.Embedding(9, 8), nn.Dropout(0.9), nn.Linear(8, 2))

class High(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)
        self.drop = nn.Dropout(0.8)

    def forward(self, x):
        return self.last(self.drop(self.first(x)))

def high():
    return High()

number = 3

def fails():
    return {}["depth"]

def words_of(size):
    return words()
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    (tmp_path / "audited.py").write_text(MODELS)
    (tmp_path / "broken.py").write_text("def Net(:")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "audited", raising=False)
    return lambda *words: CliRunner().invoke(app, ["audit", *words])


def test_the_command(run):
    result = run("audited:Net", "--input", "8,4")
    assert result.exit_code == 1
    assert "TD101 error" in result.output
    assert "audited.py:12" in result.output
    assert "1 dropout site, 1 error, 1 warning" in result.output
    assert run("audited:clean", "--input", "8,4").exit_code == 0
    assert run("audited:Net", "--input", "8,4", "--ignore", "TD101").exit_code == 0
    assert run("audited:Net", "--input", "8,4", "--ignore", "TD101", "--fail-on", "warning").exit_code == 1
    assert run("audited:Net", "--input", "8,4", "--fail-on", "never").exit_code == 0
    assert "TD301" not in run("audited:Net", "--input", "8,4", "--select", "TD1,TD2").output
    assert run("audited:Net", "--input", "8,4", "--meta", "--select", "TD101").exit_code == 1
    assert "TD304" in run("audited:words", "--input", "8,5:int64").output
    assert "TD307" in run("audited:clean", "--input", "8,4", "--rows", "100").output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["audited:Net"], "must run on the inputs"),
        (["audited:Net", "--input", "8,5"], "must run on the inputs"),
        (["audited:Net", "--input", "8,x"], "an input must be a shape of positive sizes; got '8,x'"),
        (["audited:Net", "--input", "8,4:int65"], "an input must be a shape"),
        (["audited"], "must be given as package.module:name; got 'audited'"),
        (["no_such_module:f"], "must be importable"),
        (["audited:missing"], "there is no 'missing'"),
        (["audited:fails", "--input", "8,4"], "called without arguments; it raised KeyError: 'depth'"),
        (["audited:words_of", "--input", "8,4"], "called without arguments; it raised TypeError"),
        (["broken:Net", "--input", "8,4"], "must be importable from here; 'broken:Net': SyntaxError"),
        (["audited:Net", "--input-file", "broken.npz"], "must hold a model's inputs"),
        (["audited:number", "--input", "1"], "must be or return a torch.nn.Module"),
        ([], "needs a model or --source"),
        (["audited:Net", "--input-file", "x.pickle"], "must end in .json, .npz or .pt"),
        (["audited:Net", "--input-file", "x.json"], "must hold a model's inputs"),
        (["audited:Net", "--input", "8,4", "--ignore", "XX"], "a code must be that of a rule"),
        (["--source", "nowhere"], "must be a Python file"),
    ],
)
def test_bad_input_is_one_sentence(run, words, message):
    result = run(*words)
    assert result.exit_code == 2
    assert message in result.output
    assert result.output.count("\n") == 1


def test_inputs_from_files(run, tmp_path):
    x = np.ones((8, 4), np.float32)
    (tmp_path / "a.json").write_text(json.dumps({"x": x.tolist(), "scale": 2}))
    np.savez(tmp_path / "a.npz", x=x)
    torch.save((torch.ones(8, 4),), tmp_path / "a.pt")
    for name in ("a.json", "a.npz", "a.pt"):
        assert "TD101 error" in run("audited:Net", "--input-file", name).output, name
    args, kwargs = read_inputs(tmp_path / "a.json")
    assert (args, kwargs["scale"], kwargs["x"].shape) == ((), 2, (8, 4))


class Planted:
    """What would run where a file is unpickled without care."""

    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


def test_files_run_no_code(run, tmp_path):
    torch.save(Planted(), tmp_path / "bad.pt")
    np.savez(tmp_path / "bad.npz", x=np.array([Planted()], dtype=object))
    for name in ("bad.pt", "bad.npz"):
        result = run("audited:Net", "--input-file", name)
        assert (result.exit_code, result.output.count("\n")) == (2, 1), result.output
    assert not (tmp_path / "ran").exists()


def test_one_result_in_four_forms(run, tmp_path):
    written = {}
    for form in ("rich", "json", "sarif", "html"):
        assert run("audited:Net", "--input", "8,4", "--format", form, "--out", f"out.{form}").exit_code == 1
        written[form] = (tmp_path / f"out.{form}").read_text()
        assert "TD101" in written[form]
    data = json.loads(written["json"])
    assert data["counts"] == {"error": 1, "warning": 1, "info": 0}
    assert {f["code"] for f in data["findings"]} == {"TD101", "TD301"}
    assert json.loads(run("audited:Net", "--input", "8,4", "--format", "json").output)["model"] == "Net"
    [part] = json.loads(written["sarif"])["runs"]
    assert [rule["id"] for rule in part["tool"]["driver"]["rules"]] == list(RULES)
    first, second = part["results"]
    assert part["tool"]["driver"]["rules"][first["ruleIndex"]]["id"] == first["ruleId"] == "TD101"
    place = first["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "audited.py"}, "region": {"startLine": 12}}
    assert (first["level"], second["level"]) == ("error", "warning")
    assert second["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "dead"


def test_paragraphs_are_wrapped_and_headings_are_not(run):
    lines = run("audited:Net", "--input", "8,4").output.splitlines()
    assert max(map(len, (line for line in lines if not line.startswith("TD") and "fix:" not in line))) <= 100
    assert next(line for line in lines if line.startswith("TD101")).endswith("audited.py:12  [Net]")


def test_every_result_in_sarif_has_a_file_and_a_line(run):
    for factory in ("Net", "clean", "high"):
        log = json.loads(run(f"audited:{factory}", "--input", "8,4", "--rows", "100", "--format", "sarif").output)
        places = [place for result in log["runs"][0]["results"] for place in result["locations"]]
        assert places
        assert all(place["physicalLocation"]["artifactLocation"]["uri"] == "audited.py" for place in places)
        assert all(place["physicalLocation"]["region"]["startLine"] > 1 for place in places)


def test_one_mistake_is_reported_once_when_read_and_run(run):
    for factory, size, code in (("high", "8,4", "TD303"), ("words", "8,5:int64", "TD304")):
        words = (f"audited:{factory}", "--input", size, "--source", "audited.py", "--format", "json")
        found = [finding["code"] for finding in json.loads(run(*words).output)["findings"]]
        assert found.count(code) == 1


def test_reading_a_folder(run, tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "one.py").write_text(SOURCE)
    (tmp_path / "code" / "broken.py").write_text("def (")
    for folder in (".venv", "env/lib/site-packages"):
        (tmp_path / "code" / folder).mkdir(parents=True)
        (tmp_path / "code" / folder / "theirs.py").write_text(SOURCE)
    result = run("--source", "code", "--format", "json")
    findings = json.loads(result.output)["findings"]
    assert result.exit_code == 1
    assert sum(finding["code"] == "TD101" for finding in findings) == 3  # one of four is ignored inline
    both = json.loads(run("audited:Net", "--input", "8,4", "--source", "audited.py", "--format", "json").output)
    assert sum(finding["code"] == "TD101" for finding in both["findings"]) == 1  # seen, so not read again
    assert run("--source", "code/broken.py").exit_code == 2
