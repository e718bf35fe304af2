"""The progress of a study from Python: a bar where somebody can see it, and silence elsewhere."""

import io
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from rich.console import Console
from study_cases import make_plan
from torch import nn

import thinned
from thinned.studies import progress_bar
from thinned.studies.training.drive import Progress

X, Y = torch.linspace(-1, 1, 120).reshape(60, 2), torch.arange(60) % 2


class Stream(io.StringIO):
    """Standard error that is a terminal, or is not."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def standard_error(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> Stream:
    """Replace standard error; within the test, since pytest itself replaces it before."""
    stream = Stream(terminal=terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return stream


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 2))


@pytest.mark.parametrize(("terminal", "progress"), [(True, False), (False, True)])
def test_no_bar_where_none_is_wanted_and_where_none_can_be_seen(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, progress: bool
) -> None:
    stream = standard_error(monkeypatch, terminal=terminal)
    with progress_bar.open_progress(progress) as report:
        report(Progress("training", 3.0), make_plan())
        report(Progress("A sentence to keep.", 3.0), make_plan())
    assert stream.getvalue() == ""


def test_a_bar_on_a_terminal_shows_the_task_and_keeps_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, plan = standard_error(monkeypatch, terminal=True), make_plan()
    with progress_bar.open_progress(True) as report:
        report(Progress("training", 3.0), plan)
        report(Progress("A sentence to keep.", 3.0), plan)
    text = stream.getvalue()
    assert "training" in text
    assert f"3/{plan.networks}" in text
    assert "A sentence to keep.\n" in text


def test_a_log_gets_a_line_for_each_tenth_of_the_networks() -> None:
    """A study under nohup, in CI or in a batch queue shows that it moves, without drawing a bar."""
    stream, plan = io.StringIO(), make_plan()
    with progress_bar.progress_bar("reading the table", Console(file=stream)) as report:
        for done in range(101):
            report(Progress("training", plan.networks * done / 100), plan)
        for epoch in range(3):
            report(Progress(f"training the network to use (epoch {epoch})", plan.networks), plan)
        report(Progress("A sentence to keep.", plan.networks), plan)
    lines, count = stream.getvalue().splitlines(), f"{plan.networks}/{plan.networks}"
    assert len(lines) == 13
    assert lines[0] == "training"
    assert lines[10:] == [f"training: {count}", f"training the network to use: {count}", "A sentence to keep."]


def test_a_bar_counts_nothing_before_there_is_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = standard_error(monkeypatch, terminal=True)
    with progress_bar.open_progress(True):
        pass
    assert "reading the data" in stream.getvalue()
    assert "None" not in stream.getvalue()


def test_a_notebook_shows_the_bar_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its standard error is no terminal, and the widgets that rich would use may not be installed."""
    stream = standard_error(monkeypatch, terminal=False)
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    with progress_bar.open_progress(True) as report:
        report(Progress("training", 3.0), make_plan())
    assert "training" in stream.getvalue()


@pytest.mark.parametrize("kind", ["table", "network"])
def test_a_study_shows_its_progress(monkeypatch: pytest.MonkeyPatch, kind: str, tmp_path: Path) -> None:
    stream = standard_error(monkeypatch, terminal=True)
    small = {"folds": 2, "seeds": 1, "epochs": 2, "rates": (0.5,), "arms": ("dropout",), "jobs": 1, "out": tmp_path}
    if kind == "table":
        frame = pd.DataFrame({"a": X[:, 0].numpy(), "b": X[:, 1].numpy(), "y": Y.numpy()})
        thinned.study(frame, "y", hidden=(4,), **small)
    else:
        thinned.study((X, Y), network=build, design="nested", device="cpu", **small)
    assert "training" in stream.getvalue() or "fitting" in stream.getvalue()


def test_what_is_printed_to_a_file_stays_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard output is a file here: the bar on standard error does not take what the user's code prints to it."""
    stream = standard_error(monkeypatch, terminal=True)
    with progress_bar.open_progress(True):
        print("of the user")
    assert capsys.readouterr().out == "of the user\n"
    assert "of the user" not in stream.getvalue()
