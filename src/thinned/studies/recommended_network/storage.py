"""The files of a saved network: written whole or not at all, read without executing anything."""

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from thinned.conversion.clock import CLOCK
from thinned.errors import InputError, sentence
from thinned.studies.recommended_network.code_lines import code_lines
from thinned.studies.recommended_network.metadata import (
    CODE,
    METADATA,
    WEIGHTS,
    Loading,
    NetworkMetadata,
    read_metadata,
)
from thinned.studies.training.loop.fit import load_state, network_state
from thinned.studies.training.whole_folder import whole_folder
from thinned.tracing.preserve import uninitialised

__all__ = ["SavedNetwork", "give_weights", "read_network", "save_network", "saved_metadata"]

_REMEDY = "run the study again with a new --out"
_HERE = "Path(__file__).parent"


class SavedNetwork(msgspec.Struct, frozen=True):
    """What the files hold: the description, and the weights by their names."""

    about: NetworkMetadata
    tensors: dict[str, torch.Tensor]


def save_network(network: nn.Module, build: Callable[[], nn.Module], about: NetworkMetadata, folder: Path) -> None:
    """Write the files of a trained network, whole or not at all; a network that stood there is replaced.

    What is written is loaded into a fresh network and compared, bit for bit.

    Args:
        network: the trained network, in evaluation mode.
        build: makes a fresh one.
        about: describes it.
        folder: for the files.

    Raises:
        InputError: its state can't be saved, or does not make a fresh network the same.
        OSError: a file can't be written.
    """
    state = _on_cpu(network)
    loading, tensors = _loading(state, build)
    try:
        data = safetensors.torch.save(tensors)
    except (SafetensorError, ValueError, KeyError) as error:
        value = f"saving raised: {error}"
        raise InputError(sentence("the state of a network must be tensors that safetensors can save", value)) from None
    about = msgspec.structs.replace(about, loading=loading, weights=hashlib.sha256(data).hexdigest())
    with whole_folder(folder) as partial:
        (partial / WEIGHTS).write_bytes(data)
        (partial / METADATA).write_bytes(msgspec.json.format(msgspec.json.encode(about), indent=1))
        (partial / CODE).write_text(code_lines(about, _HERE), encoding="utf-8")


def read_network(folder: Path) -> SavedNetwork:
    """Read the files; each must be the one that was saved.

    Raises:
        InputError: there is no network, or it is damaged.
    """
    try:
        about = read_metadata(folder / METADATA)
        data = (folder / WEIGHTS).read_bytes()
        if hashlib.sha256(data).hexdigest() != about.weights:
            value = f"{folder / WEIGHTS} has changed"
            raise InputError(sentence("a network's files must be as they were saved", value, _REMEDY))
        return SavedNetwork(about, safetensors.torch.load(data))
    except FileNotFoundError as error:
        requirement, value = "loading needs the folder network of a study", f"{error.filename} does not exist"
        raise InputError(sentence(requirement, value, "run the study of a network of your own first")) from None
    except (SafetensorError, OSError) as error:
        value = f"reading it failed: {error}"
        raise InputError(sentence(f"{folder} must hold a saved network", value, _REMEDY)) from None


def saved_metadata(folder: Path) -> NetworkMetadata | None:
    """What the network that is saved in a folder says of itself; None where there is none that can be read."""
    try:
        return read_network(folder).about
    except InputError:
        return None


def give_weights(network: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give a fresh network the saved state.

    Raises:
        InputError: names, shapes or types are not those of the network.
    """
    if any(uninitialised(parameter) for parameter in network.parameters()):
        network.load_state_dict(dict(tensors), strict=False)  # lazy layers make their weights by it
    own, saved = _own_state(network), network.state_dict().keys()
    needed = {name for name in own if name in saved}
    for subject, names in (("the file lacks", needed - tensors.keys()), ("it lacks", tensors.keys() - own.keys())):
        if names:
            raise _another(f"{subject} {min(names)}")
    parameters = dict(network.named_parameters())
    for name, tensor in sorted(tensors.items()):
        one, two = _form(own[name], name in parameters), _form(tensor, name in parameters)
        if one != two:
            raise _another(f"{name} is {one} in it, and {two} in the file")
    load_state(network, tensors)


def _form(tensor: torch.Tensor, shape: bool) -> str:  # a buffer may change its shape in training
    return f"{tensor.dtype} {tuple(tensor.shape)}" if shape else str(tensor.dtype)


def _another(value: str) -> InputError:
    return InputError(sentence("build must make the network of the study", value, "pass the function of the study"))


def _loading(state: dict[str, torch.Tensor], build: Callable[[], nn.Module]) -> tuple[Loading, dict[str, torch.Tensor]]:
    """The simplest function that gives a fresh network this state, and the tensors to save for it.

    Raises:
        InputError: there is none.
    """
    fresh = build()
    entries: dict[str, object] = dict(fresh.state_dict())
    for name, entry in entries.items():
        if not isinstance(entry, torch.Tensor):
            value = f"{name} is a {type(entry).__name__}"
            raise InputError(sentence("the state of a network must be tensors to be saved", value))
    kept = {name: tensor for name, tensor in state.items() if name in entries}
    with contextlib.suppress(RuntimeError):  # a buffer may change its shape in training
        fresh.load_state_dict(kept, strict=False)
        if _is_equal(_on_cpu(fresh), state):
            tensors = fresh.state_dict()
            others, places = tensors.keys() - kept.keys(), {tensors[name].data_ptr() for name in kept}
            if not others:
                return "load_state_dict", kept
            if all(tensors[name].data_ptr() in places for name in others):
                return "load_model", kept
    fresh = build()
    give_weights(fresh, state)
    if not _is_equal(_on_cpu(fresh), state):
        requirement = "the saved state must make a fresh network the same"
        raise InputError(sentence(requirement, "it is more than parameters and buffers"))
    return "load_network", state


def _own_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """The whole state without the clock of masks; a tensor that parts share has one name."""
    return {name: tensor for name, tensor in network_state(network) if name.rpartition(".")[2] != CLOCK}


def _on_cpu(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in _own_state(network).items()}


def _is_equal(one: Mapping[str, torch.Tensor], two: Mapping[str, torch.Tensor]) -> bool:
    """Compare bit for bit, NaN included."""
    return one.keys() == two.keys() and all(
        one[name].dtype == two[name].dtype
        and one[name].shape == two[name].shape
        and torch.equal(_bits(one[name]), _bits(two[name]))
        for name in one
    )


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1).view(torch.uint8)
