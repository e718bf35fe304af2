"""What the user's own code raises ends in one sentence, wherever it is raised, and the study goes on from there."""

import pickle
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from example_networks import Items, blobs, build
from torch import nn

import thinned
from thinned.errors import InputError
from thinned.studies import finished_networks
from thinned.studies.user_code import UserCodeError, memory_errors, user_code

SMALL: dict[str, Any] = {"arms": ["dropout"], "rates": (0.5,), "epochs": 2, "folds": 2, "seeds": 1, "device": "cpu"}
HERE = rf"{Path(__file__).name}:\d+"


class Switch:
    """Raises once it is turned on, which a test does after the network was tried."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def __call__(self) -> None:
        if self.error is not None:
            raise self.error


class Network(nn.Module):
    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__()
        self.layers, self.check = build(), check

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.check()
        return torch.as_tensor(self.layers(x))


class Dataset(Items):
    """Examples that are not held in memory, because they have a collate function."""

    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__(*blobs(60))
        self.check = check

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.check()
        return super().__getitem__(index)


def _collate(items: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.stack([x for x, _ in items]), torch.tensor([y for _, y in items])


def _build(check: Switch) -> dict[str, Any]:
    def checked() -> nn.Module:
        check()
        return build()

    return {"network": checked}


def _loss(check: Switch) -> dict[str, Any]:
    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        check()
        return nn.functional.cross_entropy(output, y)

    return {"loss": loss}


def _score(check: Switch) -> dict[str, Any]:
    def score(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        check()
        return nn.functional.cross_entropy(output, y, reduction="none")

    return {"score": score}


def _sampler(check: Switch) -> dict[str, Any]:
    def sampler(y: torch.Tensor) -> Iterator[int]:
        check()
        return iter(torch.randperm(len(y)).tolist())

    return {"sampler": sampler}


def _collated(check: Switch) -> dict[str, Any]:
    def collate(items: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        check()
        return _collate(items)

    return {"data": Items(*blobs(60)), "collate_fn": collate}


USER_CODE: dict[str, tuple[Callable[[Switch], dict[str, Any]], str]] = {
    "build": (_build, "build must make a network"),
    "forward": (lambda check: {"network": lambda: Network(check)}, r"the network must (train on|evaluate) every batch"),
    "loss": (_loss, "loss must take every output of the network with its targets"),
    "score": (_score, "score must take every output of the network with its targets"),
    "sampler": (_sampler, "sampler must return positions of training examples"),
    "item": (lambda check: {"data": Dataset(check), "collate_fn": _collate}, "every item of the data must be readable"),
    "collate": (_collated, "every item of the data must be readable"),
}


@pytest.mark.parametrize("name", USER_CODE)
def test_what_raises_in_a_job_is_said_in_a_sentence_and_the_study_goes_on(name: str, tmp_path: Path) -> None:
    """The switch is turned on after two networks: these stay, and the same call trains the rest."""
    make, requirement = USER_CODE[name]
    check, folder = Switch(), tmp_path / "run"
    options = {"data": blobs(60), "network": build, **make(check)}
    data = options.pop("data")

    def turn_on(step: Any, plan: Any) -> None:
        if plan.network_design.stage == "confirm" and step.networks == 2:
            check.error = ValueError("a reading\nthat is odd")

    with pytest.raises(InputError, match=f"^{requirement}") as caught:
        thinned.study(data, **options, out=folder, progress=turn_on, jobs=1, **SMALL)
    text = str(caught.value)
    assert "\n" not in text
    assert "it raised ValueError: a reading that is odd" in text
    assert f"{Path(__file__).name}:" in text
    assert re.search(r"this was network [23] of 4 \(", text)
    assert f"the traceback is in {folder / 'error.log'}; the same command goes on" in text
    trained = finished_networks(folder)
    assert text.endswith(
        f", {trained} of them; they were trained with this source, and a mended one needs a new folder"
    )
    assert "Traceback" in (folder / "error.log").read_text()
    assert "raise self.error" in (folder / "error.log").read_text()
    kept = finished_networks(folder)
    assert kept > 4
    check.error = None
    steps: list[float] = []
    note: Callable[[Any, Any], None] = lambda step, plan: steps.append(step.networks)  # noqa: E731
    thinned.study(data, **options, out=folder, jobs=1, progress=note, **SMALL)
    assert min(steps[1:]) >= kept - 4
    assert not (folder / "error.log").exists()


OWN = """
from torch.nn import functional as F

odd = False

def loss(output, y):
    if odd:
        raise ValueError("odd")
    return F.cross_entropy(output, y)
"""


@pytest.mark.parametrize("networks", [0, 2])
def test_a_mended_source_goes_on_where_no_network_was_trained_with_the_other(
    networks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results of two sources are never mixed; what is left to do is said with the error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    options: dict[str, Any] = {"network": build, "loss": "own_loss:loss", "jobs": 1, **SMALL}

    def turn_on(step: Any, plan: Any) -> None:
        if plan.network_design.stage == "pilot" and step.networks >= networks:
            vars(sys.modules["own_loss"])["odd"] = True

    (tmp_path / "own_loss.py").write_text(OWN)
    with pytest.raises(InputError, match="it raised ValueError: odd") as caught:
        thinned.study(blobs(60), out="run", progress=turn_on, **options)
    trained = finished_networks(Path("run"))
    assert (trained == 0) == (networks == 0)
    said = f"{trained} of them; they were trained with this source" if networks else "mend it, and the same command"
    assert said in str(caught.value)
    (tmp_path / "own_loss.py").write_text(f"{OWN}# mended")
    del sys.modules["own_loss"]
    if networks:
        with pytest.raises(InputError, match="the source of the loss has changed since; choose another folder"):
            thinned.study(blobs(60), out="run", **options)
        assert finished_networks(Path("run")) == trained
    else:
        found, anew = (thinned.study(blobs(60), out=out, **options).results for out in ("run", "new"))
        assert [arm.best for arm in found.arms] == [arm.best for arm in anew.arms]
    del sys.modules["own_loss"]


@pytest.mark.parametrize("loader_workers", [0, 2])
def test_an_item_that_a_reading_process_can_not_read(loader_workers: int, tmp_path: Path) -> None:
    """The processes of a data loader hand on the same sentence, on one line."""
    check = Switch()

    def turn_on(step: Any, plan: Any) -> None:
        check.error = ValueError("odd")

    with pytest.raises(InputError, match=f"readable; it raised ValueError: odd at .*{HERE}; this was network") as found:
        thinned.study(
            Dataset(check),
            network=build,
            collate_fn=_collate,
            loader_workers=loader_workers,
            out=tmp_path / "run",
            progress=turn_on,
            jobs=1,
            **SMALL,
        )
    assert "\n" not in str(found.value)


def test_a_file_that_can_not_be_read_is_tried_again(tmp_path: Path) -> None:
    """What the operating system refuses once, such as a file server's, may pass."""
    check = Switch()

    class Once(Dataset):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            try:
                return super().__getitem__(index)
            finally:
                check.error = None

    def turn_on(step: Any, plan: Any) -> None:
        if plan.network_design.stage == "pilot" and step.networks == 2:
            check.error = OSError("the server is busy")

    study = thinned.study(
        Once(check), network=build, collate_fn=_collate, out=tmp_path / "run", progress=turn_on, jobs=1, **SMALL
    )
    assert study.results.run.networks == 4


@pytest.mark.parametrize(
    ("positions", "told"),
    [
        (lambda y: [0, 1], "sampler must return positions for at least one batch; got 2 for a batch of"),
        (lambda y: range(1000), "positions of training examples; got 0 to 999 for"),
        (lambda y: "abc", "sampler must return positions of training examples; it raised"),
    ],
)
def test_what_a_sampler_must_return(positions: Callable[[torch.Tensor], Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        thinned.study(blobs(60), network=build, sampler=positions, out=tmp_path / "run", jobs=1, **SMALL)


# --- the command line --------------------------------------------------------------------------------------------

SCRIPT = """
import torch
from torch import nn

def build():
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))

def data():
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    return x, x.argmax(1)

class Late(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers, self.passes = build(), 0

    def forward(self, x):
        self.passes += self.training
        if self.passes > 20:
            raise KeyError("late")
        return self.layers(x)
"""


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_the_command_ends_with_a_sentence_and_code_2(jobs: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(textwrap.dedent(SCRIPT))
    options = ["--epochs", "30", "--batch-size", "8", "--folds", "2", "--seeds", "1", "--arms", "dropout"]
    options += ["--rates", "0.5", "--jobs", jobs, "--device", "cpu", "--out", "run"]
    done = subprocess.run(
        [sys.executable, "-m", "thinned", "study", "--data", "own:data", "--network", "own:Late", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("thinned: the network must train on every batch of the examples; it raised KeyError: 'late'")
    assert "at own.py:20" in last
    assert "Traceback" not in done.stderr


# --- the sentence itself -----------------------------------------------------------------------------------------


def test_errors_of_ours_and_lack_of_memory_pass() -> None:
    with pytest.raises(InputError, match=r"^ours$"), user_code("x"):
        raise InputError("ours")
    with pytest.raises(MemoryError), user_code("x"):
        raise MemoryError
    with pytest.raises(InputError, match=r"^training needs memory; there is not enough; take"), memory_errors():
        raise MemoryError
    with pytest.raises(InputError, match=r"^training needs memory; CUDA out of memory; take"), memory_errors():
        raise torch.OutOfMemoryError("CUDA out of memory\nand more")


def test_a_syntax_error_is_at_its_own_line() -> None:
    with pytest.raises(UserCodeError, match=r"SyntaxError: .* at line 2 of <own>$"), user_code("x"):
        exec(compile("a = 1\nb = = 2\n", "<own>", "exec"))


def test_a_long_message_is_cut() -> None:
    with pytest.raises(UserCodeError) as caught, user_code("x"):
        raise ValueError("a" * 10_000)
    assert len(str(caught.value)) < 600


def test_the_sentence_travels_between_processes() -> None:
    error = UserCodeError("x", "the traceback", may_pass=True)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.trace, again.may_pass) == ("x", "the traceback", True)
