"""A saved network's files: whatever a network's state is, it comes back bit for bit, or is refused in a sentence."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from saved_networks import ABOUT, Plain, X, trained
from torch import nn

import thinned
from thinned.errors import InputError
from thinned.studies.recommended_network.storage import read_network, save_network


class Tied(Plain):
    """Two layers that share their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.last.weight = self.first.weight


class Counting(Plain):
    """Keeps a number that a state dict leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * self.get_buffer("scale")


class Growing(Plain):
    """Keeps a buffer whose length changes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + self.get_buffer("seen").sum()


class Lazy(Plain):
    """Makes its first layer when it first runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LazyLinear(4)


class Remembering(Plain):
    """Has state that is no tensor."""

    def get_extra_state(self) -> object:
        return {"epoch": 3}

    def set_extra_state(self, state: object) -> None:
        pass


@pytest.mark.parametrize(
    ("build", "loading"),
    [
        (Plain, "load_state_dict"),
        (Lazy, "load_state_dict"),
        (Tied, "load_model"),
        (Counting, "load_network"),
        (Growing, "load_network"),
    ],
)
def test_the_whole_state_comes_back(build: Callable[[], nn.Module], loading: str, tmp_path: Path) -> None:
    network = trained(build)
    save_network(network, build, ABOUT, tmp_path / "network")
    assert read_network(tmp_path / "network").about.loading == loading
    loaded = thinned.load_network(tmp_path / "network", build)
    with torch.no_grad():
        assert torch.equal(loaded(X), network(X))
    assert (loaded.training, loaded.get_submodule("drop").p) == (False, 0.25)  # type: ignore[union-attr]
    if build is Tied:
        assert loaded.get_parameter("last.weight") is loaded.get_parameter("first.weight")
        assert len(safetensors.torch.load_file(tmp_path / "network/weights.safetensors")) == 8
    lines = (tmp_path / "network/build.py").read_text().replace("from saved_networks import Plain", "Plain = build")
    found: dict[str, object] = {"__file__": str(tmp_path / "network/build.py"), "build": build}
    exec(lines, found)
    with torch.no_grad():
        assert torch.equal(found["network"](X), network(X))  # type: ignore[operator]


def test_loading_leaves_generators_as_they_are(tmp_path: Path) -> None:
    save_network(trained(Plain), Plain, ABOUT, tmp_path / "network")
    torch.manual_seed(7)
    state = torch.get_rng_state()
    thinned.load_network(tmp_path / "network", Plain)
    assert torch.equal(torch.get_rng_state(), state)


def test_state_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be tensors to be saved; _extra_state is a dict"):
        save_network(trained(Remembering), Remembering, ABOUT, tmp_path / "network")
    assert not (tmp_path / "network").exists()


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda: nn.Sequential(nn.Linear(4, 4)), "the file lacks 0.bias"),
        (nn.Module, "it lacks first.bias"),
        (
            lambda: _with(Plain(), "last", nn.Linear(4, 5)),
            r"last.bias is torch.float32 \(5,\) in it, and torch.float32 \(4,\) in the file",
        ),
        (lambda: Plain().double(), r"is torch.float64 \(4,\) in it, and torch.float32 \(4,\) in the file"),
        (lambda: 3, "build must return a torch.nn.Module; it returned a int"),
        (3, "build must be a function without arguments"),
        ("no_such_module:build", "the module of the network must be importable"),
    ],
)
def test_another_network_is_refused(build: Callable[[], nn.Module], told: str, tmp_path: Path) -> None:
    save_network(trained(Plain), Plain, ABOUT, tmp_path / "network")
    with pytest.raises(InputError, match=told):
        thinned.load_network(tmp_path / "network", build)


def _with(network: nn.Module, name: str, layer: nn.Module) -> nn.Module:
    setattr(network, name, layer)
    return network


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "network"
    with pytest.raises(InputError, match=r"setting.json does not exist; run the study of a network of your own first"):
        thinned.load_network(folder, Plain)
    save_network(trained(Plain), Plain, ABOUT, folder)
    setting, weights = (folder / name for name in ("setting.json", "weights.safetensors"))
    good = json.loads(setting.read_text())
    changes: dict[str, tuple[object, str]] = {
        "rates": ({"drop": 0.5}, "the rates of the sites are not those of the setting"),
        "epochs": (5, "5 epochs are more than the budget of 4"),
        "inserted": ({"last": "Linear"}, "Invalid enum value"),
        "schema": (2, "Invalid"),
        "more": (1, "unknown field"),
    }
    for name, (value, told) in changes.items():
        setting.write_text(json.dumps(good | {name: value}))
        with pytest.raises(InputError, match=told):
            thinned.load_network(folder, Plain)
    setting.write_text(json.dumps(good | {"inserted": {"nowhere": "Dropout"}}))
    with pytest.raises(InputError, match="build must make the network of the study; it has no layer nowhere"):
        thinned.load_network(folder, Plain)
    setting.write_text(json.dumps(good))
    weights.write_bytes(weights.read_bytes() + b"?")
    with pytest.raises(InputError, match=r"weights.safetensors has changed"):
        thinned.load_network(folder, Plain)
