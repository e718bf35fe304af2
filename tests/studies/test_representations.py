"""What a terminal or notebook shows of a study's objects: one line, however much they hold."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import TensorDataset

import thinned
from thinned.studies.design.setting import Setting
from thinned.studies.results import StudyWarning
from thinned.studies.training.own_training.run import PartDataset, Parts, TrainingRun

X, Y = torch.zeros(100, 4), torch.zeros(100, dtype=torch.int64)


@pytest.mark.parametrize(
    ("examples", "text"),
    [
        (
            thinned.Examples((X, Y), test=(X[:20], Y[:20])),
            "train=(float32[100, 4], int64[100]), test=(float32[",
        ),
        (thinned.Examples((X.numpy(), Y.numpy())), "train=(float32[100, 4], int64[100])"),
        (thinned.Examples(({"a": X}, Y)), "train=({'a': float32[100, 4]}, int64[100])"),
        (thinned.Examples(TensorDataset(X, Y)), "train=TensorDataset of 100"),
    ],
)
def test_examples(examples: thinned.Examples, text: str) -> None:
    assert repr(examples).startswith(f"Examples({text}")


def test_a_training_run(tmp_path: Path) -> None:
    parts = Parts(*(PartDataset(None, np.arange(count)) for count in (60, 20, 20)))  # type: ignore[arg-type]
    run = TrainingRun(parts, 7, tmp_path, Setting(), 1e-3, lambda: None)
    assert repr(run) == "TrainingRun(60 training, 20 validation and 20 test examples, seed=7)"
    assert repr(run.training) == "PartDataset(60 examples)"


def test_an_entry_of_the_results_is_one_line() -> None:
    warning = StudyWarning(code="budget", title="Title", message="word " * 40, next_step="Next.")
    shown = repr(warning)
    assert shown.startswith("StudyWarning(code='budget', title='Title', message='word word")
    assert shown.endswith("…, next_step='Next.')")
    assert len(shown) < 200


def test_a_study_and_its_results(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.linspace(-1, 1, 60), "y": np.arange(60) % 2})
    options = {"folds": 2, "seeds": 1, "epochs": 2, "rates": (0.5,), "arms": ("dropout",), "hidden": (4,), "jobs": 1}
    study = thinned.study(frame, "y", out=tmp_path / "run", **options)
    found = study.results
    assert repr(study) == f"Study({str(tmp_path / 'run')!r}: {found.verdict.headline})"
    counts = f"2 arms, 2 settings, {len(found.comparisons)} comparisons, {len(found.warnings)} warnings"
    assert repr(found) == f"Results({counts}: {found.verdict.headline})"
    for entry in (found.plan, found.run, found.verdict, *found.settings, *found.arms, *found.comparisons):
        assert "\n" not in repr(entry)
        assert len(repr(entry)) < 2000, entry
