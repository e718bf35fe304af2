"""``thinned study --data``: examples and a network of one's own from the command line."""

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from thinned.studies import Study
from thinned.studies.results import PlannedNetwork
from thinned_cli.app import app

MODULE = """
import torch
from torch import nn

def build():
    return nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 3))

def examples():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(80, 4, generator=generator)
    return x, (x @ torch.randn(4, 3, generator=generator)).argmax(1)

def loss(output, y):
    return nn.functional.cross_entropy(output, y, label_smoothing=0.1)

def score(output, y):
    return (output.argmax(1) != y).float()

def sampler(y):
    return torch.randperm(len(y))

def groups():
    return [f"speaker {i % 20}" for i in range(80)]

days = list(range(80))

def items():
    x, y = examples()
    return [(row[: 2 + n % 3], int(label)) for n, (row, label) in enumerate(zip(x, y))]

def collate(batch):
    rows, labels = zip(*batch)
    return torch.stack([nn.functional.pad(row, (0, 4 - len(row))) for row in rows]), torch.tensor(labels)

def train(network, run):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for epoch in range(2):
        for x, y in torch.utils.data.DataLoader(run.training, batch_size=8, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x), y).backward()
            optimizer.step()
        run.report(epoch + 1, 1 / (epoch + 1))

def too_few(network, run):
    train(network, run)
    return [0.5]
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


def test_training_is_what_the_options_say(folder: Path) -> None:
    options = ["--optimizer", "sgd", "--momentum", "0.8", "--schedule", "cosine", "--patience", "3", "--clip", "2"]
    options += ["--precision", "bfloat16", "--learning-rates", "0.1,0.2", "--data-version", "2"]
    options += [f"--{name}=cli_examples:{name}" for name in ("loss", "score", "sampler", "groups")]
    options += ["--collate=cli_examples:collate", "--time=cli_examples:days", "--device", "cpu"]
    own = ["--data", "cli_examples:items", "--network", "cli_examples:build"]
    result = CliRunner().invoke(app, ["study", *own, "--out", "run", *SMALL, *options])
    assert result.exit_code == 0, result.output
    plan = Study.load(folder / "run").results.plan
    assert isinstance(plan.own, msgspec.Struct)
    assert dict(plan.own.training) == {
        "optimizer": "sgd",
        "momentum": 0.8,
        "schedule": "cosine",
        "patience": 3,
        "clip": 2,
        "precision": "bfloat16",
    }
    assert None not in (plan.own.identities.loss, plan.own.identities.score, plan.own.identities.sampler)
    assert (plan.group, plan.time) == ("groups", "time")


def test_the_help_has_a_section_for_each_kind_of_study() -> None:
    text = CliRunner().invoke(app, ["study", "--help"], terminal_width=80).stdout
    places = [text.index(name) for name in ("Options:", "Tables:", "Examples and networks of your own", "Where it")]
    assert places == sorted(places)
    assert places[1] < text.index("--hidden") < places[2] < text.index("--optimizer") < places[3]


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
        ("time must be given as package.module:name; got 'y'", [*OWN, "--time", "y"]),
        ("loss must be a function; got list", [*OWN, "--loss", "cli_examples:days"]),
        ("optimizer is an option of a study of examples", ["table.csv", "--target", "y", "--optimizer", "sgd"]),
        ("a study of --data needs a network", OWN[:2]),
        ("the module of the collate function must be importable", [*OWN, "--collate", "no_such_module:x"]),
        (
            "collate_fn is an option of a study of examples",
            ["table.csv", "--target", "y", "--collate", "cli_examples:collate"],
        ),
        ("--stage and --pilot must come with --data", ["table.csv", "--target", "y", "--stage", "pilot"]),
        ("hidden is an option of a study of a table", [*OWN, "--hidden", "8"]),
        ("give a place or layers=NAME,NAME", [*OWN, "--insert", "place=conv"]),
        ("where must be 'hidden'", [*OWN, "--insert", "everywhere"]),
        ("the module of the data must be importable", ["--data", "no_such_module:x", *OWN[2:]]),
        ("a study needs a table, or examples of any kind", []),
        ("a study of a table needs --target", ["table.csv"]),
        ("design is an option of a study of examples", ["table.csv", "--target", "y", "--design", "nested"]),
    ],
)
def test_what_has_no_meaning_is_refused_in_a_sentence(folder: Path, words: str, options: list[str]) -> None:
    result = CliRunner().invoke(app, ["study", *options, "--out", "run", *SMALL])
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert not (folder / "run" / "results.json").exists()


def test_shards_of_both_stages(folder: Path) -> None:
    """Two shards of each stage, merged, are the study of one command."""

    def run(*command: str) -> str:
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        return " ".join(result.stdout.split())

    study = ("study", *OWN, *SMALL, "--device", "cpu", "--insert", "hidden")
    for number in "12":
        told = run(*study, "--stage", "pilot", "--shard", f"{number}/2", "--out", f"pilots/{number}")
        assert f"Shard {number}/2: pilots/{number} holds 2 finished networks." in told
    told = run("merge", "pilots/2", "pilots/1", "--out", "pilot")
    assert (
        told
        == "The pilot is complete: pilot holds its 4 networks. Stage confirm follows: --stage confirm --pilot pilot"
    )
    for number in "12":
        run(*study, "--stage", "confirm", "--pilot", "pilot", "--shard", f"{number}/2", "--out", f"shards/{number}")
    assert "The network to use, built again:" in run("merge", "shards/1", "shards/2", "--out", "run")
    run(*study, "--out", "alone")
    merged, alone = (Study.load(folder / name).results for name in ("run", "alone"))
    assert merged.settings == alone.settings
    assert merged.verdict == alone.verdict
    assert (folder / "run/network/weights.safetensors").read_bytes() == (
        folder / "alone/network/weights.safetensors"
    ).read_bytes()
    result = CliRunner().invoke(app, ["merge", "shards/1", "shards/2", "--out", "other", "--table", "x.csv"])
    assert result.exit_code == 2
    assert "--table must come with the shards of a table" in result.stderr


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("--stage must come with --shard", ["--stage", "pilot"]),
        ("--pilot must come with --shard", ["--pilot", "x"]),
        ("a shard must have the stage pilot or confirm", ["--shard", "1/2"]),
        ("no measured time may change", ["--shard", "1/2", "--stage", "pilot", "--minutes", "3"]),
    ],
)
def test_shards_without_meaning_are_refused(folder: Path, words: str, options: list[str]) -> None:
    result = CliRunner().invoke(app, ["study", *OWN, *options, "--out", "run", *SMALL])
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert not (folder / "run").exists()


OWN_LOOP = ["--folds", "2", "--seeds", "1", "--rates", "0.3", "--arms", "dropout", "--jobs", "1", "--device", "cpu"]


def test_a_training_function_is_named_by_its_path(folder: Path) -> None:
    result = CliRunner().invoke(app, ["study", *OWN, "--train", "cli_examples:train", "--out", "run", *OWN_LOOP])
    assert result.exit_code == 0, result.output
    assert "improvement over no regularisation" in " ".join(result.stdout.split())
    assert "best validation epoch" not in result.stdout
    own = Study.load(folder / "run").results.plan.own
    assert isinstance(own, PlannedNetwork)
    assert own.training == (("train", "cli_examples:train"),)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("must give one loss for each of", ["--train", "cli_examples:too_few"]),
        ("train must use run.weight_decay", ["--train", "cli_examples:train", "--arms", "dropout,weight_decay"]),
        ("epochs is an option of the study's own training", ["--train", "cli_examples:train", "--epochs", "3"]),
        ("the module of the training function must be importable", ["--train", "no_such_module:train"]),
    ],
)
def test_a_bad_training_function_is_a_sentence(folder: Path, words: str, options: list[str]) -> None:
    result = CliRunner().invoke(app, ["study", *OWN, "--out", "run", *OWN_LOOP, *options])
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert not (folder / "run").exists()
