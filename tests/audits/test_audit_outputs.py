"""What an audit is written as: JSON, SARIF, HTML and the command; reading without running; callbacks."""

import json
import re
import sys
import textwrap
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import thinned
from thinned.audits import RULES, Audit, Finding, trainer_callback
from thinned.audits.loading import read_inputs
from thinned.audits.output import to_html, to_sarif
from thinned.audits.source import read_text
from thinned.cli.app import app

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
    assert "1 dropout sites, 1 error, 1 warning" in result.output
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
        (["audited:Net", "--input", "8,x"], "an input must be a shape of positive sizes, got '8,x'"),
        (["audited:Net", "--input", "8,4:int65"], "an input must be a shape"),
        (["audited"], "must be given as package.module:name, got 'audited'"),
        (["no_such_module:f"], "must be importable"),
        (["audited:missing"], "there is no 'missing'"),
        (["audited:fails", "--input", "8,4"], "called without arguments, it raised KeyError: 'depth'"),
        (["audited:words_of", "--input", "8,4"], "called without arguments, it raised TypeError"),
        (["broken:Net", "--input", "8,4"], "must be importable from here, 'broken:Net': SyntaxError"),
        (["audited:Net", "--input-file", "broken.npz"], "must hold a model's inputs"),
        (["audited:number", "--input", "1"], "must be or return a torch.nn.Module"),
        ([], "needs a model or --source"),
        (["audited:Net", "--input-file", "x.pickle"], "must end in .json, .npz or .pt"),
        (["audited:Net", "--input-file", "x.json"], "must hold a model's inputs"),
        (["audited:Net", "--input", "8,4", "--ignore", "XX"], "a code must be one of the rules'"),
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


HOSTILE = "<script>alert(1)</script>{{7*7}}\"'><img src=x onerror=alert(1)>"


def test_hostile_text_is_escaped():
    finding = Finding("TD101", "error", HOSTILE, HOSTILE, HOSTILE, HOSTILE, 3, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    result = Audit(HOSTILE, (finding, finding), (HOSTILE,))
    page = to_html(result, RULES)
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append((tag, attrs))
    parser.feed(page)
    assert {"script", "img"}.isdisjoint(tag for tag, _ in tags)
    assert not any(name.startswith("on") for _, attrs in tags for name, _ in attrs)
    assert "{{7*7}}" in page
    assert json.loads(to_sarif(result, RULES, "0"))["runs"][0]["results"][0]["ruleId"] == "TD101"


SOURCE = """
import torch
import torch.nn as tnn
from torch.nn import functional as fun, Dropout
from torch.nn.functional import dropout as drop
from torch.utils.checkpoint import checkpoint
from paddle.nn import functional as F

class Net(tnn.Module):
    def __init__(self, p):
        self.used, self.lstm = Dropout(p), None
        self.dead = Dropout(0.3)  # TD301
        self.placeholder = Dropout(0.0)
        self.keep = tnn.Dropout2d(0.9)  # TD304
        self.high = Dropout(p=0.8)  # TD303
        self.lstm = tnn.LSTM(3, 4, dropout=0.5)  # TD302
        self.deep = tnn.LSTM(3, 4, 2, dropout=0.5)

    def forward(self, x):
        x = fun.dropout(x, 0.5)  # TD101
        x = drop(x, self.p, True)  # TD101
        x = fun.dropout(x, 0.5, self.training)
        x = fun.dropout(x, 0.5 if self.training else 0.0)
        x = F.dropout(x, 0.5)
        if self.training:
            x = fun.dropout(x, 0.5)
        x = drop(x) if self.training else x
        x = self.training and drop(x)
        x = tnn.Dropout(0.1)(x)  # TD103
        torch.manual_seed(0)  # TD401
        x = checkpoint(self.used, x, preserve_rng_state=False)  # TD402
        rate = self.p if self.training else 0
        x = fun.scaled_dot_product_attention(x, x, x, dropout_p=rate)
        x = fun.scaled_dot_product_attention(x, x, x, dropout_p=self.p)  # TD101
        x = fun.scaled_dot_product_attention(x, x, x, None, 0.0)
        x = fun.dropout(x, 0.5)  # TD101 thinned: ignore
        return self.keep(self.high(self.lstm(self.deep(self.placeholder(x)))))

    def early(self, x):
        if not self.training:
            return x
        return fun.dropout(x)

def helper(x, p):
    return fun.dropout(x, p)
"""


def test_reading_without_running():
    expected = [
        (line, code) for line, text in enumerate(SOURCE.splitlines(), 1) for code in re.findall(r"# (TD\d+)", text)
    ]
    found = read_text(SOURCE)
    assert [(finding.line, finding.code) for finding in found] == expected
    assert not any(finding.confirmed for finding in found)
    assert all("not run" in finding.message for finding in found)


GATES = """
if not self.training or self.p == 0:
    return x
return F.dropout(x, 0.5)
---
with torch.no_grad():
    if not self.training:
        return x
    return F.dropout(x, 0.5)
---
assert self.training
return F.dropout(x, 0.5)
---
if not (self.training and self.p > 0):
    return x
return F.dropout(x, 0.5)
---
if not self.training and self.p == 0:
    return x
return F.dropout(x, 0.5)  # TD101
---
if self.training or self.p > 0:
    return F.dropout(x, 0.5)  # TD101
"""


@pytest.mark.parametrize("body", GATES.split("---\n"))
def test_what_runs_in_training_only(body):
    head = "import torch\nimport torch.nn.functional as F\nclass M:\n    def forward(self, x):\n"
    found = read_text(head + textwrap.indent(body, " " * 8))
    assert [finding.code for finding in found] == re.findall("# (TD101)", body)


def test_a_dropout_with_an_annotation_is_read():
    init = "    def __init__(self):\n        self.drop: nn.Module = nn.Dropout(0.3)\n"
    [finding] = read_text(f"from torch import nn\nclass M:\n{init}    def forward(self, x):\n        return x\n")
    assert (finding.code, finding.line) == ("TD301", 4)


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


class Always(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x, labels=None):
        logits = nn.functional.dropout(self.linear(x), 0.5) @ torch.ones(4, 2)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def test_the_trainer_callback(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    data = [{"x": torch.randn(4), "labels": torch.tensor(1)} for _ in range(8)]
    options = {"per_device_train_batch_size": 4, "max_steps": 2, "report_to": [], "use_cpu": True, "disable_tqdm": True}
    arguments = transformers.TrainingArguments(str(tmp_path), **options)
    callback = trainer_callback()
    trainer = transformers.Trainer(Always(), arguments, train_dataset=data, callbacks=[callback])
    with pytest.warns(UserWarning, match="TD101 error") as caught:
        trainer.train()
    assert len([w for w in caught if "dropout findings" in str(w.message)]) == 1
    assert callback.first.result.codes() >= {"TD101"}


def test_the_first_batch_is_audited_once_and_hooks_are_gone():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.9), nn.Linear(4, 2))
    first = thinned.audits.integrations.FirstBatch()
    first.arm(model)
    model[1].eval()
    model(torch.randn(4, 4))
    with pytest.warns(UserWarning, match=r"(?s)dropout findings in Sequential.*TD104") as caught:
        first.audit()
    first.audit()
    assert len(caught) == 1
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_an_audit_that_raises_is_not_tried_again():
    class Once(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls > 1:
                raise ValueError("once only")
            return x

    model, first = Once(), thinned.audits.integrations.FirstBatch()
    first.arm(model)
    model(torch.ones(2, 2))
    with pytest.warns(UserWarning, match="once only"):
        first.audit()
    assert first.done
    assert first.result is None


def test_the_lightning_callback():
    lightning = pytest.importorskip("lightning")

    class Task(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Always()

        def training_step(self, batch, _):
            return self.net(batch[0], batch[1])["loss"]

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    data = torch.utils.data.TensorDataset(torch.randn(8, 4), torch.zeros(8, dtype=torch.long))
    callback = thinned.audits.lightning_callback()
    trainer = lightning.Trainer(
        max_steps=2, callbacks=[callback], logger=False, enable_checkpointing=False, accelerator="cpu"
    )
    with pytest.warns(UserWarning, match="TD101 error"):
        trainer.fit(Task(), torch.utils.data.DataLoader(data, 4))
    assert callback.first.result.codes() >= {"TD101"}
