"""The tutorials of ``examples/tutorials`` run as scripts, and print what their text says."""

import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "tutorials"
PRINTED = {
    "audit_transformer": ("TD101", "TD201", "TD301", "repaired: TD101 blocks.0", "nothing found\n0.0\n"),
    "churn_network": (
        "p = 0.8: exact [0.36 0.13 0.42 0.25]",
        "unit 2: +0.0000",
        "logit:       mean of sixteen 0.810000, full network 0.810000",
        "probability: mean of sixteen 0.616388, full network 0.692110",
        "geometric mean of sixteen, normalised 0.692110",
        "{'finite': 268, 'infinite': 732, 'undefined': 0}",
        "variance with dropout / without: [7.85 6.54 3.61 9.11]",
    ),
    "reproducible_masks": (
        "clock: 10\nweights equal, bit for bit: True",
        "gradients equal: True",
        "largest difference: 0.0",
        "there: True",
    ),
    "thinned_size": ("weights without gradient: 0.7", "the branch ran on 3"),
    "uncertainty": ("surest  25%: 0.9", "calibrated : loss 0."),
}
TRAINED = {
    "first_study": ("At the best epoch, dropout had", "('no', 'yes')"),
    "own_network": ("2 0.25 (4, 8, 4, 4)\n6 0.5 (4, 32)", "that the study has not had are right"),
}


@pytest.fixture(autouse=True)
def threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A tutorial may set the number of threads, and draws from torch's generator."""
    monkeypatch.chdir(tmp_path)
    number, state = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.set_num_threads(number)
    torch.set_rng_state(state)


def check(name: str, printed: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    text = capsys.readouterr().out
    assert [line for line in printed if line not in text] == [], text


@pytest.mark.parametrize("name", PRINTED)
def test_tutorial(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    check(name, PRINTED[name], capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_tutorial_that_trains(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    check(name, TRAINED[name], capsys)


def test_every_tutorial_has_its_test_and_its_place_on_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "tools"))
    sys.modules.pop("gallery", None)
    import gallery

    assert sorted(gallery.ORDER) == sorted(PRINTED | TRAINED) == sorted(path.stem for path in FOLDER.glob("*.py"))
